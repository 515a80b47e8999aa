"""What a training step takes beside the bare UNet on the same rows, alone and with many jobs in one pass.

    python -m benchmarks.training_step [--base demo] [--threads 2] [--rounds 5] [--json docs/performance/FILE.json]
    python -m benchmarks.performance_page      # docs/performance.md from the JSON files that are kept there

All cases alternate in one run: a round has a few steps of each, so whatever else the machine does falls on all of them.
A ratio is taken within a round, and the median over the rounds is reported with the lowest and the highest. Steps are
those of the real loop (draws, text, UNet, clipping, AdamW), timed from one call of `progress` to the next. With
`--clock cpu --threads 1` it is the time that the processor worked: on a busy machine that says how much work there is.

The bare UNet is `Base.denoise`, the mean squared error and the backward pass, with gradients for the text that it
reads, or for its weights beside DreamBooth. It has no optimiser.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch

from triptych.base import Base, Place
from triptych.data.examples import Example, Examples
from triptych.methods import method_named
from triptych.training.fit import Trial, fit

Clock = Callable[[], float]  # seconds
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}
PICTURES = 8
CAPTIONS = [
    f"a {{}} on a {colour} background"
    for colour in ("red", "blue", "green", "white", "black", "yellow", "pink", "gray")
]
SHARING = ("textual-inversion", "hypernetwork", "lora")
JOINT = {"hypernetwork": 0.22, "lora": 0.2}  # most that an adapter of 39 may take of one alone
COUNTS = (1, 2, 4, 8, 16, 39)
GIVEN: dict[str, dict[str, Any]] = {"textual-inversion": {"start_word": "cat"}, "dreambooth": {"prior_pictures": 8}}


@dataclass(frozen=True)
class Case:
    """Something that takes steps: `run(steps)` gives the seconds of each."""

    name: str
    rows: int
    run: Callable[[int], list[float]]


@dataclass(frozen=True)
class Ratio:
    """What is reported: seconds of `of` over those of all in `to`, times `factor`; at most `goal`."""

    name: str
    of: str
    to: tuple[str, ...]
    factor: float = 1.0
    goal: float | None = None


def _unet(base: Base, clock: Clock, rows: int, weights: bool = False) -> Case:
    """The UNet alone on so many rows, with gradients for its weights or for the text that it reads."""
    unet = base.denoiser.module
    with torch.no_grad():
        text = base.encode(["a cat"] * rows)

    def run(steps: int) -> list[float]:
        taken = []
        unet.requires_grad_(weights)
        for _ in range(steps + 1):  # the first is not timed, as in training
            noisy, target = torch.randn(2, rows, *base.latent_shape, device=base.device)
            times = torch.randint(0, 1000, (rows,), device=base.device)
            context = text.map(lambda states: states.clone().requires_grad_(not weights))
            began = clock()
            (base.denoise(noisy, times, context) - target).square().mean().backward()
            _wait(base)
            taken.append(clock() - began)
            unet.zero_grad(set_to_none=True)
        unet.requires_grad_(False)
        return taken[1:]

    return Case(f"UNet{' with weights' if weights else ''}, {rows} rows", rows, run)


def _training(base: Base, clock: Clock, name: str, trials: Sequence[Trial], rows: int = 0) -> Case:
    """The steps of a pass; `rows` are its batches, unless given."""

    def run(steps: int) -> list[float]:
        ends: list[float] = []

        def stepped(done: int, _: int) -> None:
            _wait(base)
            ends.append(clock())
            if done > steps:
                raise _EnoughError

        with suppress(_EnoughError):
            fit(base, trials, progress=stepped)
        return [after - before for before, after in pairwise(ends)]

    return Case(name, rows or sum(one.settings.batch for one in trials), run)


class _EnoughError(Exception):
    """The steps that were to be timed are done; the schedule goes on."""


def _wait(base: Base) -> None:
    if base.device.type == "cuda":
        torch.cuda.synchronize()


def trial(
    base: Base, method: str, batch: int, place: int | None = None, captions: bool = False,
    given: Mapping[str, Any] | None = None,
) -> Trial:  # fmt: skip
    """A method in training; as one of several in a pass, with a place of its own. `given` are other settings."""
    random = torch.Generator().manual_seed(place or 0)
    latents = torch.randn(PICTURES, *base.latent_shape, generator=random).to(base.device)
    templates = CAPTIONS if captions else ["a {}"] * PICTURES
    owner = None if place is None else f"{method} {place}"
    settings = method_named(method).configure({"batch": batch}, GIVEN.get(method, {}), given or {}).unwatched
    return Trial(method, settings, Examples(tuple(map(Example, latents, templates))), "cat", place or 0, owner)


def cases(base: Base, clock: Clock, counts: Sequence[int]) -> tuple[list[Case], list[Ratio]]:
    """Everything that is measured, and the ratios that are reported of it."""
    unet, training = partial(_unet, base, clock), partial(_training, base, clock)
    shares = clock is CLOCKS["wall"]  # what sharing a pass gains is how well it fills several threads
    four, twelve, moved = unet(4), unet(12), unet(8, weights=True)
    found, ratios = [four, twelve, moved], []
    for method in SHARING:
        found.append(training(f"{method}, batch 4", [trial(base, method, 4)]))
        goal = 1.15 if method == "hypernetwork" else 1.1
        ratios.append(Ratio(f"{method} alone", found[-1].name, (four.name,), goal=goal))
    found.append(training("textual-inversion, batch 4, captions", [trial(base, SHARING[0], 4, captions=True)]))
    ratios.append(Ratio("textual-inversion alone, captions that differ", found[-1].name, (four.name,), goal=1.1))
    found.append(training("dreambooth, batch 4 and 4", [trial(base, "dreambooth", 4)], rows=8))
    ratios.append(Ratio("dreambooth alone", found[-1].name, (moved.name,), goal=1.1))
    found.append(training("three in one pass", [trial(base, method, 4, i) for i, method in enumerate(SHARING)]))
    ratios.append(Ratio("three in one pass", found[-1].name, (twelve.name,), goal=1.15))
    alone = tuple(f"{method}, batch 4" for method in SHARING)
    ratios.append(Ratio("three in one pass, of one after another", found[-1].name, alone, goal=0.5 if shares else None))
    for method, goal in JOINT.items():
        for count in counts:
            found += [unet(count), training(f"{count} x {method}, batch 1", several(base, method, count))]
            ratios.append(Ratio(f"{count} x {method}", found[-1].name, (found[-2].name,)))
            if count > 1:
                name, one = f"{count} x {method}, an adapter of one alone", f"1 x {method}, batch 1"
                ratios.append(Ratio(name, found[-1].name, (one,), 1 / count, goal if shares and count == 39 else None))
    return list({case.name: case for case in found}.values()), ratios


def several(base: Base, method: str, count: int) -> list[Trial]:
    return [trial(base, method, 1, place) for place in range(count)]


def measure(found: Sequence[Case], rounds: int, steps: int) -> list[dict[str, float]]:
    """Seconds a step of each case, a round at a time: the median of the round's steps."""
    taken: list[dict[str, float]] = []
    for number in range(rounds):
        taken.append({case.name: median(case.run(steps)) for case in found})
        print(f"round {number + 1} of {rounds}, load {os.getloadavg()[0]:.1f}", flush=True)
    return taken


def ratio_of(ratio: Ratio, rounds: Sequence[dict[str, float]]) -> dict[str, Any]:
    each = [ratio.factor * one[ratio.of] / sum(one[name] for name in ratio.to) for one in rounds]
    return {"name": ratio.name, "ratio": median(each), "lowest": min(each), "highest": max(each), "goal": ratio.goal}


def report(
    base: Base, rounds: list[dict[str, float]], found: Sequence[Case], ratios: Sequence[Ratio]
) -> dict[str, Any]:
    parameters = sum(parameter.numel() for parameter in base.denoiser.module.parameters())
    return {
        "base": Path(base.name).name, "parameters": parameters, "latents": list(base.latent_shape),
        "device": str(base.device), "precision": str(base.dtype).removeprefix("torch."), "processor": processor(),
        "threads": torch.get_num_threads(), "torch": str(torch.__version__), "rounds": len(rounds),
        "load": os.getloadavg()[0],
        "ratios": [ratio_of(ratio, rounds) for ratio in ratios],
        "milliseconds": {
            case.name: {"rows": case.rows, "median": 1000 * median(one[case.name] for one in rounds)} for case in found
        },
    }  # fmt: skip


def processor() -> str:
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.is_file() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def section(told: dict[str, Any]) -> str:
    """One run as a part of the page."""
    where = (
        f"{told['parameters'] / 1e6:.1f} M parameters, latents {' x '.join(map(str, told['latents']))}, "
        f"{told['precision']}, {told['processor']}, torch {told['torch']}; "
        f"{told['rounds']} rounds, load of the machine {told['load']:.1f}"
    )
    clock = "time on the clock" if told["clock"] == "wall" else "time of the processor"
    title = f"{told.get('title', '')} {told['base']} on {told['device']}, {told['threads']} threads, {clock}".strip()
    lines = [f"## {title}", "", f"{where}.", ""]
    lines += ["| | ratio | lowest to highest | goal |", "|---|---|---|---|"]
    for one in told["ratios"]:
        goal = "" if one["goal"] is None else f"{one['goal']:.2f}{'' if one['ratio'] <= one['goal'] else ', missed'}"
        lines.append(f"| {one['name']} | {one['ratio']:.2f} | {one['lowest']:.2f} to {one['highest']:.2f} | {goal} |")
    lines += ["", f"| {told.get('unit', 'a step of')} | rows | ms | ms a row |", "|---|---|---|---|"]
    for name, one in told["milliseconds"].items():
        lines.append(f"| {name} | {one['rows']} | {one['median']:.0f} | {one['median'] / one['rows']:.1f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="demo")
    parser.add_argument("--resolution", type=int, default=0, help="pixels; 0: the base's own")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", default="wall", choices=tuple(CLOCKS), help="cpu: what a busy machine blurs less")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="timed in each round; one before them is not")
    parser.add_argument("--counts", default=",".join(map(str, COUNTS)), help="of jobs in one pass")
    parser.add_argument("--only", default="", help="only ratios with this in their name")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TRIPTYCH_CACHE"] = cache
        base = Place(arguments.base, precision=arguments.precision, resolution=arguments.resolution).open()
        found, ratios = cases(base, CLOCKS[arguments.clock], [int(count) for count in arguments.counts.split(",")])
        ratios = [ratio for ratio in ratios if arguments.only in ratio.name]
        used = {name for ratio in ratios for name in (ratio.of, *ratio.to)}
        found = [case for case in found if case.name in used]
        rounds = measure(found, arguments.rounds, arguments.steps)
        told = {"clock": arguments.clock, **report(base, rounds, found, ratios)}
    print(section(told))
    if arguments.json:
        arguments.json.write_text(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
