"""Compares a study that shares its stages between processes of one thread with one process of as many threads.

    python -m benchmarks.workers [FOLDER] [--base demo] [--budget quick] [--part 1]
    python -m benchmarks.workers [FOLDER] ... --rows 36,8 [--rounds 2]

Runs the same study in both ways, one after the other, each in a new folder with a new cache, and prints the seconds of
each stage. The base is opened and sampled from once before, so that neither way pays for loading the libraries.
`--part` shortens both: that part of the steps and of the prompts. `--rows` compares the trainings alone, in passes of
at most so many rows.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import torch

from benchmarks.where_time_goes import Clock
from triptych.base import Base, Place
from triptych.methods import Training
from triptych.sampling.generate import sample
from triptych.sampling.request import Request
from triptych.study import Plan, processes, run

WORKERS, THREADS = "processes of one thread", "one process"


def shortened(plan: Plan, part: float, base: Base) -> Plan:
    """The plan with a part of its steps and prompts."""
    budget, concept = plan.budget_of(base), plan.concept()
    settings = {name: plan.settings_of(name, base, concept) for name in plan.chosen}
    steps = {
        name: {"steps": max(1, round(part * own.steps))} for name, own in settings.items() if isinstance(own, Training)
    }
    prompts, unrelated = (max(4, round(part * count)) for count in (budget.prompts, budget.unrelated))
    return replace(plan, settings=steps, prompts=prompts, unrelated=unrelated)


class _EnoughError(Exception):
    """The trainings are done."""


class UntilTrained(Clock):
    """Ends a study after its trainings."""

    def stage(self, name: str, total: int) -> None:
        super().stage(name, total)
        if "training" in self.seconds:
            raise _EnoughError


def seconds_of(plan: Plan, clock: Clock, constant: str, value: int) -> dict[str, float]:
    """Stage -> its seconds, with another value of a constant of `study/processes.py`."""
    with tempfile.TemporaryDirectory() as out:
        os.environ["TRIPTYCH_CACHE"] = f"{out}/cache"
        with patch.object(processes, constant, value), suppress(_EnoughError):
            clock.stage("opening", 0)
            run(plan, Path(out) / "study", clock)
            clock.stage("end", 0)
    clock.seconds.pop("importing")
    return clock.seconds


def passes(plan: Plan, rows: list[int], rounds: int) -> None:
    """Compare the trainings in passes of so many rows."""
    for number in range(rounds):
        for most in rows:
            taken = seconds_of(plan, UntilTrained(), "ROWS", most)["training"]
            load = os.getloadavg()[0]
            print(f"round {number + 1}, {most} rows: {taken:.1f} s; load of the machine {load:.1f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("examples/outline"))
    parser.add_argument("--base", default="demo")
    parser.add_argument("--budget", default="quick")
    parser.add_argument("--part", type=float, default=1.0)
    parser.add_argument("--rows", default="", help="most rows of a pass, separated by commas")
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    plan = Plan(arguments.folder, place=Place(arguments.base), budget=arguments.budget)
    base = plan.place.open()
    sample(base, [Request("a picture", (0,))])
    if arguments.part != 1:
        plan = shortened(plan, arguments.part, base)
    processes.prepare()
    print(f"{base.name}, {base.dtype}, {torch.get_num_threads()} threads")
    if arguments.rows:
        passes(plan, [int(each) for each in arguments.rows.split(",")], arguments.rounds)
        return
    taken = {}
    for way, limit in ((WORKERS, processes.SMALL), (THREADS, 0)):
        taken[way] = seconds_of(plan, Clock(), "SMALL", limit)
        told = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in taken[way].items())
        print(f"{way}: {told}; load of the machine {os.getloadavg()[0]:.1f}", flush=True)
    for name in (*taken[WORKERS], "whole"):
        shared, single = (sum(each.values()) if name == "whole" else each[name] for each in taken.values())
        print(f"{name:<20} {shared:7.1f} s instead of {single:7.1f} s, {shared / single:.2f}")


if __name__ == "__main__":
    main()
