"""One stage in one process: `python -m recipes.demo_base.stage RANK SIZE STAGE OUT PACKS DEVICE HOURS [VAE]`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from transformers import CLIPModel, CLIPTokenizer

from recipes.demo_base.art import Art, other_drawings, render_all, world_drawings
from recipes.demo_base.autoencoder import AutoencoderTask
from recipes.demo_base.clip import ClipTask
from recipes.demo_base.compose import Composer
from recipes.demo_base.denoiser import DenoiserTask, build_denoiser, build_schedule
from recipes.demo_base.export import describe, export
from recipes.demo_base.fit import Plan, fit, load_mean
from recipes.demo_base.fleet import Fleet
from recipes.demo_base.lessons import Lessons, write_lessons
from recipes.demo_base.words import build_tokenizer
from recipes.demo_base.world import World

FROM_SCRATCH, FROM_WEIGHTS = 1.5e-3, 4e-4
"""Learning rates of the autoencoder."""

MOST_LESSONS = 120_000
"""Pictures that the denoiser learns from, at the most."""


@dataclass(frozen=True)
class Pace:
    """How the work goes on a kind of device."""

    trainers: int
    """Processes that train together."""
    composers: int
    """Processes that make lessons: composing is the processor's work, whatever device encodes."""
    lessons_per_hour: int
    batch: int
    """Lessons of a step of the denoiser, in one process."""
    rate: float
    """The denoiser's learning rate."""


PACES = {"cpu": Pace(2, 2, 30_000, batch=24, rate=8e-4), "cuda": Pace(1, 8, 600_000, batch=512, rate=1.5e-3)}


@dataclass(frozen=True)
class Workshop:
    """What every stage gets."""

    out: Path
    packs: Path
    fleet: Fleet
    seconds: float
    """For all training together."""
    world: World
    autoencoder: Path | None = None
    """Folder of an autoencoder to start from."""

    @property
    def pace(self) -> Pace:
        """What the device at hand is given at a time."""
        return PACES[self.fleet.device.type]

    def composer(self) -> Composer:
        """Draws the world's scenes."""
        return Composer(self.world, render_all(world_drawings(self.world, self.packs), self.out / "world-art.npy"))

    def all_art(self) -> Art:
        """Every drawing that the autoencoder may see."""
        return render_all(other_drawings(self.world, self.packs), self.out / "all-art.npy")


def prepare(out: Path, packs: Path, *, all_art: bool) -> None:
    """Render the drawings, once, before the processes start."""
    shop = Workshop(out, packs, Fleet(0, 1, torch.device("cpu")), 0, World.open())
    print(f"{len(shop.composer().art.index)} drawings of the world", flush=True)
    if all_art:
        print(f"{len(shop.all_art().index)} drawings for the autoencoder", flush=True)


def train_autoencoder(shop: Workshop) -> None:
    """Train and keep the autoencoder."""
    task = AutoencoderTask(shop.all_art(), shop.composer(), shop.fleet.device, batch=8)
    rate = FROM_SCRATCH
    if shop.autoencoder is not None:
        task.vae.load_state_dict(
            AutoencoderKL.from_pretrained(shop.autoencoder, torch_dtype=torch.float32).state_dict()
        )
        rate = FROM_WEIGHTS
    fit(task, Plan(0.2 * shop.seconds, rate=rate, averaging=0.998), shop.fleet, shop.out)
    if shop.fleet.leads:
        task.vae.save_pretrained(shop.out / "vae")


def train_clip(shop: Workshop) -> None:
    """Make the tokenizer, train and keep both towers."""
    if shop.fleet.leads:
        build_tokenizer(shop.world.words(), shop.out / "tokenizer")
    shop.fleet.wait()
    tokenizer = CLIPTokenizer.from_pretrained(shop.out / "tokenizer")
    task = ClipTask(shop.composer(), tokenizer, shop.fleet.device, batch=64)
    fit(task, Plan(0.08 * shop.seconds, rate=1e-3, weight_decay=0.05, averaging=0.995), shop.fleet, shop.out)
    if shop.fleet.leads:
        task.clip.save_pretrained(shop.out / "clip")


def make_lessons(shop: Workshop) -> None:
    """Encode what the denoiser learns from."""
    vae = AutoencoderKL.from_pretrained(shop.out / "vae").to(shop.fleet.device)
    text = CLIPModel.from_pretrained(shop.out / "clip").text_model.to(shop.fleet.device)
    tokenizer = CLIPTokenizer.from_pretrained(shop.out / "tokenizer")
    count = min(round(shop.pace.lessons_per_hour * shop.seconds / 3600), MOST_LESSONS)
    write_lessons(shop.composer(), vae, text, tokenizer, count, shop.fleet, shop.out)


def denoiser_plan(seconds: float, pace: Pace) -> Plan:
    """How the denoiser is trained, of all the time there is."""
    return Plan(0.66 * seconds, rate=pace.rate, hold=0.6, warm_up=200, averaging=0.9995, log_every=200)


def train_denoiser(shop: Workshop) -> None:
    """Train the denoiser for the rest of the time."""
    task = DenoiserTask(Lessons.open(shop.out), shop.fleet.device, shop.pace.batch)
    fit(task, denoiser_plan(shop.seconds, shop.pace), shop.fleet, shop.out)


def finish(shop: Workshop) -> None:
    """Write the finished folder from whatever the denoiser has learned so far."""
    if not shop.fleet.leads:
        return
    vae = AutoencoderKL.from_pretrained(shop.out / "vae")
    vae.register_to_config(scaling_factor=Lessons.open(shop.out).scale)
    unet = build_denoiser()
    load_mean(torch.nn.ModuleDict({"unet": unet}), shop.out / "unet.checkpoint")
    clip, tokenizer = (
        CLIPModel.from_pretrained(shop.out / "clip"),
        CLIPTokenizer.from_pretrained(shop.out / "tokenizer"),
    )
    export(shop.out / "demo", clip, tokenizer, vae, unet, build_schedule(), shop.composer())
    print(describe(shop.out / "demo"), flush=True)


STAGES: dict[str, Callable[[Workshop], None]] = {
    "vae": train_autoencoder,
    "clip": train_clip,
    "lessons": make_lessons,
    "unet": train_denoiser,
    "export": finish,
}


def main() -> None:
    """Join the others and do one stage."""
    rank, size, stage, out, packs, device, hours, *autoencoder = sys.argv[1:]
    fleet = Fleet.join(int(rank), int(size), device, Path(out))
    start = Path(autoencoder[0]) if autoencoder else None
    STAGES[stage](Workshop(Path(out), Path(packs), fleet, float(hours) * 3600, World.open(), start))
    fleet.wait()


if __name__ == "__main__":
    main()
