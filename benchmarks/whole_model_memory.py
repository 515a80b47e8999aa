"""What training all weights of the denoiser takes in memory, by the settings that save some, and what the plan expects.

    python -m benchmarks.whole_model_memory [--base demo] [--resolution 64] [--rows 1] [--only NAME]

A step of DreamBooth on so many rows is run on the CPU, and the bytes of all tensors that live at a time are counted,
the base among them. Those that wait in files do not count. No time is measured.
"""

from __future__ import annotations

import argparse
import gc
from typing import Any

import torch

from benchmarks.training_step import trial
from triptych.base import Place
from triptych.training import loop
from triptych.training.fit import fit
from triptych.training.memory import Counted, Plan
from triptych.units import size

FUSED = {"fused": True, "clip": 0.0}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "float32": ("fp32", {}),
    "float32, fused": ("fp32", FUSED),
    "float32, fused, adafactor": ("fp32", {**FUSED, "optimizer": "adafactor"}),
    "bf16 base, float32 masters": ("bf16", {}),
    "bf16 base and masters": ("bf16", {"masters": "bf16"}),
    "bf16 base and masters, fused": ("bf16", {**FUSED, "masters": "bf16"}),
    "bf16 base and masters, fused, adafactor": ("bf16", {**FUSED, "masters": "bf16", "optimizer": "adafactor"}),
}  # fmt: skip


def measured(place: Place, rows: int, settings: dict[str, Any]) -> tuple[int, Plan]:
    """The counted peak of a training, and the plan for it."""
    plans: list[Plan] = []
    real = loop.plan

    def noted(*given: Any) -> Plan:
        plans.append(real(*given))
        return plans[-1]

    loop.plan = noted
    try:
        with Counted() as counter:
            base = place.open()
            gc.collect()
            counter.peak = counter.live
            given = {"prior_weight": 0.0, "steps": 2, **settings}
            fit(base, [trial(base, "dreambooth", rows, given=given)], memory=10**15)
        return counter.peak, plans[0]
    finally:
        loop.plan = real


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="demo")
    parser.add_argument("--resolution", type=int, default=0, help="pixels; 0: the base's own")
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--only", default="", help="only cases with this in their name")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| | peak | expected | of the first |\n|---|---|---|---|")
    first = 0
    for name, (precision, settings) in CASES.items():
        if arguments.only in name:
            place = Place(arguments.base, "cpu", precision, resolution=arguments.resolution)
            peak, plan = measured(place, arguments.rows, settings)
            first = first or peak
            print(f"| {name} | {size(peak)} | {size(plan.peak)} | {peak / first:.2f} |", flush=True)


if __name__ == "__main__":
    main()
