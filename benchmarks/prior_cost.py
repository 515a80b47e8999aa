"""What the rows that keep a class cost: processor time of a step on one thread, without them and with either kind.

    python -m benchmarks.prior_cost [--base demo]

Batch 4, random latents, float32. What sampling pictures of the class takes before training is not in it.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from itertools import pairwise
from statistics import median
from typing import Any

import torch

from benchmarks.training_step import trial
from triptych.base import Base, Place
from triptych.training.fit import fit

KINDS: dict[str, dict[str, Any]] = {"none": {"prior_weight": 0.0}, "pictures": {}, "outputs": {"prior": "outputs"}}


def step(base: Base, method: str, given: dict[str, Any]) -> float:
    """The median seconds of a step after the first."""
    one = trial(base, method, 4, given={"steps": 6, **given})
    one = replace(one, examples=replace(one.examples, prior=one.examples.each))
    at: list[float] = []
    fit(base, [one], progress=lambda done, last: at.append(time.process_time()))
    return median(after - before for before, after in pairwise(at))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="demo")
    base = Place(parser.parse_args().base, "cpu", "fp32").open()
    torch.set_num_threads(1)
    print(f"| | {' | '.join(KINDS)} |\n|---|{'---|' * len(KINDS)}")
    for method in ("dreambooth-lora", "dreambooth"):
        print(
            f"| {method} | {' | '.join(f'{step(base, method, given):.2f} s' for given in KINDS.values())} |", flush=True
        )


if __name__ == "__main__":
    main()
