"""`tuned.toml`: the settings that `triptych tune` chose for each method, and every trial they were chosen by."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from ..errors import TriptychError
from ..files.atomic import write_text
from ..methods import method_named
from ..settings import Value


@dataclass(frozen=True)
class Tried:
    """One trial: what it was tried with, how far it came, and what was seen of it."""

    method: str
    number: int
    state: str  # "complete", or "pruned": given up, or its loss was lost
    settings: Mapping[str, Value]
    looks: Mapping[str, float]  # steps done -> fixed-batch loss as a part of that before training, mean over concepts
    value: float | None = None  # by `yardstick.py`, mean over concepts, for those that came to the last rung


@dataclass(frozen=True)
class Tuned:
    """`settings`: method -> what was chosen. `trials`: method -> how many trainings it was chosen from.

    `concepts` are the digests of what it was tuned on: a study of one of them would report what it was fitted to.
    """

    settings: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    trials: Mapping[str, int] = field(default_factory=dict)
    concepts: tuple[str, ...] = ()

    def write(self, path: Path, made_from: Mapping[str, Any], table: Sequence[Tried]) -> None:
        told = {
            "methods": {name: dict(chosen) for name, chosen in self.settings.items()},
            "tuning": {**made_from, "concepts": list(self.concepts), "trials": dict(self.trials)},
            "trial": [{name: value for name, value in asdict(one).items() if value is not None} for one in table],
        }
        write_text(path, tomli_w.dumps(told))

    @classmethod
    def read(cls, path: Path) -> Tuned:
        """
        Raises:
            TriptychError: no such file, not one that `triptych tune` wrote, or a setting that its method has not.
        """
        try:
            told = tomllib.loads(path.read_text(encoding="utf-8"))
            settings = {str(name): dict(chosen) for name, chosen in told["methods"].items()}
            concepts = tuple(map(str, told["tuning"]["concepts"]))
            trials = {str(name): int(count) for name, count in told["tuning"]["trials"].items()}
        except OSError as error:
            raise TriptychError(f"{path} cannot be read: {error.strerror}; give the tuned.toml of a tuning") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise TriptychError(f"{path} is not what `triptych tune` writes: {error}; give its tuned.toml") from error
        for name, chosen in settings.items():
            method_named(name).configure(chosen)
        return cls(settings, trials, concepts)
