"""Profiles the stages of a study, and compares their time with the UNet arithmetic inside them.

    python -m benchmarks.where_time_goes [FOLDER] [--base demo] [--budget quick]

Runs one study in a new folder, in one process of one thread, and notes every call of the UNet: how many rows, and
whether gradients were asked for the text only or for the weights too. Then it makes calls of the same sizes on the bare
UNet and nothing else. The ratio is the whole study over that, by the time of the processor; importing the libraries
counts as part of the study.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

BEGAN = time.process_time()

import torch  # noqa: E402

from triptych.base import Base, Place  # noqa: E402
from triptych.study import Plan, run  # noqa: E402

Call = tuple[str, int]  # purpose, rows
REPEATS = 3


class Clock:
    """A study's progress that records the seconds of each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.name, self.since = "importing", BEGAN

    def stage(self, name: str, total: int) -> None:
        now = time.process_time()
        self.seconds[self.name] = self.seconds.get(self.name, 0.0) + now - self.since
        self.name, self.since = name, now

    def advance(self, units: int = 1) -> None: ...

    def note(self, sentence: str) -> None:
        print(sentence)


def noting(calls: Counter[Call]) -> None:
    """Count every call of `Base.denoise`."""
    plain = Base.denoise

    def counted(base: Base, noisy: torch.Tensor, *given: Any, **named: Any) -> torch.Tensor:
        moving = any(parameter.requires_grad for parameter in base.denoiser.module.parameters())
        kind = "sampling" if not torch.is_grad_enabled() else "training weights" if moving else "training"
        calls[kind, len(noisy)] += 1
        return plain(base, noisy, *given, **named)

    Base.denoise = counted  # type: ignore[method-assign, assignment]


def seconds_of(base: Base, kind: str, rows: int) -> float:
    """Seconds of one call of the bare UNet, and of its backward pass where there was one; the best of a few."""
    shape = (rows, *base.latent_shape)
    width = base.texts[0].width
    noisy, times = torch.randn(shape), torch.full((rows,), 500)
    context = torch.randn(rows, base.texts[0].room + 2, width).requires_grad_(kind != "sampling")
    base.denoiser.module.requires_grad_(kind == "training weights")
    best = float("inf")
    for _ in range(REPEATS):
        began = time.process_time()
        with torch.set_grad_enabled(kind != "sampling"):
            predicted = base.denoiser.module(noisy.to(base.dtype), times, context.to(base.dtype)).sample
            if kind != "sampling":
                predicted.float().square().mean().backward()
        best = min(best, time.process_time() - began)
        base.denoiser.module.zero_grad(set_to_none=True)
    base.denoiser.module.requires_grad_(False)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("examples/blob-cat"))
    parser.add_argument("--base", default="demo")
    parser.add_argument("--budget", default="quick")
    parser.add_argument("--precision", default="auto")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    calls: Counter[Call] = Counter()
    noting(calls)
    clock, place = Clock(), Place(arguments.base, precision=arguments.precision)
    with tempfile.TemporaryDirectory() as out:
        run(Plan(arguments.folder, place=place, budget=arguments.budget), Path(out), clock)
        clock.stage("end", 0)
    whole = sum(clock.seconds.values())
    for name, seconds in clock.seconds.items():
        print(f"{name:<20} {seconds:7.1f} s  {seconds / whole:5.1%}")
    print(f"{'whole':<20} {whole:7.1f} s")
    base, pure = place.open(), 0.0
    for (kind, rows), count in sorted(calls.items()):
        seconds = count * seconds_of(base, kind, rows)
        pure += seconds
        print(f"UNet, {kind:<16} {count:5} calls of {rows:3} rows: {seconds:6.1f} s")
    print(f"UNet arithmetic {pure:.1f} s; whole / arithmetic = {whole / pure:.2f} on one thread")


if __name__ == "__main__":
    main()
