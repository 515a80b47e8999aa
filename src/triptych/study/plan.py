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
from ..base.description import Trainings, encoders_named
from ..data.concept import Concept
from ..data.notes import lines
from ..data.prompts import PromptFile, read_prompts
from ..errors import Remedy, TriptychError, did_you_mean
from ..files.atomic import write_text
from ..methods import Training, method_named, methods
from ..options import StudyOptions, from_table, table_of, words_of
from ..prompt.markup import read_as_text
from ..scores import parts_of
from ..shell import command_line, writable
from ..verdict import NEEDS
from .combinations import combinations_of
from .prior import trainings_of
from .tuned import Tuned

FILE = "study.toml"
GROWS = (  # what may change between two runs of a study: results that are there are kept
    "need", "prior", "replicates", "prompts", "unrelated", "until_decided", "at_most_pictures", "at_most_minutes",
)  # fmt: skip
ROWS = ("methods", "together")  # which may be added to


@dataclass(frozen=True)
class Plan(StudyOptions):
    """The user's choices for a study of one folder. `together` has combinations as `combinations_of` names them."""

    folder: Path
    place: Place = field(default_factory=Place, kw_only=True)

    @classmethod
    def of(cls, folder: Path, options: StudyOptions) -> Plan:
        return cls(folder, **{**vars(options), "place": Place.of(options.place)})

    def __post_init__(self) -> None:
        for name in (*self.methods, *self.settings):
            method_named(name)
        if self.need not in NEEDS:
            raise TriptychError(f"there is no need {self.need!r}{did_you_mean(self.need, NEEDS)}")
        if (self.at_most_pictures or self.at_most_minutes) and not self.until_decided:
            raise TriptychError("a limit of pictures or minutes is for a study that goes on", Remedy.UNTIL_DECIDED)
        if min(self.at_most_pictures, self.at_most_minutes) < 0:
            raise TriptychError("a limit of pictures or minutes is 0 (no limit) or more")
        if self.image_encoder:
            encoders_named(self.image_encoder)
        _ = trainings_of(self.prior, Trainings())  # reports bad numbers before any work
        _ = self.tuning  # reports a bad file before any work
        if self.together is not None:
            object.__setattr__(self, "together", combinations_of(",".join(self.together)))
        for name in self.together or ():
            missing = [part for part in parts_of(name) if part not in self.chosen]
            if missing:
                raise TriptychError(f"the combination {name} needs {missing[0]}, which is not studied", Remedy.METHODS)

    def concept(self) -> Concept:
        """Open and check the folder."""
        return Concept.open(
            self.folder, kind=self.kind or None, class_word=self.class_word or None, token=self.token or None,
            only=self.only or None,
        )  # fmt: skip

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

    def trainings_on(self, base: Base) -> Trainings:
        """What is taken as known of the spread between trainings."""
        return trainings_of(self.prior, base.description.verdict)

    @cached_property
    def tuning(self) -> Tuned:
        return Tuned.read(self.tuned) if self.tuned else Tuned()

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

    def unused_prompts(self, count: int) -> list[str]:
        """One sentence for each entry of the folder's `prompts.txt` that a study of `count` prompts does not use."""
        read = self._prompt_file
        asked, notes = read.lines, list(read.notes)
        nameless = [line for line in asked if "{}" not in line.prompt]
        notes += [f"{line.where} has no {{}} for the concept, and is left out" for line in nameless]
        notes += [
            f"{line.where}: {' and '.join(line.options)} not used, for all pictures of a study are sampled alike"
            for line in asked
            if line.options
        ]
        own = len(self.own_prompts)
        if own > count:
            notes.append(f"the first {count} of {own} prompts in prompts.txt are used: so many has this study")
        return notes + [sentence for prompt in self.own_prompts[:count] if (sentence := read_as_text(prompt))]

    @property
    def command(self) -> str:
        """The command that runs this study again."""
        return self.command_with()

    def command_with(self, **beside: object) -> str:
        """The same with options of the command that are not of the plan, such as `out`."""
        folder = str(self.folder)
        words = ["triptych", "try", f"./{folder}" if folder.startswith("-") else folder, *words_of(self)]
        return command_line(words + [word for name, value in beside.items() for word in (f"--{name}", str(value))])


def write(plan: Plan, out: Path, base: Base, concept: Concept, encoders: Mapping[str, Any], deciding: str = "") -> None:
    """Write study.toml: the plan, and its values for this base and folder.

    `encoders`: what judges. `deciding`: the command that would decide what is open, once a verdict is reached.

    Raises:
        TriptychError: the folder holds a study of another plan.
    """
    path = out / FILE
    if path.is_file():
        _compare(plan, _asked(path), out)
    titles = {name: method_named(name).title for name in plan.chosen}
    shown = described(plan, base, concept, plan.command, titles, encoders)
    shown["study"] |= {
        "replicates": plan.budget_of(base).training_seeds, "together": list(plan.together_on(base)),
        "deciding": deciding,
    }  # fmt: skip
    effort = {name: _effort(plan, name, base, concept) for name in plan.chosen}
    save(path, {"asked": table_of(plan), "effort": effort, "prior": asdict(plan.trainings_on(base)), **shown})


def described(
    plan: Plan, base: Base, concept: Concept, command: str, titles: Mapping[str, str], encoders: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """What the report shows of the folder, the base and the yardstick.

    `titles`: row -> its title. `encoders`: what judges.
    """
    return {
        "study": {
            "folder": concept.name, "base": plan.place.source, "kind": concept.kind, "class": concept.class_word,
            "token": concept.token, "methods": list(titles), "budget": plan.budget, "need": plan.need,
            "seed": plan.seed, "version": __version__, "command": command, "resolution": base.resolution,
            "pictures": len(concept.pictures),
            "held_out": [concept.pictures[i].name for i in concept.split(0).held_out],
            "broken": [{"file": note.path.name, "reason": note.reason} for note in concept.broken],
            "notes": lines(concept.notes), "titles": dict(titles),
        },
        "sampling": asdict(base.description.sampling),
        "encoders": dict(encoders),
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
    try:
        return from_table(Plan, _asked(path))
    except (TypeError, KeyError) as error:
        raise _unreadable(path) from error


def _effort(plan: Plan, name: str, base: Base, concept: Concept) -> dict[str, int]:
    """The effort of one training that is known beforehand: steps, pictures seen, tuning trials."""
    settings = plan.settings_of(name, base, concept)
    steps, batch = (settings.steps, settings.batch) if isinstance(settings, Training) else (0, 0)
    return {
        "steps": steps, "batch": batch, "pictures_seen": steps * batch, "tuning_trials": plan.tuning_trials(name, base),
    }  # fmt: skip


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
        raise _unreadable(path) from error
    return asked


def _unreadable(path: Path) -> TriptychError:
    return TriptychError(f"{path} cannot be read", Remedy.DELETE, Remedy.OTHER_PLACE)


def _compare(plan: Plan, before: Mapping[str, Any], out: Path) -> None:
    """Refuse another plan in the same folder. What may differ changes no result that is there: it adds to them."""
    now, usual = (_writable(table_of(each)) for each in (plan, Plan(plan.folder)))
    before = _over(usual, before)  # older studies lack newer fields
    added = _adds_rows(plan, from_table(Plan, before))
    for name in (entry.name for entry in fields(plan) if entry.name not in GROWS):
        if now.get(name) != before.get(name) and not (added and name in ROWS):
            was = f"another {name.replace('_', ' ')} ({before.get(name)!r})"
            raise TriptychError(f"{out} holds a study with {was}", Remedy.OTHER_PLACE, Remedy.SAME_REQUEST)


def _adds_rows(plan: Plan, before: Plan) -> bool:
    """Whether it has all rows of the plan before, and more. Combinations that the base chooses are its own affair."""
    own, theirs = plan.together, before.together
    kept = own == theirs if own is None or theirs is None else set(own) >= set(theirs)
    return kept and set(plan.chosen) >= set(before.chosen)


def _over(usual: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    """A table, with the entries that it lacks from another, also in the tables that lie in it."""
    inner = {name: _over(usual[name], own) for name, own in table.items() if isinstance(usual.get(name), Mapping)}
    return {**usual, **table, **inner}
