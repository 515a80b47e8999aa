"""`python -m recipes.demo_base.judge --base FOLDER`: what the base can do, in numbers."""

from __future__ import annotations

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from recipes.demo_base.art import Drawing, open_package, render_all, world_drawings
from recipes.demo_base.compose import Composer, Pixels
from recipes.demo_base.judge.exam import GUIDANCE, draw, open_base, psnr, reconstruct, set_exam, strangers
from recipes.demo_base.judge.judge import Judge
from recipes.demo_base.judge.verdict import Share, Verdict
from recipes.demo_base.world import WORLD_FILE, World
from triptych.metrics.encoders.efficientnet import EfficientNetLite0
from triptych.metrics.world import World as Facts

SHEET = (12, 5)
"""Columns and pairs of rows of the sheet of samples."""


def judge(
    base_folder: Path, packs: Path, work: Path, prompts: int, guidance: float, device: str
) -> tuple[Verdict, Image.Image]:
    """Hold the exam; the verdict, and a sheet of the first pictures."""
    world = World.open()
    composer = Composer(world, render_all(world_drawings(world, packs), work / "world-art.npy"))
    facts = Facts.open(WORLD_FILE.parent)
    if facts is None:
        raise FileNotFoundError(f"{WORLD_FILE} is missing")
    base = open_base(base_folder, device)
    judge = Judge.open(composer, facts, EfficientNetLite0(device), partial(reconstruct, base.vae))
    exam = set_exam(composer, prompts)
    through = reconstruct(base.vae, exam.real)
    unknown = strangers(world, render_all(unseen_drawings(world, packs), work / "unseen-art.npy"), 200)
    clock = time.perf_counter()
    drawn = draw(base, exam.captions, guidance)
    seconds = (time.perf_counter() - clock) / prompts
    own = judge.marks(exam.scenes, judge.read([Image.fromarray(picture) for picture in through]))
    got = judge.marks(exam.scenes, judge.read(drawn))
    verdict = Verdict(
        base=base_folder.name,
        prompts=prompts,
        guidance=guidance,
        psnr_known=psnr(exam.real, through),
        psnr_strangers=psnr(unknown, reconstruct(base.vae, unknown)),
        own={criterion: Share.of(each) for criterion, each in own.items()},
        drawn={criterion: Share.of(each) for criterion, each in got.items()},
        seconds_a_picture=seconds,
        shared=judge.shared,
    )
    return verdict, sheet(exam.real, drawn)


def unseen_drawings(world: World, packs: Path) -> list[Drawing]:
    """The held-out drawings in the styles of the world."""
    drawings = []
    for style in world.styles.values():
        package = open_package(style.package, style.version, packs)
        for name in sorted(world.unseen_drawings):
            if (svg := package.svg(name)) is not None:
                drawings.append(Drawing(style.package, name, svg))
    return drawings


def sheet(real: list[Pixels], drawn: list[Image.Image]) -> Image.Image:
    """The first pictures in pairs of rows: what was asked for, as a real composition, and below it what was drawn."""
    columns, pairs = SHEET
    rows = []
    for start in range(0, min(len(real), columns * pairs) // columns * columns, columns):
        rows.append(np.concatenate(real[start : start + columns], axis=1))
        rows.append(np.concatenate([np.asarray(picture) for picture in drawn[start : start + columns]], axis=1))
    return Image.fromarray(np.concatenate(rows))


def main() -> None:
    """Judge, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m recipes.demo_base.judge", description=__doc__)
    parser.add_argument(
        "--base", type=Path, default=WORLD_FILE.parent, help="folder of the base (default: the installed one)"
    )
    parser.add_argument("--packs", type=Path, help="folder of icon package archives (default: a temporary one)")
    parser.add_argument("--prompts", type=int, default=500, help="how many pictures are asked for")
    parser.add_argument("--guidance", type=float, default=GUIDANCE, help="scale of classifier-free guidance")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="folder for verdict.json and samples.png")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        packs = options.packs or work
        verdict, samples = judge(options.base, packs, work, options.prompts, options.guidance, options.device)
    print(verdict.table())
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        verdict.save(options.out / "verdict.json")
        samples.save(options.out / "samples.png", optimize=True)


if __name__ == "__main__":
    main()
