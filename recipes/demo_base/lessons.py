"""The training data of the denoiser: cached latents and text states of many compositions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from recipes.demo_base.clip import token_ids
from recipes.demo_base.compose import Composer, to_tensor
from recipes.demo_base.fleet import Fleet, half_where_fast

BATCH = 64


@dataclass(frozen=True)
class Lessons:
    """Pictures and their captions, encoded.

    latents: float32 [pictures, 4, 16, 16], scaled to unit deviation by `scale`. states: float16 [captions, 77, width],
    the first of the empty caption. caption: int64 [pictures], the row of a picture's caption.
    """

    latents: Tensor
    states: Tensor
    caption: Tensor
    scale: float

    @classmethod
    def open(cls, folder: Path) -> Lessons:
        """Open the files of `write_lessons`. The states are memory-mapped."""
        kept: dict[str, Any] = torch.load(folder / "latents.pt", weights_only=True)
        states = np.load(folder / "states.npy", mmap_mode="c")
        return cls(kept["latents"], torch.from_numpy(states), kept["caption"], kept["scale"])

    def near(self, device: torch.device) -> Lessons:
        """The same in a device's memory: under 1 GB on a GPU; on a CPU the states stay on disk."""
        return Lessons(self.latents.to(device), self.states.to(device), self.caption.to(device), self.scale)


@torch.no_grad()
def encode_pictures(composer: Composer, vae: AutoencoderKL, count: int, fleet: Fleet) -> tuple[Tensor, list[str]]:
    """Compose this process's share of `count` seen pictures: unscaled latents [share, 4, 16, 16] and captions."""
    latents, captions = [], []
    for i in range(fleet.rank, -(-count // BATCH), fleet.size):
        rng = np.random.default_rng((7, i))
        scenes = [composer.choose(rng) for _ in range(BATCH)]
        captions += [composer.caption(scene, rng) for scene in scenes]
        x = to_tensor([composer.picture(scene, rng) for scene in scenes]).to(fleet.device)
        with half_where_fast(fleet.device):
            latents.append(vae.encode(x).latent_dist.mean.float().cpu())
    return torch.cat(latents), captions


@torch.no_grad()
def encode_captions(captions: list[str], text: CLIPTextModel, tokenizer: CLIPTokenizer, device: torch.device) -> Tensor:
    """Text states float16 [captions, 77, width]."""
    states = []
    for start in range(0, len(captions), BATCH):
        ids = token_ids(tokenizer, captions[start : start + BATCH]).to(device)
        with half_where_fast(device):
            states.append(text(ids).last_hidden_state.half().cpu())
    return torch.cat(states)


def write_lessons(
    composer: Composer,
    vae: AutoencoderKL,
    text: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    count: int,
    fleet: Fleet,
    out: Path,
) -> None:
    """Make `count` lessons together: each process encodes its share, the first one joins the shares."""
    latents, captions = encode_pictures(composer, vae, count, fleet)
    torch.save({"latents": latents, "captions": captions}, out / f"pictures-{fleet.rank}.part")
    fleet.wait()
    shares = [torch.load(out / f"pictures-{rank}.part", weights_only=True) for rank in range(fleet.size)]
    every = [caption for share in shares for caption in share["captions"]]
    distinct = ["", *sorted({*every} - {""})]
    states = encode_captions(distinct[fleet.rank :: fleet.size], text, tokenizer, fleet.device)
    np.save(out / f"states-{fleet.rank}.npy", states.numpy())
    fleet.wait()
    if fleet.leads:
        join_states(out, len(distinct), fleet.size)
        rows = {caption: row for row, caption in enumerate(distinct)}
        latents = torch.cat([share["latents"] for share in shares])
        scale = 1 / float(latents.std())
        caption = torch.tensor([rows[caption] for caption in every])
        torch.save({"latents": latents * scale, "caption": caption, "scale": scale}, out / "latents.pt")
        for part in [*out.glob("pictures-*.part"), *out.glob("states-*.npy")]:
            part.unlink()


def join_states(out: Path, captions: int, shares: int) -> None:
    """Interleave the processes' states into one file."""
    parts = [np.load(out / f"states-{rank}.npy", mmap_mode="r") for rank in range(shares)]
    whole = np.lib.format.open_memmap(out / "states.npy", "w+", np.float16, (captions, *parts[0].shape[1:]))
    for rank, part in enumerate(parts):
        whole[rank::shares] = part
    whole.flush()
