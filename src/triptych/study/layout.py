"""The layout of a study folder. The result of every stage lies under a key of its inputs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import Remedy, TriptychError
from ..files.atomic import make_folder

SCHEMA = 1  # of the stages' files: raise it when old results must not be mixed with new ones


def key(*inputs: object) -> str:
    """Ten hex digits that identify the inputs of a result, and the schema."""
    text = json.dumps([SCHEMA, *inputs], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


@dataclass(frozen=True)
class Layout:
    """The paths in a study folder."""

    out: Path

    @property
    def trials(self) -> Path:
        return self.out / "trials"

    @property
    def sheets(self) -> Path:
        return self.out / "sheets"

    @property
    def thumbs(self) -> Path:
        return self.out / "thumbs"

    @property
    def artifacts(self) -> Path:
        return self.out / "artifacts"

    @property
    def scores(self) -> Path:
        return self.out / "scores.jsonl"

    @property
    def prompt_scores(self) -> Path:
        """What a scorer of prompts has answered, so that it is not asked again."""
        return self.out / "prompt-scores.jsonl"

    @property
    def costs(self) -> Path:
        return self.out / "costs.json"

    @property
    def features(self) -> Path:
        """What image encoders saw in pictures."""
        return self.out / "features"

    @property
    def verdict(self) -> Path:
        return self.out / "verdict.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder for the length of the block.

        Raises:
            TriptychError: another process holds the lock, or the folder cannot be written.
        """
        make_folder(self.out)
        try:
            with FileLock(self.out / ".lock", timeout=0):
                yield
        except Timeout as error:
            where = f"another triptych is at work in {self.out}"
            raise TriptychError(where, Remedy.WAIT, Remedy.OTHER_PLACE) from error
