"""Files of votes, as the page saves them: the pairs, what was chosen, by whom and when."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from ..errors import TriptychError, shown
from .ballot import Pair, Shown, digest

SCHEMA = 1
Choice = Literal["left", "right", "cannot tell"]


@dataclass(frozen=True)
class Vote:
    """One pair, and the choice; a pair that was not voted on is none."""

    pair: Pair
    choice: Choice

    @property
    def preferred(self) -> str | None:
        """The row that was chosen; None where the person could not tell."""
        return {"left": self.pair.left, "right": self.pair.right}.get(self.choice)


@dataclass(frozen=True)
class Votes:
    """One file. `before_reading`: the page was opened at the vote, so no figure was seen on it before."""

    who: str
    when: str
    before_reading: bool
    votes: tuple[Vote, ...]


def read_votes(path: Path, study: Path, known: Shown) -> Votes:
    """Read the votes on a study whose pictures are `known`.

    Raises:
        TriptychError: the file cannot be read, is no file of votes, holds no vote, or is about other pictures.
    """
    data = _json(path)
    try:
        if data["votes"] != SCHEMA:
            raise TriptychError(f"{path} holds votes of format {data['votes']!r}, not {SCHEMA}; vote on the page again")
        pairs = [
            Pair(str(pair["prompt"]), int(pair["seed"]), str(pair["left"]), str(pair["right"]))
            for pair in data["pairs"]
        ]
        choices = [pair["choice"] for pair in data["pairs"]]
        stated = (str(data["study"]), str(data["who"]), str(data["when"]), bool(data["before_reading"]))
    except (KeyError, TypeError, ValueError) as error:
        raise TriptychError(f"{path} is no file of votes that the page of a study saved") from error
    if not _is_of(known, pairs, stated[0]):
        raise TriptychError(f"the votes in {path} are about the pictures of another study than {study}")
    unknown = next((choice for choice in choices if choice is not None and choice not in get_args(Choice)), None)
    if unknown is not None:
        raise TriptychError(f"{path} has the choice {shown(unknown)!r}; there are: {', '.join(get_args(Choice))}")
    votes = tuple(Vote(pair, choice) for pair, choice in zip(pairs, choices, strict=True) if choice is not None)
    if not votes:
        raise TriptychError(f"{path} holds no vote yet")
    return Votes(*stated[1:], votes)


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TriptychError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise TriptychError(f"{path} is no file of votes: it is not JSON") from error
    return data if isinstance(data, dict) else {}


def _is_of(known: Shown, pairs: list[Pair], stated: str) -> bool:
    try:
        return digest(known, pairs) == stated
    except KeyError:
        return False
