"""The plan of a study. `study.toml` keeps it, so that the study can be run again."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import tomli_w

from .. import __version__
from ..base import Base, Budget, Place
from ..data.concept import Concept
from ..data.notes import lines
from ..data.prompts import PromptFile, read_prompts
from ..errors import Remedy, TriptychError, did_you_mean
from ..files.atomic import write_text
from ..methods import Training, method_named, methods
from ..prompt.markup import read_as_text
from ..scores import parts_of
from ..settings import Value
from ..shell import command_line, writable
from ..verdict import NEEDS, Need
from .combinations import combinations_of
from .tuned import Tuned

FILE = "study.toml"


@dataclass(frozen=True)
class Plan:
    """The user's choices. An empty value stands for the default of the folder or of the base."""

    folder: Path
    place: Place = field(default_factory=Place)
    kind: str = ""
    class_word: str = ""
    token: str = ""
    methods: tuple[str, ...] = ()
    budget: str = "standard"
    need: Need = "fidelity"
    seed: int = 0
    image_encoder: str = ""
    text_encoder: str = ""
    settings: Mapping[str, Mapping[str, Value]] = field(
        default_factory=dict
    )  # method -> settings that differ from the defaults
    replicates: int = 0  # trainings of each method, each with its own seed
    together: tuple[str, ...] | None = None  # combinations, as `combinations_of` names them
    tuned: str = ""  # path of a file that `triptych tune` wrote
    prompts: int = 0  # prompts with the concept, one picture each
    unrelated: int = 0  # prompts without it, one picture each
    other_base: str = ""  # a second base to sample the trained files on
    points: bool = True  # choose each method's strength and moment, as the budget says; else full strength, at the end

    def __post_init__(self) -> None:
        for name in (*self.methods, *self.settings):
            method_named(name)
        if self.need not in NEEDS:
            raise TriptychError(f"there is no need {self.need!r}{did_you_mean(self.need, NEEDS)}")
        _ = self.tuning  # reports a bad file before any work
        for name in self.together or ():
            missing = [part for part in parts_of(name) if part not in self.chosen]
            if missing:
                raise TriptychError(f"the combination {name} needs {missing[0]}, which is not studied", Remedy.METHODS)

    def concept(self) -> Concept:
        """Open and check the folder."""
        return Concept.open(
            self.folder, kind=self.kind or None, class_word=self.class_word or None, token=self.token or None
        )

    def budget_of(self, base: Base) -> Budget:
        """
        Raises:
            TriptychError: the base has no budget of that name.
        """
        budgets = base.description.budgets
        if self.budget not in budgets:
            raise TriptychError(f"there is no budget {self.budget!r}{did_you_mean(self.budget, budgets)}")
        budget = budgets[self.budget]
        return replace(
            budget,
            training_seeds=self.replicates or budget.training_seeds,
            prompts=self.prompts or budget.prompts,
            unrelated=self.unrelated or budget.unrelated,
            choosing=budget.choosing if self.points else 0,
        )

    @property
    def chosen(self) -> tuple[str, ...]:
        """The methods to study, in reverse order of attaching."""
        usual = [name for name, method in methods().items() if method.usual]
        return self.methods or tuple(sorted(usual, key=lambda name: (-methods()[name].opens_at, name)))

    def settings_of(self, name: str, base: Base, concept: Concept) -> Any:
        """A method's settings in layers, later ones win: defaults, base, tuned, user, budget, concept."""
        method = method_named(name)
        given, tuned = self.settings.get(name, {}), self.tuning.settings.get(name, {})
        settings = method.configure(base.description.methods.get(name, {}), tuned, given)
        if isinstance(settings, Training) and "steps" not in given:
            settings = replace(settings, steps=max(1, round(settings.steps * self.budget_of(base).steps)))
        return method.for_concept(settings, concept)

    @cached_property
    def tuning(self) -> Tuned:
        return Tuned.read(Path(self.tuned)) if self.tuned else Tuned()

    def tuning_trials(self, name: str, base: Base) -> int:
        """The number of trainings that chose its settings, for this plan or for the base."""
        return self.tuning.trials.get(name, base.description.tuning_trials.get(name, 0))

    def together_on(self, base: Base) -> tuple[str, ...]:
        """The combinations to sample: the user's, or the base's own whose parts are all studied."""
        if self.together is not None:
            return self.together
        known = combinations_of(",".join(self.budget_of(base).together))
        return tuple(name for name in known if set(parts_of(name)) <= set(self.chosen))

    @property
    def _prompt_file(self) -> PromptFile:
        own = self.folder / "prompts.txt"
        return read_prompts(own) if own.is_file() else PromptFile(())

    @property
    def own_prompts(self) -> list[str]:
        """The prompts with "{}" in the folder's `prompts.txt`."""
        return [line.prompt for line in self._prompt_file.lines if "{}" in line.prompt]

    def unused_prompts(self, base: Base) -> list[str]:
        """One sentence for each entry of the folder's `prompts.txt` that a study does not use."""
        read = self._prompt_file
        asked, notes = read.lines, list(read.notes)
        nameless = [line for line in asked if "{}" not in line.prompt]
        notes += [f"{line.where} has no {{}} for the concept, and is left out" for line in nameless]
        notes += [
            f"{line.where}: {' and '.join(line.options)} not used, for all pictures of a study are sampled alike"
            for line in asked
            if line.options
        ]
        own, count = len(self.own_prompts), self.budget_of(base).prompts
        if own > count:
            notes.append(f"the first {count} of {own} prompts in prompts.txt are used: so many has this budget")
        return notes + [sentence for prompt in self.own_prompts[:count] if (sentence := read_as_text(prompt))]

    @property
    def flags(self) -> dict[str, tuple[Any, Any]]:
        """Option -> its value, and the value that need not be said."""
        return {
            "base": (self.place.source, "demo"), "device": (self.place.device, "auto"),
            "precision": (self.place.precision, "auto"), "resolution": (self.place.resolution, 0),
            "clip": (self.place.clip, None), "vae": (self.place.vae, ""), "prediction": (self.place.prediction, ""),
            "kind": (self.kind, ""), "class": (self.class_word, ""),
            "token": (self.token, ""), "methods": (",".join(self.methods), ""),
            "replicates": (self.replicates, 0), "prompts": (self.prompts, 0), "unrelated": (self.unrelated, 0),
            "tuned": (self.tuned, ""),
            "together": (None if self.together is None else ",".join(self.together) or "none", None),
            "image-encoder": (self.image_encoder, ""), "text-encoder": (self.text_encoder, ""),
            "other-base": (self.other_base, ""),
        }  # fmt: skip

    @property
    def command(self) -> str:
        """The command that runs this study again."""
        folder = str(self.folder)
        words = ["triptych", "try", f"./{folder}" if folder.startswith("-") else folder]
        for flag, (value, usual) in self.flags.items():
            words += [f"--{flag}", str(value)] if value != usual else []
        words += [f"--{name}" for name in ("ema",) if self.place.ema]
        words += [] if self.points else ["--no-points"]
        for flag, said in {"budget": self.budget, "need": self.need, "seed": str(self.seed)}.items():
            words += [f"--{flag}", said]
        for name, given in self.settings.items():
            words += [part for key, value in given.items() for part in ("-s", f"{name}.{key}={value}")]
        return command_line(words)


def write(plan: Plan, out: Path, base: Base, concept: Concept) -> None:
    """Write study.toml: the plan, and its values for this base and folder.

    Raises:
        TriptychError: the folder holds a study of another plan.
    """
    path = out / FILE
    if path.is_file():
        _compare(plan, _asked(path), out)
    shown = described(plan, base, concept, plan.command, {name: method_named(name).title for name in plan.chosen})
    shown["study"] |= {
        "replicates": plan.budget_of(base).training_seeds, "together": list(plan.together_on(base)),
    }  # fmt: skip
    effort = {name: _effort(plan, name, base, concept) for name in plan.chosen}
    save(path, {"asked": _without_none(_plain(plan)), "effort": effort, **shown})


def described(
    plan: Plan, base: Base, concept: Concept, command: str, titles: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """What the report shows of the folder, the base and the yardstick. `titles`: row -> its title."""
    return {
        "study": {
            "folder": concept.name, "base": plan.place.source, "kind": concept.kind, "class": concept.class_word,
            "token": concept.token, "methods": list(titles), "budget": plan.budget, "need": plan.need,
            "seed": plan.seed, "version": __version__, "command": command, "resolution": base.resolution,
            "pictures": len(concept.pictures),
            "held_out": [concept.pictures[i].path.name for i in concept.split(0).held_out],
            "broken": [{"file": one.path.name, "reason": one.reason} for one in concept.broken],
            "notes": lines(concept.notes), "titles": dict(titles),
        },
        "drawing": asdict(base.description.drawing),
        "encoders": {
            "image": plan.image_encoder or base.description.image_encoder,
            "text": plan.text_encoder or base.description.text_encoder or "none, prompts are checked by pixels",
        },
    }  # fmt: skip


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Write a table as TOML, without the characters that it cannot hold."""
    write_text(path, tomli_w.dumps(_writable(content)))


def read(out: Path) -> Plan:
    """Read the plan of the study in a folder.

    Raises:
        TriptychError: there is none, or it cannot be read.
    """
    path = out / FILE
    if not path.is_file():
        raise TriptychError(f"{out} holds no study", Remedy.FINISHED_STUDY)
    asked = _asked(path)
    together = asked.get("together")
    given = {
        "folder": Path(asked["folder"]), "place": Place(**asked["place"]), "methods": tuple(asked.get("methods", ())),
        "together": None if together is None else tuple(together),
    }  # fmt: skip
    return Plan(**{**asked, **given})


def _effort(plan: Plan, name: str, base: Base, concept: Concept) -> dict[str, int]:
    """The effort of one training that is known beforehand: steps, pictures seen, tuning trials."""
    settings = plan.settings_of(name, base, concept)
    steps, batch = (settings.steps, settings.batch) if isinstance(settings, Training) else (0, 0)
    return {
        "steps": steps, "batch": batch, "pictures_seen": steps * batch, "tuning_trials": plan.tuning_trials(name, base),
    }  # fmt: skip


def _plain(plan: Plan) -> dict[str, Any]:
    together = None if plan.together is None else list(plan.together)
    folder = str(plan.folder.resolve())
    return {**asdict(plan), "folder": folder, "methods": list(plan.methods), "together": together}


def _without_none(table: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out None, since TOML has no null."""
    return {
        name: _without_none(value) if isinstance(value, Mapping) else value
        for name, value in table.items()
        if value is not None
    }


def _writable(value: Any) -> Any:
    """Replace characters in all strings that TOML cannot hold."""
    if isinstance(value, Mapping):
        return {writable(name): _writable(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_writable(entry) for entry in value]
    return writable(value) if isinstance(value, str) else value


def _asked(path: Path) -> dict[str, Any]:
    try:
        asked: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))["asked"]
    except (tomllib.TOMLDecodeError, KeyError, UnicodeDecodeError) as error:
        raise TriptychError(f"{path} cannot be read", Remedy.DELETE, Remedy.OTHER_PLACE) from error
    return asked


def _compare(plan: Plan, before: Mapping[str, Any], out: Path) -> None:
    """Refuse another plan in the same folder. Only the need may differ: it changes the recommendation alone."""
    now, usual = (_writable(_without_none(_plain(each))) for each in (plan, Plan(plan.folder)))
    before = {**usual, **before}  # older studies lack newer fields
    for name in (entry.name for entry in fields(plan) if entry.name != "need"):
        if now.get(name) != before.get(name):
            was = f"another {name.replace('_', ' ')} ({before.get(name)!r})"
            raise TriptychError(f"{out} holds a study with {was}", Remedy.OTHER_PLACE, Remedy.SAME_REQUEST)
