"""What judges a study: the encoders that the user names, else the base's defaults for this kind of concept."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from ..base.description import encoders_named
from ..data.framing import acting
from ..data.masks import digest_of, framed_mask
from ..errors import TriptychError
from ..metrics.encoders import ImageEncoder, PromptScorer, TextImageEncoder, open_each, open_encoder
from ..metrics.encoders.clip_score import ClipScore
from ..metrics.patches import sees_patches
from .remembering import Remembering

if TYPE_CHECKING:
    from PIL import Image

    from ..base import Base
    from ..data.concept import Concept
    from .layout import Layout
    from .plan import Plan
    from .progress import Progress

BY_PIXELS = "none, prompts are checked by pixels"


class Encoders:
    """The encoders of a study, opened when they are asked for.

    The first image encoder judges; a claim needs the others to agree. What the user names has to open. A default that
    does not, such as one that was never downloaded, is left out and said.
    """

    def __init__(self, plan: Plan, base: Base, concept: Concept, layout: Layout, progress: Progress) -> None:
        self._plan, self._base, self._concept, self._progress = plan, base, concept, progress
        self._features = layout.features
        self._left_out: list[str] = []

    @property
    def names(self) -> tuple[str, ...]:
        """The image encoders that are asked for."""
        named, description = self._plan.image_encoder, self._base.description
        return encoders_named(named) if named else description.image_encoders(self._concept.kind)

    @cached_property
    def first(self) -> ImageEncoder:
        """The image encoder that judges.

        Raises:
            TriptychError: it cannot be opened.
        """
        return next(self._stream)

    @cached_property
    def others(self) -> tuple[ImageEncoder, ...]:
        """The image encoders besides the first.

        Raises:
            TriptychError: one of them cannot be opened.
        """
        _ = self.first
        return tuple(self._stream)

    @cached_property
    def prompts(self) -> TextImageEncoder | PromptScorer | None:
        """What judges prompts; None where pixels do.

        Raises:
            TriptychError: it cannot be opened.
        """
        name, how = self._prompt_encoder, self._plan.prompt_judge
        judge = open_encoder(name, "prompt", str(self._base.device)) if name else None
        if isinstance(judge, TextImageEncoder) and how == "score":
            return ClipScore(judge)
        if how and not isinstance(judge, TextImageEncoder):
            self._progress.note(f"prompts are judged by {judge.name if judge else 'pixels'}: there is no other way to")
        return Remembering(judge, self._features) if isinstance(judge, TextImageEncoder) else judge

    @cached_property
    def masks(self) -> list[Image.Image | None] | None:
        """The masks of a subject's pictures, as large as `Concept.images`; None where there is none."""
        if self._concept.kind != "subject":
            return None
        found = [framed_mask(picture.path, self._base.resolution) for picture in self._concept.pictures]
        return found if any(found) else None

    @property
    def key(self) -> list[str]:
        """What scores depend on, besides the pictures: the judges, the masks of a subject, whole pictures."""
        paths = [picture.path for picture in self._concept.pictures]
        how = [*([digest_of(paths)] if self.masks else []), *(["whole"] if self.whole else [])]
        return [self.first.digest, self.prompts.digest if self.prompts else "", *how]

    @property
    def whole(self) -> bool:
        """Whether real pictures are judged as a whole, and not by their centre squares, as the trainings see them."""
        return acting(self._plan.pictures, [self._concept], self._base.resolution).framing == "bucket"

    @property
    def told(self) -> dict[str, list[str] | str]:
        """What study.toml and the report say of them."""
        kind = self._concept.kind
        choice = "as asked for" if self._plan.image_encoder else f"the base's default for a {kind}"
        told: dict[str, list[str] | str] = {
            "image": [name for name in self.names if name not in self._left_out],
            "text": self._prompt_encoder or BY_PIXELS,
            "choice": "; ".join([choice, *(f"{name} could not be opened" for name in self._left_out)]),
        }
        if self.prompts and self.prompts.name not in self._prompt_encoder:
            told["text"] = f"{self.prompts.name} ({self._prompt_encoder})"
        return told | ({"likeness": self.by_masks} if self.masks else {})

    @property
    def by_masks(self) -> str:
        """What likeness is measured of, as a clause; "" where no mask is known."""
        if not self.masks:
            return ""
        count = sum(mask is not None for mask in self.masks)
        said = f"that of the subject, by the masks of {count} of {len(self.masks)} pictures"
        return said if sees_patches(self.first) else f"that of whole pictures: {self.first.name} reads no masks"

    @property
    def _prompt_encoder(self) -> str:
        return self._plan.text_encoder or self._base.description.text_encoder

    @cached_property
    def _stream(self) -> Iterator[ImageEncoder]:
        each = open_each(self.names, str(self._base.device), self._missing)
        return (Remembering(encoder, self._features) for encoder in each)

    def _missing(self, name: str, error: TriptychError) -> None:
        if self._plan.image_encoder:
            raise error
        self._left_out.append(name)
        self._progress.note(f"{name} does not judge, although it would by default: {error}")
