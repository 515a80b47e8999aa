"""The CLIP models whose text towers a base uses as text encoders. Aesthetic gradients need their image towers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import Remedy, TriptychError
from .text import Text

if TYPE_CHECKING:
    from PIL.Image import Image

FOLDERS = ("clip", "clip_2")  # the CLIP of each text encoder, in a base folder
PUBLIC = {
    1: "for Stable Diffusion 1 it is openai/clip-vit-large-patch14",
    2: "for SDXL they are openai/clip-vit-large-patch14 and laion/CLIP-ViT-bigG-14-laion2B-39B-b160k",
}  # by the number of text encoders: where the CLIPs of the usual bases are


@dataclass(frozen=True)
class Clip:
    """The image tower and the two projections. The text tower is the base's own text encoder."""

    model: Any  # transformers' CLIPModel
    processor: Any  # its PIL image processor

    def images(self, pictures: Sequence[Image]) -> Tensor:
        """Projected image features [pictures, projection width], float32, not normalised to length 1."""
        pixels = self.processor(list(pictures), return_tensors="pt")["pixel_values"].to(self.model.device)
        with torch.inference_mode():
            pooled = self.model.vision_model(pixel_values=pixels).pooler_output
            return F.linear(pooled, self.model.visual_projection.weight).clone()

    def project(self, pooled: Tensor) -> Tensor:
        """Projects pooled text states [prompts, width] to [prompts, projection width], the space of `images`."""
        return F.linear(pooled.float(), self.model.text_projection.weight)


def clips_of(texts: Sequence[Text], source: str | None, folder: Path | None, base: str) -> tuple[Clip, ...]:
    """Open the CLIP of each text encoder: from `source`, separated by commas, or else from the base's folder.

    Raises:
        TriptychError: a CLIP is missing or cannot be read, or its text tower is not that text encoder.
    """
    own = [str(folder / name) for name in FOLDERS[: len(texts)] if folder and (folder / name).is_dir()]
    places = source.split(",") if source else own
    if len(places) != len(texts):
        wanted = "the image tower of its CLIP" if len(texts) == 1 else f"the image towers of its {len(texts)} CLIPs"
        raise TriptychError(f"the base {base} comes without {wanted} ({PUBLIC[len(texts)]})", Remedy.NAME_CLIP)
    return tuple(_open(text, place.strip(), base) for text, place in zip(texts, places, strict=True))


def _open(text: Text, place: str, base: str) -> Clip:
    from transformers import CLIPImageProcessorPil, CLIPModel

    try:
        model = CLIPModel.from_pretrained(place, dtype=torch.float32)
        processor = CLIPImageProcessorPil.from_pretrained(place)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise TriptychError(f"{place} is not a CLIP model: {str(error).splitlines()[0]}") from error
    tower = getattr(text.encoder, "text_model", text.encoder)
    theirs, own = (dict(m.encoder.named_parameters()) for m in (model.text_model, tower))
    if not own.keys() <= theirs.keys() or not all(_near(theirs[name], own[name]) for name in own):
        raise TriptychError(
            f"the CLIP in {place} has another text encoder than the base {base} (was it fine-tuned?), "
            "so its image tower says nothing about this base's text"
        )
    model.eval().requires_grad_(False)
    return Clip(model.to(text.encoder.device), processor)


def _near(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a.float().cpu(), b.float().cpu(), atol=1e-2)
