"""The denoiser: one interface to the network that predicts, whatever its architecture."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import TriptychError
from ..families import Family, family_named
from .conditioning import Conditioning
from .extended import Extending, extended
from .hooks import hooked
from .opening.names import family_of_config
from .shrunk import shrunk
from .text import Encoded, Text

PLAIN, INPAINTING = 4, 9  # channels of latents; of latents, a mask, and latents of what is not masked
LENGTH = 1000  # the time of pure noise in rectified flows


class Attending(Protocol):
    """Sees the attention of a denoiser's layers, and may change it."""

    def wants(self, cross: bool, queries: int) -> bool:
        """Whether it is to see a layer of cross-attention, or of self-attention, with so many queries."""

    def __call__(self, cross: bool, probabilities: Tensor) -> Mapping[int, Tensor]:
        """Rows with new probabilities [heads, queries, keys], from those of all rows [rows, heads, queries, keys]."""


class Denoiser(ABC):
    """The network of a base that predicts.

    Attributes:
        module: the network, of diffusers.
        family: the family whose layout the network has, whatever its sizes.
        layers: kind of layer ("attention", "mlp", "convolution") -> path endings of these layers.
    """

    module: Any
    family: Family
    layers: ClassVar[Mapping[str, tuple[str, ...]]]

    @property
    def name(self) -> str:
        """The component's name, which is the prefix of its parameters' names in files."""
        return self.family.denoiser

    @property
    @abstractmethod
    def multiple(self) -> int:
        """Height and width of latents must be multiples of this."""

    @property
    def reads_mask(self) -> bool:
        """Whether it also reads what is masked, and the latents of the rest: a denoiser for inpainting."""
        return False

    def fitted(self, difference: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A difference of weights by their names in files, as this network takes it."""
        return dict(difference)

    @property
    @abstractmethod
    def context_width(self) -> int:
        """Width of the hidden states that cross-attention reads; 0 if text and picture share one attention."""

    @abstractmethod
    def conditioning(self, texts: Sequence[Text], encoded: Sequence[Encoded]) -> Conditioning:
        """Combine the outputs of the text encoders into one conditioning."""

    @abstractmethod
    def predict(self, noisy: Tensor, times: Tensor, conditioning: Conditioning, sizes: Tensor) -> Tensor:
        """The prediction [rows, channels, height, width] for noisy latents of that shape at times [rows].

        Args:
            sizes: original size, top left corner of the crop, and size of each picture, height before width, in pixels
                [rows, 6].
        """

    def freeu(self, scales: Sequence[float]) -> AbstractContextManager[None]:
        """FreeU (arXiv:2309.11497) with b1, b2, s1, s2, inside the `with` block.

        Raises:
            TriptychError: the network has no skip connections.
        """
        raise TriptychError(f"FreeU weighs skip connections, and the denoiser of {self.family.title} has none")

    def perturbed(self, rows: Sequence[int]) -> AbstractContextManager[None]:
        """Some rows of the next calls attend to themselves alone in the middle block, inside the `with` block.

        Perturbed-attention guidance (arXiv:2403.17377, section 4.2) guides away from what these rows predict.

        Raises:
            TriptychError: the network has no middle block with self-attention.
        """
        raise TriptychError(
            f"perturbed-attention guidance needs a middle block with self-attention, and the denoiser of "
            f"{self.family.title} has none"
        )

    def attending(self, seen: Attending) -> AbstractContextManager[None]:
        """Show the attention of the next calls to `seen`, and use what it changes, inside the `with` block.

        Raises:
            TriptychError: the network has no cross-attention.
        """
        raise TriptychError(
            f"maps and edits of attention need cross-attention, and the denoiser of {self.family.title} has none"
        )

    def extended(self, seen: Extending) -> AbstractContextManager[None]:
        """Rows of the next calls read other rows in self-attention as `seen` says, inside the `with` block.

        Raises:
            TriptychError: the network has no self-attention of the picture alone.
        """
        raise TriptychError(
            f"pictures cannot share self-attention on {self.family.title}: text and picture have one together"
        )

    @property
    def has_levels(self) -> bool:
        """Whether some of its layers are coarser than others."""
        return False

    def shrunk(self, factor: float) -> AbstractContextManager[None]:
        """The coarse layers see pictures smaller by a factor inside the `with` block, see `base/shrunk.py`.

        A network without levels stays as it is.
        """
        return nullcontext()

    def parameters(self) -> dict[str, nn.Parameter]:
        """The parameters by their names in files: "component.parameter"."""
        return {f"{self.name}.{name}": parameter for name, parameter in self.module.named_parameters()}

    def chosen(self, ends: tuple[str, ...]) -> list[tuple[str, nn.Linear]]:
        """The linear layers whose paths end with one of `ends`."""
        return [(path, layer) for path, layer in self.module.named_modules() if path.endswith(ends)]


class UNet(Denoiser):
    """diffusers' `UNet2DConditionModel`, which reads text by cross-attention (arXiv:2112.10752).

    SDXL's also reads a pooled text state and the sizes of the picture (arXiv:2307.01952, section 2.2).
    """

    layers: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "attention": ("to_q", "to_k", "to_v", "to_out.0"),
        "mlp": ("ff.net.0.proj", "ff.net.2"),
        "convolution": ("conv1", "conv2", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv"),
    }

    def __init__(self, module: Any) -> None:
        self.module, self.family = module, family_of_config(module.config)

    @property
    def multiple(self) -> int:
        return int(2 ** (len(self.module.config.block_out_channels) - 1))

    @property
    def context_width(self) -> int:
        return int(self.module.config.cross_attention_dim)

    @property
    def reads_mask(self) -> bool:
        return bool(self.module.config.in_channels == INPAINTING)

    def fitted(self, difference: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What a plain base learned in its first convolution is about latents, which come first in inpainting, too."""
        found, name = dict(difference), f"{self.name}.conv_in.weight"
        own = self.module.conv_in.weight.shape
        if name in found and self.reads_mask and found[name].shape[1] < own[1]:
            found[name] = F.pad(found[name], (0, 0, 0, 0, 0, own[1] - found[name].shape[1]))
        return found

    @property
    def reads_pooled(self) -> bool:
        """Whether the network also reads one pooled state per prompt."""
        return bool(self.module.config.addition_embed_type == "text_time")

    def conditioning(self, texts: Sequence[Text], encoded: Sequence[Encoded]) -> Conditioning:
        """The states of all text encoders, concatenated [R, P, sum of widths], and the last one's projected end."""
        pooled = texts[-1].project(encoded[-1].end) if self.reads_pooled else None
        if len(encoded) == 1:
            return Conditioning(encoded[0].hidden, pooled, encoded[0].mask)
        longest = max(side.hidden.shape[1] for side in encoded)
        sides = [Conditioning(side.hidden, None, side.mask).padded(longest) for side in encoded]
        masks = [side.mask for side in sides if side.mask is not None]
        mask = torch.stack(masks).any(0) if len(masks) == len(sides) else None
        return Conditioning(torch.cat([side.hidden for side in sides], dim=-1), pooled, mask)

    @contextmanager
    def freeu(self, scales: Sequence[float]) -> Iterator[None]:
        b1, b2, s1, s2 = scales
        self.module.enable_freeu(s1=s1, s2=s2, b1=b1, b2=b2)
        try:
            yield
        finally:
            self.module.disable_freeu()

    @contextmanager
    def perturbed(self, rows: Sequence[int]) -> Iterator[None]:
        middle = self.module.mid_block.named_modules() if self.module.mid_block else ()
        layers = [layer for path, layer in middle if path.endswith("attn1")]
        if not layers:
            with super().perturbed(rows):
                pass

        def after(layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            own = layer.to_out[0](layer.to_v(inputs[0]))
            changed = output.clone()
            changed[list(rows)] = own[list(rows)]
            return changed

        with hooked(layer.register_forward_hook(after) for layer in layers):
            yield

    @contextmanager
    def attending(self, seen: Attending) -> Iterator[None]:
        def after(layer: Any, inputs: tuple[Any, ...], given: dict[str, Any], output: Tensor) -> Tensor:
            context = given.get("encoder_hidden_states")
            cross, hidden = context is not None, inputs[0]
            if not seen.wants(cross, hidden.shape[1]):
                return output
            context = context if cross else hidden
            query, key = (layer.head_to_batch_dim(part) for part in (layer.to_q(hidden), layer.to_k(context)))
            mask = layer.prepare_attention_mask(given.get("attention_mask"), key.shape[1], len(hidden))
            scores = layer.get_attention_scores(query, key, mask).unflatten(0, (len(hidden), -1))
            changed = seen(cross, scores)
            if not changed:
                return output
            rows = list(changed)
            scores[rows] = torch.stack([changed[row] for row in rows]).to(scores.dtype)
            value = layer.head_to_batch_dim(layer.to_v(context))
            new = layer.to_out[0](layer.batch_to_head_dim(scores.flatten(0, 1) @ value)) / layer.rescale_output_factor
            output = output.clone()
            output[rows] = new[rows]
            return output

        layers = [layer for path, layer in self.module.named_modules() if path.endswith(("attn1", "attn2"))]
        with hooked(layer.register_forward_hook(after, with_kwargs=True) for layer in layers):
            yield

    def extended(self, seen: Extending) -> AbstractContextManager[None]:
        return extended(self.module, seen)

    @property
    def has_levels(self) -> bool:
        return len(self.module.down_blocks) > 1

    def shrunk(self, factor: float) -> AbstractContextManager[None]:
        return shrunk(self.module, factor)

    def predict(self, noisy: Tensor, times: Tensor, conditioning: Conditioning, sizes: Tensor) -> Tensor:
        more: dict[str, Any] = {}
        if conditioning.pooled is not None:
            more = {"added_cond_kwargs": {"text_embeds": conditioning.pooled, "time_ids": sizes.to(noisy.dtype)}}
        if conditioning.mask is not None:
            more["encoder_attention_mask"] = conditioning.mask
        predicted: Tensor = self.module(noisy, times, conditioning.hidden, **more).sample
        return predicted


class ZImage(Denoiser):
    """diffusers' `ZImageTransformer2DModel`: text and picture in one sequence, which all layers read alike.

    It reads the time from 0 (noise) to 1 (clean), and predicts the way from noise to picture: both are turned round.
    """

    layers: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "attention": ("attention.to_q", "attention.to_k", "attention.to_v", "attention.to_out.0"),
        "mlp": ("feed_forward.w1", "feed_forward.w2", "feed_forward.w3"),
    }

    def __init__(self, module: Any) -> None:
        self.module, self.family = module, family_named("zimage")

    @property
    def multiple(self) -> int:
        return int(self.module.config.all_patch_size[0])

    @property
    def context_width(self) -> int:
        return 0

    def conditioning(self, texts: Sequence[Text], encoded: Sequence[Encoded]) -> Conditioning:
        """The states of its one text encoder."""
        (side,) = encoded
        return Conditioning(side.hidden, mask=side.mask)

    def predict(self, noisy: Tensor, times: Tensor, conditioning: Conditioning, sizes: Tensor) -> Tensor:
        clean = (1 - times / LENGTH).to(noisy.dtype)
        rows = self.module(list(noisy.unsqueeze(2)), clean, conditioning.unmasked()).sample
        return -torch.stack(rows).squeeze(2)
