"""Compares a study that shares its stages between processes of one thread with one process of as many threads.

    python -m benchmarks.workers [FOLDER] [--base demo] [--budget quick] [--part 1]

Runs the same study in both ways, one after the other, each in a new folder with a new cache, and prints the seconds of
each stage. The base is opened and sampled from once before, so that neither way pays for loading the libraries.
`--part` shortens both: that part of the steps and of the prompts.
"""

from __future__ import annotations

import argparse
import os
import tempfile
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


def seconds_of(plan: Plan, limit: int) -> dict[str, float]:
    """Stage -> its seconds."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as out:
        os.environ["TRIPTYCH_CACHE"] = f"{out}/cache"
        with patch.object(processes, "SMALL", limit):
            clock.stage("opening", 0)
            run(plan, Path(out) / "study", clock)
            clock.stage("end", 0)
    clock.seconds.pop("importing")
    return clock.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("examples/outline"))
    parser.add_argument("--base", default="demo")
    parser.add_argument("--budget", default="quick")
    parser.add_argument("--part", type=float, default=1.0)
    arguments = parser.parse_args()
    plan = Plan(arguments.folder, place=Place(arguments.base), budget=arguments.budget)
    base = plan.place.open()
    sample(base, [Request("a picture", (0,))])
    if arguments.part != 1:
        plan = shortened(plan, arguments.part, base)
    processes.prepare()
    print(f"{base.name}, {base.dtype}, {torch.get_num_threads()} threads")
    taken = {}
    for way, limit in ((WORKERS, processes.SMALL), (THREADS, 0)):
        taken[way] = seconds_of(plan, limit)
        told = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in taken[way].items())
        print(f"{way}: {told}; load of the machine {os.getloadavg()[0]:.1f}", flush=True)
    for name in (*taken[WORKERS], "whole"):
        shared, single = (sum(each.values()) if name == "whole" else each[name] for each in taken.values())
        print(f"{name:<20} {shared:7.1f} s instead of {single:7.1f} s, {shared / single:.2f}")


if __name__ == "__main__":
    main()
