"""The records that the stages of a study write for later stages. Writer and reader share them. Needs no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from .errors import TriptychError
from .files.atomic import write_text
from .settings import Value

Curve = tuple[tuple[int, float], ...]  # steps done, loss


@dataclass(frozen=True)
class TrialRecord:
    """`trial.json`: one training of one method. It is written last, so a folder that contains it is complete.

    Attributes:
        kept_step: the steps done when the tensors were taken.
        says: the words that name the concept.
        failure: why there is no artifact.
        pictures: the files that it was trained on.
        seconds: of the whole pass, shared with the methods in `trained_with`.
        at_once: how many processes of the study computed meanwhile, this pass among them.
    """

    method: str
    replicate: int = 0
    seed: int = 0
    settings: Mapping[str, Value] = field(default_factory=dict)
    steps: int = 0
    kept_step: int = 0
    lr: float = 0.0
    says: str = ""
    failure: str | None = None
    pictures: tuple[str, ...] = ()
    seconds: float = 0.0
    trained_with: tuple[str, ...] = ()
    parameters: int = 0
    at_once: int = 1

    NAME = "trial.json"

    def write(self, folder: Path) -> None:
        _write(folder / self.NAME, self)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the record of a folder.

        Raises:
            TriptychError: there is no record, or it is damaged.
        """
        with _reading(folder / cls.NAME) as known:
            for name in {"pictures", "trained_with"} & known.keys():
                known[name] = tuple(known[name])
            return cls(**known)


@dataclass(frozen=True)
class PictureRecord:
    """One picture of a sheet. `prompt` has the class word in the concept's place; `asked` is the prompt as sampled."""

    file: str
    prompt: str
    seed: int
    asked: str = ""


@dataclass(frozen=True)
class SheetRecord:
    """`sheet.json`: the pictures of one role by one method. It is written last in its folder."""

    method: str
    replicate: int
    role: str
    pictures: tuple[PictureRecord, ...]
    seconds_a_picture: float | None = None  # wall seconds, as part of a batch; shared by what was sampled meanwhile

    NAME = "sheet.json"

    def write(self, folder: Path) -> None:
        _write(folder / self.NAME, self)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Like `TrialRecord.read`."""
        with _reading(folder / cls.NAME) as known:
            return cls(**{**known, "pictures": tuple(PictureRecord(**picture) for picture in known["pictures"])})


@dataclass(frozen=True)
class PointRecord:
    """A method at one strength and moment of its training, by its pictures of the choosing prompts.

    Attributes:
        moment: part of the training, above 0 to 1; for a combination, 1.
        step: steps done at that moment; 0 for what has no steps.
        both, fidelity, prompt_fidelity: means over the pictures; the last is None where prompts cannot be read.
        pictures: how many were sampled at this point.
    """

    method: str
    strength: float
    moment: float
    step: int
    both: float
    fidelity: float
    prompt_fidelity: float | None
    pictures: int
    chosen: bool = False


@dataclass(frozen=True)
class PointsRecord:
    """`points.json`: the points that were tried, and those that were chosen.

    `key` identifies all that they were made from; `seconds` is the time that choosing took.
    """

    key: str
    points: tuple[PointRecord, ...]
    seconds: float = 0.0

    NAME = "points.json"

    def write(self, folder: Path) -> None:
        _write(folder / self.NAME, self)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Like `TrialRecord.read`."""
        with _reading(folder / cls.NAME) as known:
            return cls(**{**known, "points": tuple(PointRecord(**point) for point in known["points"])})

    @property
    def chosen(self) -> tuple[PointRecord, ...]:
        """The chosen point of each method."""
        return tuple(point for point in self.points if point.chosen)


@dataclass(frozen=True)
class JudgedFile:
    """A file at one strength, judged by its pictures.

    Attributes:
        row: its name in scores and verdict.
        says: the words that name the concept in its prompts.
        decision: "best", "keep", "discard" or "undecided".
    """

    row: str
    file: str
    method: str
    strength: float
    says: str
    decision: str
    reason: str


@dataclass(frozen=True)
class JudgedRecord:
    """`judged.json`: the files that were judged, the best first, and what was noted of them."""

    files: tuple[JudgedFile, ...]
    notes: tuple[str, ...] = ()

    NAME = "judged.json"

    def write(self, folder: Path) -> None:
        _write(folder / self.NAME, self)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Like `TrialRecord.read`."""
        with _reading(folder / cls.NAME) as known:
            return cls(tuple(JudgedFile(**file) for file in known["files"]), tuple(known["notes"]))


@dataclass(frozen=True)
class ConceptRecord:
    """A concept among many. `failure`: why it has no verdict; "" where it has."""

    name: str  # of its folder, too
    failure: str = ""


@dataclass(frozen=True)
class ConceptsRecord:
    """`concepts.json`: the concepts whose studies lie in the folder."""

    concepts: tuple[ConceptRecord, ...]

    NAME = "concepts.json"

    def write(self, folder: Path) -> None:
        _write(folder / self.NAME, self)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Like `TrialRecord.read`."""
        with _reading(folder / cls.NAME) as known:
            return cls(tuple(ConceptRecord(**concept) for concept in known["concepts"]))


@dataclass(frozen=True)
class Log:
    """`log.jsonl`: the losses of a training, one line per step. Step 0 has no training loss."""

    losses: Curve = ()
    fixed: Curve = ()  # the fixed-batch loss, at the steps at which it was computed

    NAME = "log.jsonl"

    def write(self, folder: Path) -> None:
        losses, fixed = dict(self.losses), dict(self.fixed)
        lines = (
            {"step": step, **({"loss": losses[step]} if step in losses else {}),
             **({"fixed_loss": fixed[step]} if step in fixed else {})}
            for step in sorted(losses.keys() | fixed.keys())
        )  # fmt: skip
        write_text(folder / self.NAME, "\n".join(map(json.dumps, lines)))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The finite losses; empty if nothing was logged."""
        path = folder / cls.NAME
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        lines = [json.loads(line) for line in text.splitlines()]
        return cls(_finite(lines, "loss"), _finite(lines, "fixed_loss"))


def _finite(lines: Iterable[Mapping[str, Any]], name: str) -> Curve:
    found = ((line["step"], line.get(name)) for line in lines)
    return tuple((step, loss) for step, loss in found if isinstance(loss, int | float) and math.isfinite(loss))


def _write(path: Path, record: TrialRecord | SheetRecord | PointsRecord | JudgedRecord | ConceptsRecord) -> None:
    write_text(path, json.dumps(asdict(record), indent=1))


@contextmanager
def _reading(path: Path) -> Iterator[dict[str, Any]]:
    try:
        yield json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise TriptychError(f"{path} cannot be read: {error}; delete it, and run the study again") from error
