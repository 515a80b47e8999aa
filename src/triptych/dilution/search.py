"""The search for the mix that loses least: a method and weights that keep the least-retained file highest.

optuna proposes mixes by a tree of Parzen estimators (Bergstra et al., NeurIPS 2011). Each is made, sampled and measured
on prompts that are reserved for choosing, so the prompts that a mix is reported by have chosen nothing. The first two
trials are the plain average and the plain sum, which the others have to beat; then each file in turn stays at full
strength, with the others as in the average.

The best of many noisy values is too good to be true. So the finalists, the best few trials and the plain mixes, are
measured again, on other prompts for choosing and on more of them, and these alone decide.

A journal keeps every result, so a stopped search goes on when it is started again, with the trial that was not
finished.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import rmtree

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import Trial, TrialState

from ..base import Base, Place, generator
from ..cancel import check
from ..errors import TriptychError
from ..files.hashes import known_sha256
from ..metrics import Shown
from ..mixing.blocks import block_names
from ..mixing.formulas import FORMULAS, Formula
from ..mixing.merge import merge
from ..mixing.request import Ingredient, Mix
from ..settings import Value
from ..study.layout import Layout, key
from ..study.progress import Progress
from ..study.prompts import Prompt, deal
from ..study.sheets import Sheet, sample_all
from .measure import file_alone, judged, retention
from .members import Member, attached, members_of
from .plan import DilutionPlan

LEAST, MOST = 0.05, 1.5  # of a weight
SETTINGS = {"scale": (0.3, 2.0), "density": (0.1, 1.0), "drop": (0.1, 0.9)}  # those of formulas that are searched
DIGITS = 3  # of a number in a mix, as it is made and written
FIRST = 6  # trials before the estimator proposes, those that are queued among them
FINALISTS = 4  # besides the plain mixes
MORE = 2  # prompts that finalists are measured by, for each prompt of a trial


@dataclass(frozen=True)
class Found:
    """The best mix, its value and that of the better one of plain average and plain sum, on prompts for finalists.

    A value is the retention of that one of `files` that the mix keeps least of; see `measure`.
    """

    mix: Mix
    value: float
    plain: float
    trials: int
    files: tuple[str, ...]  # those that learned their concept

    def __str__(self) -> str:
        weights = " and ".join(
            file.path.name if file.weight is None else f"{file.path.name}:{file.weight:g}"
            for file in self.mix.ingredients
        )
        settings = "".join(f", {name} {value}" for name, value in self.mix.settings.items())
        least = self.files[0] if len(self.files) == 1 else f"the least retained of {' and '.join(self.files)}"
        return (
            f"the best of {self.trials} mixes is {self.mix.method} of {weights}{settings}: on prompts for choosing it"
            f" keeps {self.value:.2f} of {least}, and the better one of plain average and plain sum {self.plain:.2f}"
        )


def search(
    mix: Mix,
    plan: DilutionPlan,
    trials: int,
    by_block: bool,
    out: Path,
    progress: Progress,
    opened: Callable[[Place], Base] = Place.open,
) -> Found:
    """Try so many mixes of the files, in the folder `out`.

    Args:
        mix: the files. If it names a method, only its weights and settings are searched.
        plan: the files with their folders, the place, the number of prompts, and the seed.
        by_block: whether the second file's share is searched for each block, in place of a weight for each file.
        opened: gives the base of a place.

    Raises:
        TriptychError: bad input, none of the files learned its concept, or no trial could be measured.
    """
    space = Space.of(mix, by_block)
    layout = Layout(out)
    with layout.locked():
        progress.stage("opening", 1)
        members = members_of(plan, opened, layout, progress)
        judge = Judge.of(members, progress)
        progress.advance()
        names = block_names(members[0].work.base.family) if by_block else ()
        run = _Run(_study(space, judge, plan, names, out), space, names, judge, out)
        progress.stage("searching", max(0, trials - run.spent))
        while run.spent < trials:
            check()
            run.one_more(plan.seed)
            progress.advance()
        return run.found(progress)


@dataclass(frozen=True)
class _Run:
    """The trials of a search, and what they are made and measured by."""

    study: optuna.Study
    space: Space
    names: Sequence[str]  # of blocks
    judge: Judge
    out: Path

    @property
    def spent(self) -> int:
        return len(self.study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED)))

    def one_more(self, seed: int) -> None:
        """Make and measure the next trial: one that is queued, or one that is proposed."""
        drawn = generator("mix", seed, len(self.study.trials)).initial_seed()
        self.study.sampler = optuna.samplers.TPESampler(seed=drawn, n_startup_trials=FIRST)
        trial = self.study.ask()
        kept = self.judge.least(f"trial-{trial.number}", self.space.proposed(trial, self.names), self.out)
        self.study.tell(trial, kept, TrialState.PRUNED if kept is None else TrialState.COMPLETE)

    def found(self, progress: Progress) -> Found:
        """Measure the finalists, and return the best of them.

        Raises:
            TriptychError: no mix could be measured.
        """
        measured = self.study.get_trials(states=(TrialState.COMPLETE,))
        usuals = [params.items() for params in self.space.plain(self.names)]
        plain = {trial.number for trial in measured if any(usual <= trial.params.items() for usual in usuals)}
        ranked = sorted(measured, key=lambda trial: (-(trial.value or 0.0), trial.number))
        values = self._again(sorted(plain | {trial.number for trial in ranked[:FINALISTS]}), progress)
        if not values:
            raise TriptychError("no mix could be measured")
        best = max(values, key=lambda number: (values[number], -number))
        beaten = max((values[number] for number in plain & values.keys()), default=0.0)
        mix = self.space.mix_of(self.study.trials[best].params, self.names)
        return Found(mix, values[best], beaten, len(measured), self.judge.names)

    def _again(self, finalists: Sequence[int], progress: Progress) -> dict[int, float]:
        """Trial -> what its mix keeps by the prompts for finalists, of those that can be measured.

        The values are attributes of the study, since a trial that is told is closed.
        """
        name = {number: f"final-{number}" for number in finalists}
        new = [number for number in finalists if name[number] not in self.study.user_attrs]
        progress.stage("measuring the best again", len(new))
        judge = self.judge.of_finalists() if new else self.judge
        for number in new:
            check()
            mix = self.space.mix_of(self.study.trials[number].params, self.names)
            self.study.set_user_attr(name[number], judge.least(name[number], mix, self.out))
            progress.advance()
        told = self.study.user_attrs
        return {number: told[name[number]] for number in finalists if told[name[number]] is not None}


def _study(space: Space, judge: Judge, plan: DilutionPlan, names: Sequence[str], out: Path) -> optuna.Study:
    """The trials of the journal. Those that were running when the search was stopped are queued again."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = JournalStorage(JournalFileBackend(str(out / "trials.journal")))
    name = f"mix-{key(space.ways, names, dict(space.mix.settings), judge.made_from, plan.seed)}"
    study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
    if not study.trials:
        for params in (*space.plain(names), *space.leaning(names)):
            study.enqueue_trial(params)
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params)
    return study


@dataclass(frozen=True)
class Space:
    """The mixes that are searched: `ways` to mix, and a number for each file, or for each block."""

    mix: Mix
    ways: tuple[str, ...]

    @classmethod
    def of(cls, mix: Mix, by_block: bool) -> Space:
        """
        Raises:
            TriptychError: numbers are given that are searched, or no way to mix can be searched.
        """
        count = len(mix.ingredients)
        if any(file.weight is not None for file in mix.ingredients) or mix.parsed.blocks:
            raise TriptychError("weights are searched: give the files without weights")
        if by_block and count != 2:
            raise TriptychError(f"weights by block are for two files, and {count} are given")

        def fits(formula: Formula) -> bool:
            return formula.changes and (not formula.two or count == 2) and (not by_block or "blocks" in formula.reads)

        ways = tuple(name for name, formula in FORMULAS.items() if fits(formula) and mix.method in ("", name))
        if not ways:
            raise TriptychError(f"{mix.method} cannot be searched for {count} LoRAs or differences")
        return cls(mix, ways)

    def plain(self, names: Sequence[str]) -> list[dict[str, Value]]:
        """The plain average and the plain sum; by block, the average alone."""
        way: dict[str, Value] = {"method": self.ways[0]}
        if names:
            return [{**way, **dict.fromkeys(names, 0.5)}]
        return [{**way, **dict.fromkeys(self._files, weight)} for weight in (1 / len(self._files), 1.0)]

    def leaning(self, names: Sequence[str]) -> list[dict[str, Value]]:
        """The plain average with one file at full strength, for each file; by block, nothing."""
        return [] if names else [{**self.plain(names)[0], file: 1.0} for file in self._files]

    @property
    def _files(self) -> list[str]:
        return [_weight(i) for i in range(len(self.mix.ingredients))]

    def proposed(self, trial: Trial, names: Sequence[str]) -> Mix:
        formula = FORMULAS[trial.suggest_categorical("method", self.ways)]
        if names:
            for name in names:
                trial.suggest_float(name, 0.0, MOST)
        elif formula.weighs:
            for i in range(len(self.mix.ingredients)):
                trial.suggest_float(_weight(i), LEAST, MOST)
        for name, (least, most) in SETTINGS.items():
            if name in formula.reads and name not in self.mix.settings:
                trial.suggest_float(name, least, most)
        return self.mix_of(trial.params, names)

    def mix_of(self, params: Mapping[str, Value], names: Sequence[str]) -> Mix:
        """The mix of a trial's numbers."""
        number = {name: round(float(value), DIGITS) for name, value in params.items() if name != "method"}
        settings: dict[str, Value] = {name: number[name] for name in SETTINGS if name in number}
        if names:
            settings["blocks"] = ",".join(f"{number[name]:g}" for name in names)
        files = tuple(
            Ingredient(file.path, number.get(_weight(i)), file.sha256) for i, file in enumerate(self.mix.ingredients)
        )
        return replace(
            self.mix, ingredients=files, method=str(params["method"]), settings={**self.mix.settings, **settings}
        )


def _weight(place: int) -> str:
    return f"weight {place}"


@dataclass(frozen=True)
class Candidate:
    """A file that learned its concept, with prompts for choosing and the pictures that a mix is held against."""

    member: Member
    prompts: Sequence[Prompt]
    before: Sequence[Shown]

    @classmethod
    def of(cls, member: Member, prompts: Sequence[Prompt]) -> Candidate:
        return cls(member, prompts, [each for sheet in member.before(prompts) for each in _sampled(member, sheet)])


@dataclass(frozen=True)
class Judge:
    """Measures mixes by prompts for choosing."""

    candidates: Sequence[Candidate]

    @classmethod
    def of(cls, members: Sequence[Member], progress: Progress) -> Judge:
        """Those of the files that learned their concept; a note on each other one.

        Raises:
            TriptychError: none did.
        """
        able = list[Candidate]()
        for member in members:
            candidate = Candidate.of(member, choosing_prompts(member))
            file = file_alone(member.source.name, judged(member.work, candidate.before, member.encoder))
            if file.learned:
                able.append(candidate)
            else:
                progress.note(file.why_not)
        if not able:
            raise TriptychError("none of the files is clearly better than the bare base, so there is nothing to keep")
        return cls(able)

    def of_finalists(self) -> Judge:
        """The same files, by other prompts for choosing, and more of them."""
        return Judge([Candidate.of(each.member, final_prompts(each.member)) for each in self.candidates])

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(candidate.member.source.name for candidate in self.candidates)

    @property
    def made_from(self) -> list[object]:
        return [
            (
                known_sha256(candidate.member.source.file),
                candidate.member.work.base_key,
                candidate.member.work.concept.digest,
                candidate.prompts,
            )
            for candidate in self.candidates
        ]

    def least(self, row: str, mix: Mix, out: Path) -> float | None:
        """The least retention of a mix over the files; None where it cannot be measured. Its file is not kept."""
        path = out / "mixes" / row / "mix.safetensors"
        merge(mix, path, overwrite=True)
        kept = []
        for candidate in self.candidates:
            member = candidate.member
            pictures = _sampled(member, member.under(row, attached(path), candidate.prompts, member.says))
            kept.append(retention(judged(member.work, [*candidate.before, *pictures], member.encoder), row))
        rmtree(path.parent)
        known = [interval.value for interval in kept if interval]
        return min(known) if len(known) == len(kept) else None


def choosing_prompts(member: Member) -> list[Prompt]:
    """Prompts with the concept that no study reports, as many as are reported."""
    return _dealt(member)[: member.work.budget.prompts]


def final_prompts(member: Member) -> list[Prompt]:
    """Prompts for choosing that no trial is measured by."""
    return _dealt(member)[member.work.budget.prompts :]


def _dealt(member: Member) -> list[Prompt]:
    work, concept = member.work, member.work.concept
    known = [*concept.templates(""), *work.plan.own_prompts]
    templates = work.base.description.population.templates[concept.kind]
    return deal(templates, work.words, (1 + MORE) * work.budget.prompts, purpose="choose", without=known)


def _sampled(member: Member, sheet: Sheet) -> list[Shown]:
    if not sheet.record:
        sample_all(member.work, [sheet])
    return sheet.sampled(member.work.layout.out)
