"""Measured values: a `Score` per picture and metric, a `Cost` per method. This module needs no torch."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from .files.atomic import write_text

BASE = "base"  # the method name of the control row: the bare base
AND = "+"  # joins the names of methods that are attached at once: "textual-inversion+lora"
REAL = "real"  # the method name of scores of the real pictures
RESEEDED = "reseeded"  # the method name of the bare base with other seeds
CONTROLS = (BASE, REAL, RESEEDED)  # rows that are not methods


@dataclass(frozen=True)
class Score:
    """One measured value.

    `prompt` has the class word in the concept's place, so that rows of different methods pair by (replicate, prompt,
    seed). `seed` is None if the value does not belong to one picture (the ceiling; the diversity of a prompt's
    pictures).
    """

    metric: str  # "subject_fidelity", "prompt_fidelity", "base_preservation", "ceiling", ...
    method: str  # "lora", ..., several joined by AND, BASE or REAL
    value: float
    replicate: int = 0
    prompt: str = ""
    seed: int | None = None
    picture: str | None = None  # relative to the study folder


@dataclass(frozen=True)
class Cost:
    """The costs of one method, measured alone in its own process, and of the pass that it shared.

    The three budgets are `pictures_seen`, `seconds_alone` and `tuning_trials`. A combination costs the sum of its
    parts.
    """

    method: str
    attaches: bool  # True: a file beside any base of the family; False: it moves the base's own weights
    parameters: int
    file_bytes: int
    steps: int
    pictures_seen: int
    seconds_alone: float | None = None  # whole training, from the measured seconds a step
    peak_bytes: int | None = None  # peak memory of training alone above the loaded base
    seconds_shared: float | None = None  # wall seconds of the pass it was trained in
    trained_with: tuple[str, ...] = ()  # the other methods of that pass
    tuning_trials: int = 0  # trainings on other concepts, by which its settings were chosen
    seconds_a_picture: float | None = None  # wall seconds of sampling a picture with it, as part of a batch
    at_once: int = 1  # processes of the study that computed during that pass


def parts_of(method: str) -> tuple[str, ...]:
    """The methods of a row: one, or several for a combination."""
    return tuple(method.split(AND))


def write_scores(path: Path, scores: Iterable[Score]) -> None:
    write_text(path, "".join(json.dumps(asdict(score)) + "\n" for score in scores))


def read_scores(path: Path) -> list[Score]:
    return [Score(**json.loads(line)) for line in path.read_text().splitlines()]
