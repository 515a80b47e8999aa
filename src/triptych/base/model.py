"""A Base is a frozen Stable Diffusion model: what a method may read, patch, and must give back unchanged."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from .clip import Clip
from .description import Description
from .rows import Owner, Rows, spans

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from PIL.Image import Image
    from transformers import CLIPTextModel, CLIPTokenizer


@dataclass
class Base:
    """The parts of a Stable Diffusion 1 model, none of which asks for a gradient.

    `spell` and `encode` are fields, so that a patch may swap them: `spell` gives the token ids of prompts without start
    and end, `encode` their hidden states [prompts, positions, width].
    """

    name: str
    tokenizer: CLIPTokenizer
    text_encoder: CLIPTextModel
    vae: AutoencoderKL
    unet: UNet2DConditionModel
    schedule: DDPMScheduler
    description: Description
    resolution: int  # pixels, square
    folder: Path | None = None
    clip_source: str | None = None
    rows: Rows = field(default_factory=Rows)
    pile: list[Any] = field(default_factory=list)  # the patches that lie on the weights, lowest first
    _clip: Clip | None = None
    dtype: torch.dtype = field(init=False)  # what the UNet computes in, also while float32 masters are trained
    identity: str = field(init=False)  # the fingerprint it was opened with
    spell: Callable[[Sequence[str]], list[list[int]]] = field(init=False)
    encode: Callable[[Sequence[str]], Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.spell, self.encode = self._spell, self._encode
        for module in self.modules().values():
            module.eval().requires_grad_(False)
        self.dtype = self.unet.dtype
        self.identity = self.fingerprint()

    # --- what it is -------------------------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        device: torch.device = self.unet.device
        return device

    def modules(self) -> dict[str, nn.Module]:
        return {"text_encoder": self.text_encoder, "vae": self.vae, "unet": self.unet}

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one picture's latents."""
        side = self.resolution // 2 ** (len(self.vae.config.block_out_channels) - 1)
        return self.vae.config.latent_channels, side, side

    def fingerprint(self) -> str:
        """16 hex digits over every weight and the vocabulary: equal before and after any patch."""
        digest = hashlib.sha256(repr(sorted(self.tokenizer.get_vocab().items())).encode())
        for name, module in self.modules().items():
            for key, value in sorted(module.state_dict().items()):
                digest.update(f"{name}.{key}".encode())
                digest.update(value.detach().cpu().flatten().contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]

    def clip(self) -> Clip:
        """The CLIP whose text tower is this base's text encoder.

        Raises:
            TriptychError: none comes with the base, or it is the CLIP of another text encoder.
        """
        if self._clip is None:
            self._clip = Clip.of(self.text_encoder, self.clip_source, self.folder, self.name)
        return self._clip

    # --- text -------------------------------------------------------------------------------------------------------

    def _spell(self, prompts: Sequence[str]) -> list[list[int]]:
        return [list(ids) for ids in self.tokenizer(list(prompts), add_special_tokens=False).input_ids]

    @property
    def room(self) -> int:
        """How many tokens of a prompt are read; what comes after is not."""
        return int(self.text_encoder.config.max_position_embeddings) - 2

    def tokenize(self, prompts: Sequence[str]) -> Tensor:
        """Token ids [prompts, positions] with start, end and padding; a long prompt is cut."""
        start, end, pad = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id, self.tokenizer.pad_token_id)
        rows = [[start, *ids[: self.room], end] for ids in self.spell(prompts)]
        return torch.tensor([row + [pad] * (self.room + 2 - len(row)) for row in rows], device=self.device)

    def _encode(self, prompts: Sequence[str]) -> Tensor:
        hidden: Tensor = self.text_encoder(self.tokenize(prompts)).last_hidden_state
        return hidden

    def ends(self, prompts: Sequence[str]) -> Tensor:
        """Where each prompt ends [prompts]: position of the first end token.

        Counted, not searched for: a learned word's id may be the largest of all, and padding may be the end token too.
        """
        return torch.tensor([1 + min(len(ids), self.room) for ids in self.spell(prompts)], device=self.device)

    def encode_for(self, asked: Sequence[tuple[Owner, Sequence[str]]]) -> Tensor:
        """One call of the text encoder for all owners, each owner's distinct prompts once.

        Returns:
            Hidden states [all prompts asked, positions, width], in the order asked.
        """
        distinct = [(owner, list(dict.fromkeys(prompts))) for owner, prompts in asked]
        stated = spans((owner, len(prompts)) for owner, prompts in distinct)
        with self.rows(stated):
            hidden = self.encode([prompt for _, prompts in distinct for prompt in prompts])
        places = [
            stated[owner].start + prompts.index(prompt)
            for (owner, prompts), (_, wanted) in zip(distinct, asked, strict=True)
            for prompt in wanted
        ]
        return hidden[torch.tensor(places, device=hidden.device)]

    # --- pictures ---------------------------------------------------------------------------------------------------

    def latents(self, pictures: Sequence[Image]) -> Tensor:
        """Square RGB pictures as latents [pictures, channels, height, width], float32, scaled as the UNet wants them.

        The mean of the autoencoder's posterior is taken, not a sample: it can be computed once and kept.
        """
        pixels = np.stack([np.asarray(picture, dtype=np.float32) for picture in pictures])
        scaled = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1
        with torch.inference_mode():
            halves = scaled.to(self.device, self.vae.dtype).split(self.description.drawing.batch)
            means = torch.cat([self.vae.encode(half).latent_dist.mean for half in halves])
        return means.float().clone() * float(self.vae.config.scaling_factor)

    def decode(self, latents: Tensor) -> list[Image]:
        """Latents [pictures, channels, height, width] as RGB pictures."""
        import PIL.Image

        unscaled = latents.to(self.vae.dtype) / float(self.vae.config.scaling_factor)
        with torch.inference_mode():
            samples = self.vae.decode(unscaled).sample
        pixels = ((samples.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
        return [PIL.Image.fromarray(array) for array in pixels.permute(0, 2, 3, 1).cpu().numpy()]

    def denoise(self, noisy: Tensor, timesteps: Tensor, context: Tensor) -> Tensor:
        """The UNet's prediction for `noisy` [rows, channels, height, width], in the type of `noisy`."""
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype.itemsize == 2):
            predicted: Tensor = self.unet(noisy.to(self.dtype), timesteps, context.to(self.dtype)).sample
        return predicted.to(noisy.dtype)

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What `denoise` should give: the noise, or the velocity of arXiv:2202.00512."""
        if self.schedule.config.prediction_type == "v_prediction":
            velocity: Tensor = self.schedule.get_velocity(latents, noise, timesteps)
            return velocity
        return noise
