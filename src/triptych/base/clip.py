"""The CLIP that a base's text encoder is the text tower of: what aesthetic gradients steer by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import TriptychError

if TYPE_CHECKING:
    from PIL.Image import Image
    from transformers import CLIPTextModel

FOLDER = "clip"  # where a base folder keeps it


@dataclass(frozen=True)
class Clip:
    """Image tower and the two projections; the text tower is the base's own text encoder."""

    model: Any  # transformers' CLIPModel
    processor: Any  # its PIL image processor

    @classmethod
    def of(cls, text_encoder: CLIPTextModel, source: str | None, folder: Path | None, base: str) -> Clip:
        """The CLIP at `source`, or in the base's folder.

        Raises:
            TriptychError: there is none, it cannot be read, or its text tower is not this text encoder.
        """
        from transformers import CLIPImageProcessorPil, CLIPModel

        place = source or (str(folder / FOLDER) if folder and (folder / FOLDER).is_dir() else None)
        if place is None:
            raise TriptychError(
                f"the base {base} comes without the image tower of its CLIP: name that CLIP with --clip FOLDER "
                "(for Stable Diffusion 1 it is openai/clip-vit-large-patch14)"
            )
        try:
            model = CLIPModel.from_pretrained(place, dtype=torch.float32)
            processor = CLIPImageProcessorPil.from_pretrained(place)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise TriptychError(f"{place} is not a CLIP model: {str(error).splitlines()[0]}") from error
        theirs, own = (dict(m.encoder.named_parameters()) for m in (model.text_model, text_encoder))
        if theirs.keys() != own.keys() or not all(_near(theirs[name], own[name]) for name in own):
            raise TriptychError(
                f"the CLIP in {place} has another text encoder than the base {base} (was it fine-tuned?), "
                "so its image tower says nothing about this base's text"
            )
        model.eval().requires_grad_(False)
        return cls(model.to(next(text_encoder.parameters()).device), processor)

    def images(self, pictures: Sequence[Image]) -> Tensor:
        """Projected image features [pictures, projection width], float32, not normalised."""
        pixels = self.processor(list(pictures), return_tensors="pt")["pixel_values"].to(self.model.device)
        with torch.inference_mode():
            pooled = self.model.vision_model(pixel_values=pixels).pooler_output
            return F.linear(pooled, self.model.visual_projection.weight).clone()

    def project(self, pooled: Tensor) -> Tensor:
        """Pooled text states [prompts, width] in the space of `images`."""
        return F.linear(pooled.float(), self.model.text_projection.weight)


def _near(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a.float().cpu(), b.float().cpu(), atol=1e-2)
