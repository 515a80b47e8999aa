"""How like a subject what is somewhere in a picture is: patch by patch, where masks tell the subject.

Encoders of whole pictures take a like background for a like subject (arXiv:2604.01973), and a mask of the references
alone does not cure that. So every patch of the subject looks for the most similar patch of the other picture, wherever
it is; what nothing of the subject looks for does not count. That is the Chamfer similarity of ViSiL (arXiv:1908.07410).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeGuard

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image
    from torch import Tensor

    from .encoders import ImageEncoder, PatchEncoder

LEAST = 0.5  # of a patch that a mask has to keep, so that it is of the subject


def sees_patches(encoder: ImageEncoder) -> TypeGuard[PatchEncoder]:
    """Whether an encoder encodes patches, also one that stands for another."""
    return hasattr(encoder, "patches")


class Subjects:
    """The subjects of real pictures, as patches.

    Args:
        encoder: what sees the patches.
        pictures: RGB, all of one size.
        masks: of the same size, in grey, white where the subject is; None: the whole picture counts.
    """

    def __init__(
        self, encoder: PatchEncoder, pictures: Sequence[Image.Image], masks: Sequence[Image.Image | None]
    ) -> None:
        self._encoder = encoder
        self._parts: list[Tensor] = []
        for patches, mask in zip(encoder.patches(pictures), masks, strict=True):
            kept = encoder.shares([mask])[0] if mask else None
            of_it = kept >= min(LEAST, float(kept.max())) if kept is not None else slice(None)
            self._parts.append(patches[of_it])

    def likeness(self, pictures: Sequence[Image.Image]) -> NDArray[np.float32]:
        """[pictures, subjects], -1 to 1: the mean over a subject's patches of the cosine of the most similar one."""
        from torch import stack

        seen = self._encoder.patches(pictures)
        return stack([(part @ seen.transpose(1, 2)).amax(dim=2).mean(dim=1) for part in self._parts], dim=1).numpy()
