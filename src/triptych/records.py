"""What the stages of a study write down for those after them, as values that writer and reader share; without torch."""

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
    """`trial.json`: one training of one method. It comes last in its folder, so that a folder that has it is whole.

    `failure` says why there is no artifact. `pictures` are the files that it was trained on; `kept_step` the steps done
    when the tensors were as they are kept; `seconds` those of the whole pass, which was shared with `trained_with`.
    """

    method: str
    replicate: int = 0
    seed: int = 0
    settings: Mapping[str, Value] = field(default_factory=dict)
    steps: int = 0
    kept_step: int = 0
    lr: float = 0.0
    says: str = ""  # the words that name the concept
    failure: str | None = None
    pictures: tuple[str, ...] = ()
    seconds: float = 0.0
    trained_with: tuple[str, ...] = ()
    parameters: int = 0

    NAME = "trial.json"

    def write(self, folder: Path) -> None:
        _write(folder / self.NAME, self)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """
        Raises:
            TriptychError: there is none, or it is damaged.
        """
        with _reading(folder / cls.NAME) as known:
            for name in {"pictures", "trained_with"} & known.keys():
                known[name] = tuple(known[name])
            return cls(**known)


@dataclass(frozen=True)
class PictureRecord:
    """One picture of a sheet: `prompt` has the class word in the concept's place, `asked` what was really asked."""

    file: str
    prompt: str
    seed: int
    asked: str = ""


@dataclass(frozen=True)
class SheetRecord:
    """`sheet.json`: the pictures of one role by one method. It comes last in its folder."""

    method: str
    replicate: int
    role: str
    pictures: tuple[PictureRecord, ...]
    seconds_a_picture: float | None = None  # wall seconds, as part of a batch

    NAME = "sheet.json"

    def write(self, folder: Path) -> None:
        _write(folder / self.NAME, self)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """As `TrialRecord.read`."""
        with _reading(folder / cls.NAME) as known:
            return cls(**{**known, "pictures": tuple(PictureRecord(**one) for one in known["pictures"])})


@dataclass(frozen=True)
class Log:
    """`log.jsonl`: the losses of a training, a line a step; there is none of training at step 0."""

    losses: Curve = ()
    fixed: Curve = ()  # on a fixed batch, at the steps at which it was looked at

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
        """The losses that are numbers; none where nothing was logged."""
        path = folder / cls.NAME
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        lines = [json.loads(line) for line in text.splitlines()]
        return cls(_finite(lines, "loss"), _finite(lines, "fixed_loss"))


def _finite(lines: Iterable[Mapping[str, Any]], name: str) -> Curve:
    found = ((line["step"], line.get(name)) for line in lines)
    return tuple((step, loss) for step, loss in found if isinstance(loss, int | float) and math.isfinite(loss))


def _write(path: Path, record: TrialRecord | SheetRecord) -> None:
    write_text(path, json.dumps(asdict(record), indent=1))


@contextmanager
def _reading(path: Path) -> Iterator[dict[str, Any]]:
    try:
        yield json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise TriptychError(f"{path} cannot be read: {error}; delete it, and run the study again") from error
