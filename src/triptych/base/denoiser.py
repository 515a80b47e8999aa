"""The network that predicts, behind one way to call it, whatever its architecture."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from ..families import Family
from .opening.names import family_of
from .text import Context


class Denoiser(ABC):
    """A base's network that predicts, and what methods ask of it.

    Attributes:
        module: of diffusers.
        family: whose layout it has, whatever its sizes.
        layers: ends of the paths of its layers, by what a method calls them: "attention", "mlp".
    """

    module: Any
    family: Family
    layers: ClassVar[Mapping[str, tuple[str, ...]]]

    @property
    def name(self) -> str:
        """Its component's name: what the names of its parameters begin with in files."""
        return self.family.denoiser

    @property
    def side(self) -> int:
        """Of the square latents it was made for."""
        return int(self.module.config.sample_size)

    @property
    @abstractmethod
    def multiple(self) -> int:
        """The sides of its latents must be multiples of this."""

    @property
    @abstractmethod
    def context_width(self) -> int:
        """Width of the text that its cross-attention reads; 0 where text and picture share one attention."""

    @property
    def reads_pooled(self) -> bool:
        """Whether it also reads one state a prompt."""
        return False

    @abstractmethod
    def predict(self, noisy: Tensor, times: Tensor, context: Context, sizes: Tensor) -> Tensor:
        """What the noise process asks for, of noisy latents [rows, channels, height, width] at times [rows].

        Args:
            sizes: the size each picture was, where it was cropped, the size it is, height before width, in pixels
                [rows, 6].
        """

    def parameters(self) -> dict[str, nn.Parameter]:
        """Its parameters by their names in files: "component.parameter"."""
        return {f"{self.name}.{name}": parameter for name, parameter in self.module.named_parameters()}

    def chosen(self, ends: tuple[str, ...]) -> list[tuple[str, nn.Linear]]:
        """Its layers whose paths end so."""
        return [(path, layer) for path, layer in self.module.named_modules() if path.endswith(ends)]


class UNet(Denoiser):
    """diffusers' `UNet2DConditionModel`, which reads text by cross-attention (arXiv:2112.10752).

    SDXL's also reads a pooled text and the sizes of the picture (arXiv:2307.01952, 2.2).
    """

    layers: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "attention": ("to_q", "to_k", "to_v", "to_out.0"),
        "mlp": ("ff.net.0.proj", "ff.net.2"),
    }

    def __init__(self, module: Any) -> None:
        self.module, self.family = module, family_of(module.config)

    @property
    def multiple(self) -> int:
        return int(2 ** (len(self.module.config.block_out_channels) - 1))

    @property
    def context_width(self) -> int:
        return int(self.module.config.cross_attention_dim)

    @property
    def reads_pooled(self) -> bool:
        return bool(self.module.config.addition_embed_type == "text_time")

    def predict(self, noisy: Tensor, times: Tensor, context: Context, sizes: Tensor) -> Tensor:
        more = {}
        if context.pooled is not None:
            more = {"added_cond_kwargs": {"text_embeds": context.pooled, "time_ids": sizes.to(noisy.dtype)}}
        predicted: Tensor = self.module(noisy, times, context.hidden, **more).sample
        return predicted
