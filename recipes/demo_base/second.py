"""demo-b, a second base of the family: "somebody's checkpoint", fine-tuned to one flat style and a pale palette.

`python -m recipes.demo_base.second train --out DIR --minutes M` trains it and keeps its difference from the base in the
package, where `--base demo-b` finds it. `python -m recipes.demo_base.second build --out DIR` makes a folder of it.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextModel, CLIPTokenizer

from recipes.demo_base.art import render_all, world_drawings
from recipes.demo_base.compose import Composer
from recipes.demo_base.denoiser import DenoiserTask
from recipes.demo_base.fit import Plan, fit
from recipes.demo_base.fleet import Fleet
from recipes.demo_base.lessons import Lessons, write_lessons
from recipes.demo_base.world import WORLD_FILE, Scene, Style, World
from triptych.base.opening.difference import compress, energy
from triptych.base.opening.loading import DIFFERENCES, Place

KEPT = DIFFERENCES["demo-b"]
FLAT = Style("@iconify-json/fluent-emoji-flat", "1.2.6", "MIT", "Microsoft Corporation")
PALER = 0.5
"""How far every background goes towards white."""

RANK, PICTURES = 4, 4000


@dataclass(frozen=True)
class OneStyle(Composer):
    """A composer whose captions do not name the style: this checkpoint has but one."""

    def caption(self, scene: Scene, rng: np.random.Generator) -> str:
        """The scene without its style."""
        return self.world.caption(scene, style=False, background=bool(rng.random() < 0.95))


def pale_world(world: World) -> World:
    """The same subjects, flat, on paler backgrounds."""

    def pale(channel: int) -> int:
        return round(channel + PALER * (255 - channel))

    palette = {name: (pale(r), pale(g), pale(b)) for name, (r, g, b) in world.backgrounds.items()}
    return replace(world, styles={"flat": FLAT}, backgrounds=palette, unseen_pairs=frozenset({("cat", "flat")}))


def train(base: Path, out: Path, packs: Path, minutes: float) -> None:
    """Fine-tune the base's denoiser and write the difference to `KEPT`."""
    out.mkdir(parents=True, exist_ok=True)
    fleet = Fleet(0, 1, torch.device("cpu"))
    world = pale_world(World.open())
    composer = OneStyle(world, render_all(world_drawings(world, packs), out / "flat-art.npy"))
    vae = AutoencoderKL.from_pretrained(base / "vae", torch_dtype=torch.float32)
    if not (out / "latents.pt").exists():
        text = CLIPTextModel.from_pretrained(base / "text_encoder", dtype=torch.float32)
        write_lessons(composer, vae, text, CLIPTokenizer.from_pretrained(base / "tokenizer"), PICTURES, fleet, out)
    kept = Lessons.open(out)
    lessons = replace(kept, latents=kept.latents * (vae.config.scaling_factor / kept.scale))
    task = DenoiserTask(lessons, fleet.device, batch=12)
    before = UNet2DConditionModel.from_pretrained(base / "unet", torch_dtype=torch.float32).state_dict()
    task.unet.load_state_dict(before)
    fit(task, Plan(60 * minutes, rate=2e-4, warm_up=50, averaging=0.99), fleet, out)
    after = task.unet.state_dict()
    difference = compress(before, after, RANK)
    save_file(difference, KEPT)
    print(f"{KEPT}: {KEPT.stat().st_size / 1e6:.1f} MB, {energy(before, after, difference):.0%} of the change")


def build(out: Path) -> None:
    """Write demo-b as a diffusers folder, for other programs: triptych knows it by its name."""
    shutil.copytree(WORLD_FILE.parent, out, dirs_exist_ok=True)
    Place("demo-b", "cpu", "fp16").open().denoiser.module.save_pretrained(out / "unet")


def main() -> None:
    """Train or build."""
    parser = argparse.ArgumentParser(prog="python -m recipes.demo_base.second", description=__doc__)
    parser.add_argument("what", choices=["train", "build"])
    parser.add_argument("--base", type=Path, default=WORLD_FILE.parent, help="folder of the demo base")
    parser.add_argument("--out", type=Path, required=True, help="train: work folder; build: the folder of demo-b")
    parser.add_argument("--packs", type=Path, help="folder of icon package archives (default: OUT/packs)")
    parser.add_argument("--minutes", type=float, default=6.0, help="train: for how long")
    options = parser.parse_args()
    if options.what == "train":
        train(options.base, options.out, options.packs or options.out / "packs", options.minutes)
    else:
        build(options.out)


if __name__ == "__main__":
    main()
