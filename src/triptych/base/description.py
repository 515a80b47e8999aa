"""The defaults of a base: its resolution, how to sample from it, and the settings for training on it.

A base folder may state them in `triptych.toml`. Without that file the family's file in `families/` applies. Nothing
here is code for one base, and this module needs no torch.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from string import Formatter
from typing import Any

from ..errors import TriptychError, did_you_mean
from ..families import FOLDER
from ..units import bytes_of

FILE = "triptych.toml"
IN_STATEMENTS = {"value", "thing"}
Value = str | int | float | bool


@dataclass(frozen=True)
class Budget:
    """The size of a study: trainings, steps, prompts, pictures."""

    training_seeds: int  # replicates of each training
    steps: float  # factor on each method's own number of steps
    prompts: int  # prompts that name the concept, one picture each
    again: int  # how many of them are drawn once more, to see how unlike two pictures of a prompt are
    unrelated: int  # prompts that do not name it, one picture each
    cost_steps: int  # training steps for which each method's cost is measured alone
    unrelated_steps: int = 0  # sampler steps of the pictures of those; 0: as many as of the others
    together: Sequence[str] = ()  # combinations of methods, each a row of the report
    strengths: Sequence[float] = (1.0,)  # at which each method is tried on the choosing prompts
    moments: Sequence[float] = ()  # parts of a training, 0 to 1, whose tensors are tried beside those of its end
    choosing: int = 0  # prompts by which a method's strength and moment are chosen; 0: full strength, at the end


@dataclass(frozen=True)
class Sampling:
    """The settings of sampling a picture."""

    sampler: str
    steps: int
    guidance: float  # classifier-free guidance scale, arXiv:2207.12598
    negative: str = ""
    batch: int = 8  # pictures per batch of sampling
    rows: int = 12  # rows of a joint training pass

    @property
    def decides(self) -> dict[str, str | int | float]:
        """The settings that a picture depends on, for cache keys: all except batch sizes."""
        return {name: value for name, value in asdict(self).items() if name not in ("batch", "rows")}


@dataclass(frozen=True)
class Population:
    """The prompts that a study draws from, by stratum: templates, and the words that fill them.

    `templates`: kind of concept, or "unrelated" for what has nothing to do with it -> stratum -> template, with "{}"
    for the concept and names of `words` in braces. `words`: component of a prompt -> the values it can have; those of a
    described world (`world.toml`) need not be listed again. `statements`: component -> what a judge that answers
    questions is asked of a picture, with "{value}", and "{thing}" for the thing that the prompt names; by default the
    value alone.
    """

    templates: Mapping[str, Mapping[str, str]]
    words: Mapping[str, Sequence[str]] = field(default_factory=dict)
    statements: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for component, statement in self.statements.items():
            if unknown := {name for _, name, _, _ in Formatter().parse(statement) if name is not None} - IN_STATEMENTS:
                raise TriptychError(f"the statement {statement!r} of {component!r} has {{{min(unknown)}}} in it")


@dataclass(frozen=True)
class Trainings:
    """What earlier studies on this base tell of how far trainings lie apart that differ in their seed alone.

    freedom: the degrees of freedom it is known with; 0: nothing is stated. spread: the standard deviation between
    trainings of one method, in the headline figure. shared: of what all methods have in common in a training (the split
    of the pictures), and shared_freedom: its degrees of freedom.
    """

    freedom: float = 0.0
    spread: float = 0.0
    shared_freedom: float = 0.0
    shared: float = 0.0


@dataclass(frozen=True)
class Description:
    """A base's defaults."""

    family: str  # files made for one base of a family fit its other bases
    resolution: int  # pixels, square; 0: what the denoiser was trained on
    sampling: Sampling
    captions: Mapping[str, str]  # kind of concept -> caption of a picture that has none, "{}" for the concept
    population: Population  # the prompts to judge by
    budgets: Mapping[str, Budget]
    methods: Mapping[str, Mapping[str, Value]]  # method -> its settings that differ from the method's own
    image_encoder: str | Mapping[str, Sequence[str]]  # what judges pictures by default; see `image_encoders`
    text_encoder: str = ""  # the default encoder for prompt fidelity; empty: the base's own `world.toml`
    verdict: Trainings = Trainings()  # what the verdict may take as known
    tuning_trials: Mapping[str, int] = field(default_factory=dict)  # method -> trainings that `methods` was chosen by
    tuning_prompts: Mapping[str, Sequence[str]] = field(default_factory=dict)  # kind -> prompts to choose settings by
    presets: Mapping[str, Mapping[str, Mapping[str, Value]]] = field(default_factory=dict)  # size -> method -> settings

    def __post_init__(self) -> None:
        for name in self.presets:
            try:
                bytes_of(name)
            except ValueError:
                raise TriptychError(f"the preset {name!r} of a base is not called by a size, such as 12GB") from None

    @classmethod
    def of(cls, folder: Path | None, family: str) -> Description:
        """The folder's own description, or its family's. A table with `like = "sd1"` states only the differences.

        Raises:
            TriptychError: the file is not TOML or lacks an entry.
        """
        own = folder / FILE if folder else None
        source = own if own and own.is_file() else _family_file(family)
        try:
            return cls.parse(_table(source))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise TriptychError(f"{source} does not describe a base: {error}") from error

    def image_encoders(self, kind: str) -> tuple[str, ...]:
        """The default image encoders for a kind of concept: known names, folders or hub ids. The first one judges.

        `image_encoder` is a name for all kinds (several with commas), or a table from kind to names.
        """
        if isinstance(self.image_encoder, str):
            return encoders_named(self.image_encoder)
        return tuple(self.image_encoder[kind])

    @classmethod
    def parse(cls, table: Mapping[str, Any]) -> Description:
        known = {field.name for field in fields(cls)}
        for name in table:
            if name not in known:
                raise TriptychError(f"a base's description has no entry {name!r}{did_you_mean(name, known)}")
        return cls(
            **{
                **table,
                "sampling": Sampling(**table["sampling"]),
                "population": Population(**table["population"]),
                "budgets": {name: Budget(**budget) for name, budget in table["budgets"].items()},
                "verdict": Trainings(**table.get("verdict", {})),
            }
        )


def encoders_named(text: str) -> tuple[str, ...]:
    """The image encoders in `first,second`.

    Raises:
        TriptychError: a name is empty, or stands twice.
    """
    names = tuple(name.strip() for name in text.split(","))
    if "" in names or len(set(names)) < len(names):
        raise TriptychError(f"{text!r} does not name image encoders; name each once, as in first,second")
    return names


def _family_file(family: str) -> Path:
    return FOLDER / f"{family}.toml"


def _table(source: Path) -> dict[str, Any]:
    own = tomllib.loads(source.read_text(encoding="utf-8"))
    like = own.pop("like", None)
    return _over(_table(_family_file(like)), own) if like else own


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Merge `above` over `below`, table by table."""
    laid = {
        name: _over(below[name], value) if isinstance(value, dict) and isinstance(below.get(name), dict) else value
        for name, value in above.items()
    }
    return below | laid
