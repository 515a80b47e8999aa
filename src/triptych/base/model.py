"""A `Base` is a frozen diffusion model. Methods read and patch it, and must restore it unchanged."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..families import VAE, Family
from ..prompt.runs import Said
from .changes import Changes
from .clip import Clip, clips_of
from .conditioning import Conditioning
from .denoiser import Denoiser
from .description import Description
from .process import Process
from .rows import Owner, Rows, spans
from .text import Text
from .tiling import in_parts

if TYPE_CHECKING:
    from diffusers import AutoencoderKL
    from PIL.Image import Image


CHANGED = 128  # grey of a mask from which on a pixel is changed


class Framing(NamedTuple):
    """The size that a picture was, and where its crop begins, in pixels."""

    height: int
    width: int
    top: int = 0
    left: int = 0


@dataclass
class Base:
    """The components of a diffusion model. None of them requires gradients.

    `texts` are the text encoders with their tokenizers: one, or two for SDXL. `process` defines what the `denoiser`
    predicts. `encode` turns prompts into the denoiser's conditioning; it is a field, so that a patch can replace it.
    """

    name: str
    texts: tuple[Text, ...]
    vae: AutoencoderKL
    denoiser: Denoiser
    process: Process
    description: Description
    resolution: int  # pixels, square
    folder: Path | None = None
    clip_source: str | None = None
    rows: Rows = field(default_factory=Rows)
    changes: Changes = field(init=False)  # the changes of layers that patches opened
    pile: list[Any] = field(default_factory=list)  # the patches of weights, lowest first
    identity: str = ""  # the fingerprint when opened; computed if not given
    _clips: tuple[Clip, ...] = ()
    _blank: dict[torch.Size, Tensor] = field(default_factory=dict)
    dtype: torch.dtype = field(init=False)  # of the denoiser's arithmetic, also while float32 masters are trained
    encode: Callable[[Sequence[Said]], Conditioning] = field(init=False)

    def __post_init__(self) -> None:
        self.encode = self._encode
        self.changes = Changes(self.rows)
        for text in self.texts:
            text.rows = self.rows
        for module in self.modules().values():
            module.eval().requires_grad_(False)
        self.dtype = self.denoiser.module.dtype
        self.identity = self.identity or self.fingerprint()

    # --- what it is -------------------------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        first: nn.Parameter = next(self.denoiser.module.parameters())  # diffusers' own answer looks at every module
        return first.device

    @property
    def family(self) -> Family:
        """The family whose layout the denoiser has. Files are made for the family of the description."""
        return self.denoiser.family

    def modules(self) -> dict[str, nn.Module]:
        """The networks by component name, which is the prefix of their parameters' names in files."""
        encoders = {text.name: text.encoder for text in self.texts}
        return {**encoders, VAE: self.vae, self.denoiser.name: self.denoiser.module}

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one picture's latents."""
        side = self.resolution // self.pixels
        return self.vae.config.latent_channels, side, side

    @property
    def pixels(self) -> int:
        """Pixels of a picture per latent, along one side."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @property
    def size(self) -> int:
        """Bytes of all its weights; those that two networks share count once."""
        tensors = (tensor for module in self.modules().values() for tensor in (*module.parameters(), *module.buffers()))
        return sum({id(tensor): tensor.nbytes for tensor in tensors}.values())

    def fingerprint(self) -> str:
        """16 hex digits over every weight and the vocabulary: equal before and after any patch."""
        digest = hashlib.sha256(repr(sorted(self.texts[0].tokenizer.get_vocab().items())).encode())
        for name, module in self.modules().items():
            for key, value in sorted(module.state_dict().items()):
                digest.update(f"{name}.{key}".encode())
                digest.update(value.detach().cpu().flatten().contiguous().view(torch.uint8).numpy())
        return digest.hexdigest()[:16]

    def clips(self) -> tuple[Clip, ...]:
        """The CLIP of each text encoder.

        Raises:
            TriptychError: the base has none, or it is the CLIP of another text encoder.
        """
        if not self._clips:
            self._clips = clips_of(self.texts, self.clip_source, self.folder, self.name)
        return self._clips

    # --- text -------------------------------------------------------------------------------------------------------

    def _encode(self, prompts: Sequence[Said]) -> Conditioning:
        return self.denoiser.conditioning(self.texts, [text.encode(prompts) for text in self.texts])

    @property
    def reads_as_opened(self) -> bool:
        """Whether no open patch changes how prompts are encoded, for any owner."""
        moved = (name for patch in self.pile for name in patch.weights)
        return (
            self.encode == self._encode
            and all(text.is_as_opened for text in self.texts)
            and not self.changes.tensors_in(*(text.encoder for text in self.texts))
            and not any(name.startswith(tuple(f"{text.name}." for text in self.texts)) for name in moved)
        )

    def encode_for(self, asked: Sequence[tuple[Owner, Sequence[Said]]]) -> Conditioning:
        """Encode the prompts of all owners in one call of each text encoder. Each owner's prompts are encoded once.

        Returns:
            A row for every prompt, in the order given.
        """
        distinct = [(owner, list(dict.fromkeys(prompts))) for owner, prompts in asked]
        stated = spans((owner, len(prompts)) for owner, prompts in distinct)
        with self.rows(stated):
            conditioning = self.encode([prompt for _, prompts in distinct for prompt in prompts])
        places = [
            stated[owner].start + prompts.index(prompt)
            for (owner, prompts), (_, wanted) in zip(distinct, asked, strict=True)
            for prompt in wanted
        ]
        return conditioning.rows(torch.tensor(places, device=self.device))

    # --- pictures ---------------------------------------------------------------------------------------------------

    def latents(self, pictures: Sequence[Image], tiled: bool | None = None) -> Tensor:
        """Encode square RGB pictures to scaled latents [pictures, channels, height, width], float32.

        These are the means of the autoencoder's posterior, not samples, so they can be computed once and cached.
        `tiled`: whether pictures are cut into tiles; None: large ones are.
        """
        return self._encoded(_scaled(pictures), tiled)

    def kept(self, pictures: Sequence[Image], masks: Sequence[Image], tiled: bool | None = None) -> Tensor:
        """What a denoiser for inpainting reads beside latents [pictures, 1 + channels, height, width].

        It is the mask, 1 where the picture changes, and the latents of the picture with grey there. A mask is white
        (from 128 on) where the picture changes, and of its size.
        """
        changed = torch.stack([torch.from_numpy(np.array(mask.convert("L"))) >= CHANGED for mask in masks])[:, None]
        latents = self._encoded(_scaled(pictures) * ~changed, tiled)
        return torch.cat([F.interpolate(changed.float(), latents.shape[2:]).to(latents), latents], dim=1)

    def _encoded(self, scaled: Tensor, tiled: bool | None) -> Tensor:
        """Scaled latents of pixels from -1 to 1 [pictures, 3, height, width]."""
        halves = scaled.to(self.device, self.vae.dtype).split(self.description.sampling.batch)
        with torch.inference_mode(), in_parts(self.vae, len(halves[0]), scaled[0, 0].numel(), tiled):
            means = torch.cat([self.vae.encode(half).latent_dist.mean for half in halves])
        unscaled = means.float().clone() - self._shift if self._shift else means.float().clone()
        return unscaled * float(self.vae.config.scaling_factor)

    @property
    def _shift(self) -> float:
        """What the autoencoder's latents are off 0 by."""
        return float(self.vae.config.shift_factor or 0.0)

    def decode(self, latents: Tensor, tiled: bool | None = None) -> list[Image]:
        """Decode latents [pictures, channels, height, width] to RGB pictures.

        `tiled`: whether pictures are cut into tiles; None: large ones are.
        """
        import PIL.Image

        unscaled = latents.to(self.vae.dtype) / float(self.vae.config.scaling_factor)
        unscaled = unscaled + self._shift if self._shift else unscaled
        pixels_of_each = latents[0, 0].numel() * self.pixels**2
        with torch.inference_mode(), in_parts(self.vae, len(latents), pixels_of_each, tiled):
            samples = self.vae.decode(unscaled).sample
        pixels = ((samples.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
        return [PIL.Image.fromarray(array) for array in pixels.permute(0, 2, 3, 1).cpu().numpy()]

    def redraw(self, pictures: Sequence[Image]) -> list[Image]:
        """Encode and decode square RGB pictures: the best that samples of this base can look like them."""
        parts = self.latents(pictures).split(self.description.sampling.batch)
        return [picture for part in parts for picture in self.decode(part)]

    def denoise(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        conditioning: Conditioning,
        framings: Sequence[Framing | None] | None = None,
        kept: Tensor | None = None,
    ) -> Tensor:
        """The denoiser's prediction [rows, channels, height, width] for `noisy` of that shape, in its data type.

        Args:
            framings: of each row, for denoisers that read sizes; None: the picture is whole.
            kept: what a denoiser for inpainting reads beside [rows, 1 + channels, height, width]; None: all is masked.
        """
        dtype = noisy.dtype
        if self.denoiser.reads_mask:
            beside = self._nothing_kept(noisy.shape[2:]).expand(len(noisy), -1, -1, -1) if kept is None else kept
            noisy = torch.cat([noisy, beside.to(noisy)], dim=1)
        conditioning = conditioning.map(lambda states: states.to(self.dtype))
        sizes = self._sizes(noisy, framings or [None] * len(noisy)).to(self.device)
        with (
            torch.autocast(self.device.type, self.dtype, enabled=self.dtype.itemsize == 2),
            self.rows.reading(conditioning.layers),
        ):
            predicted = self.denoiser.predict(noisy.to(self.dtype), timesteps, conditioning, sizes)
        return predicted.to(dtype)

    def _nothing_kept(self, shape: torch.Size) -> Tensor:
        """What a denoiser for inpainting reads where all of a picture is masked [1, 1 + channels, height, width]."""
        if shape not in self._blank:
            from PIL import Image

            size = (shape[1] * self.pixels, shape[0] * self.pixels)
            self._blank[shape] = self.kept([Image.new("RGB", size)], [Image.new("L", size, 255)])
        return self._blank[shape]

    @contextmanager
    def checkpointed(self) -> Iterator[None]:
        """Inside the block the denoiser recomputes its activations in the backward pass, which takes less memory."""
        self.denoiser.module.enable_gradient_checkpointing(self.rows.checkpoint)
        try:
            yield
        finally:
            self.denoiser.module.disable_gradient_checkpointing()

    def _sizes(self, noisy: Tensor, framings: Sequence[Framing | None]) -> Tensor:
        """The size each picture was, where it was cropped, and the size it is [rows, 6]."""
        height, width = (side * self.pixels for side in noisy.shape[2:])
        whole = Framing(height, width)
        return torch.tensor([[*(framing or whole), height, width] for framing in framings])


def _scaled(pictures: Sequence[Image]) -> Tensor:
    """Pixels from -1 to 1 [pictures, 3, height, width]."""
    pixels = np.stack([np.asarray(picture, dtype=np.float32) for picture in pictures])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1
