"""`python -m recipes.demo_base --out DIR --device auto --hours H`: from drawings to the complete demo base."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch

from recipes.demo_base.fleet import run_together
from recipes.demo_base.onwards import go_on_from
from recipes.demo_base.stage import PACES, STAGES, denoiser_plan, prepare


def main() -> None:
    """Run every stage that is not finished yet, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m recipes.demo_base", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and the finished base")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--hours", type=float, default=2.0, help="time for all training together")
    parser.add_argument("--packs", type=Path, help="folder of icon package archives (default: OUT/packs)")
    parser.add_argument("--autoencoder", type=Path, help="folder of an autoencoder to start from, instead of chance")
    parser.add_argument("--onwards", type=Path, help="folder of a finished base whose denoiser is trained further")
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=list(STAGES), help="run only these")
    options = parser.parse_args()
    out: Path = options.out
    packs: Path = options.packs or out / "packs"
    device: str = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    pace = PACES[device]
    cores = os.cpu_count() or 1
    out.mkdir(parents=True, exist_ok=True)
    if options.onwards is not None:
        go_on_from(options.onwards, out, denoiser_plan(3600 * options.hours, pace))
    prepare(out, packs, all_art="vae" in options.stages and not (out / "vae.done").exists())
    arguments = [str(out), str(packs), device, str(options.hours)]
    if options.autoencoder is not None:
        arguments.append(str(options.autoencoder))
    for stage in options.stages:
        if not (out / f"{stage}.done").exists():
            size = min(pace.composers if stage == "lessons" else pace.trainers, cores)
            run_together("recipes.demo_base.stage", [stage, *arguments], size, out)
            (out / f"{stage}.done").touch()


if __name__ == "__main__":
    main()
