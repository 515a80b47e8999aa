"""Scores of statements about pictures, each asked once: kept by the scorer, the picture and the text."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING

from ..files.atomic import write_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from PIL import Image

    from . import Shown
    from .encoders import PromptScorer

CHUNK = 64  # pairs between two savings


@dataclass(frozen=True)
class Pair:
    """A picture by its digest, and a statement about it. `open` gives the picture as RGB."""

    digest: str
    open: Callable[[], Image.Image]
    text: str = ""

    @classmethod
    def of_sample(cls, sample: Shown) -> Pair:
        return cls(sha256(sample.path.read_bytes()).hexdigest()[:32], sample.open)

    @classmethod
    def of_picture(cls, picture: Image.Image) -> Pair:
        return cls(sha256(picture.tobytes()).hexdigest()[:32], lambda: picture)

    def saying(self, text: str) -> Pair:
        return replace(self, text=text)


class KeptScores:
    """Asks a scorer what is not known yet. `path`: a file where scores are kept; None: they are not kept."""

    def __init__(self, scorer: PromptScorer, path: Path | None) -> None:
        self._scorer, self._path = scorer, path
        lines = path.read_text().splitlines() if path and path.is_file() else []
        self._known: dict[tuple[str, str, str], float] = {}
        for line in lines:
            scored_by, digest, text, value = json.loads(line)
            self._known[scored_by, digest, text] = value

    def of(self, pairs: Sequence[Pair]) -> list[float]:
        """The score of each pair."""
        new = list({key: pair for pair in pairs if (key := self._key(pair)) not in self._known}.items())
        for start in range(0, len(new), CHUNK):
            chunk = new[start : start + CHUNK]
            pictures = {pair.digest: pair.open() for _, pair in chunk}
            scores = self._scorer.scores([pictures[pair.digest] for _, pair in chunk], [pair.text for _, pair in chunk])
            self._known.update(zip((key for key, _ in chunk), scores.tolist(), strict=True))
            self._save()
        return [self._known[self._key(pair)] for pair in pairs]

    def _key(self, pair: Pair) -> tuple[str, str, str]:
        return self._scorer.digest, pair.digest, pair.text

    def _save(self) -> None:
        if self._path:
            lines = (json.dumps([*key, value]) for key, value in self._known.items())
            write_text(self._path, "".join(f"{line}\n" for line in lines))
