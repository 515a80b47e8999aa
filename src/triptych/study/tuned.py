"""`tuned.toml`: the settings that `triptych tune` chose for each method, and all trials."""

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
    """One trial: its settings, and its value from `yardstick.py`, mean over concepts; None for one that failed."""

    method: str
    number: int
    settings: Mapping[str, Value]
    value: float | None = None


@dataclass(frozen=True)
class Tuned:
    """`settings`: method -> chosen settings. `trials`: method -> number of trainings whose pictures were judged.

    `concepts` are the digests of the folders that were tuned on. The result of a study on one of them is too good.
    """

    settings: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    trials: Mapping[str, int] = field(default_factory=dict)
    concepts: tuple[str, ...] = ()

    def write(self, path: Path, made_from: Mapping[str, Any], table: Sequence[Tried]) -> None:
        content = {
            "methods": {name: dict(chosen) for name, chosen in self.settings.items()},
            "tuning": {**made_from, "concepts": list(self.concepts), "trials": dict(self.trials)},
            "trial": [{name: value for name, value in asdict(trial).items() if value is not None} for trial in table],
        }
        write_text(path, tomli_w.dumps(content))

    @classmethod
    def read(cls, path: Path) -> Tuned:
        """
        Raises:
            TriptychError: the file is missing, `triptych tune` did not write it, or a method lacks one of its settings.
        """
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
            settings = {str(name): dict(chosen) for name, chosen in content["methods"].items()}
            concepts = tuple(map(str, content["tuning"]["concepts"]))
            trials = {str(name): int(count) for name, count in content["tuning"]["trials"].items()}
        except OSError as error:
            raise TriptychError(f"{path} cannot be read: {error.strerror}; give the tuned.toml of a tuning") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise TriptychError(f"{path} is not what `triptych tune` writes: {error}; give its tuned.toml") from error
        for name, chosen in settings.items():
            method_named(name).configure(chosen)
        return cls(settings, trials, concepts)
