"""Tuning: a search for every method's learning rate and number of steps, with the same number of trials for each.

The concepts for tuning should not be those of a reported study. The value of a trial is its fidelity to the concept and
to the prompt, read off its pictures (see `yardstick.py`). Its prompts and seeds are in no reported study. Several
trials of a method that shares the frozen base train in one pass, over all concepts. A method that changes the base's
weights trains on one concept after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from optuna.trial import Trial as Asked

from .. import __version__
from ..base import Base, Place, generator
from ..cancel import check
from ..data.concept import Concept
from ..errors import Remedy, TriptychError
from ..exchange.artifact import Artifact
from ..methods import Training, method_named
from ..training.fit import Fitted, Trial, fit
from .layout import Layout, key
from .plan import Plan
from .progress import Progress
from .search import Search, rounded
from .tuned import Tuned
from .work import MEASURING, Work
from .workers import Task, share, workers_on
from .yardstick import Yardstick

FIRST_SEED = 1_000_000  # the first seed of tuning's pictures; the seeds of studies are smaller
SEEDS = 2  # pictures of each prompt
FILE = "tuned.toml"


@dataclass
class Attempt:
    """One trial: its settings and its results."""

    asked: Asked
    usual: Sequence[Any]  # the settings for each concept
    fitted: list[Fitted] = field(default_factory=list)  # one per concept

    def settings(self, concept: int) -> Any:
        return replace(self.usual[concept], **rounded(self.asked.params))

    @property
    def failed(self) -> bool:
        return any(result.failure for result in self.fitted)


def tune(
    plans: Sequence[Plan],
    trials: int,
    out: Path,
    progress: Progress,
    opened: Callable[[Place], Base] = Place.open,
) -> Tuned:
    """Search settings for the methods of the plans and write `tuned.toml`. The plans differ only in their folder.

    `opened` gives the base of a place.

    Raises:
        TriptychError: bad input, or no trial of a method came to its end.
    """
    layout = Layout(out)
    concepts = [plan.concept() for plan in plans]
    with layout.locked():
        progress.stage("opening", 1)
        base = opened(plans[0].place)
        works = [Work(plan, base, concept, layout, progress) for plan, concept in zip(plans, concepts, strict=True)]
        works[0].open_encoders(others=False)
        tuner = Tuner(base, works, trials)
        for yardstick in tuner.yardsticks:
            _ = yardstick.floor  # sampled before any training
        progress.advance()
        searches = {name: tuner.search(name) for name in plans[0].chosen if _is_trained(works[0], name)}
        progress.stage("tuning", sum(search.left(trials) for search in searches.values()))
        with workers_on(base, progress, _in_worker, plans, concepts, layout, trials) as workers:
            tasks = [Task(_run, (name,), search.left(trials) * tuner.rows(name)) for name, search in searches.items()]
            share(workers, tasks, tuner, progress)
        tuned = Tuned(
            {name: tuner.whole(best) for name, search in searches.items() if (best := search.best())},
            {name: len(search.judged) for name, search in searches.items()},
            tuple(concept.digest for concept in concepts),
        )
        tuned.write(out / FILE, tuner.made_from(), [row for search in searches.values() for row in search.table()])
    lost = [name for name in searches if name not in tuned.settings]
    if lost:
        raise TriptychError(f"no trial of {lost[0]} came to its end", Remedy.TRIALS)
    return tuned


def _is_trained(work: Work, name: str) -> bool:
    if isinstance(work.plan.settings_of(name, work.base, work.concept), Training):
        return True
    work.progress.note(f"{name} is not trained, so there is nothing to tune")
    return False


def _in_worker(
    progress: Progress, plans: Sequence[Plan], concepts: Sequence[Concept], layout: Layout, trials: int
) -> Tuner:
    """A worker's. It opens the base for itself."""
    base = plans[0].place.open()
    works = [Work(plan, base, concept, layout, progress) for plan, concept in zip(plans, concepts, strict=True)]
    return Tuner(base, works, trials)


def _run(tuner: Tuner, name: str) -> None:
    """Run all trials of a method that are not in the journal."""
    search = tuner.search(name)
    while left := search.left(tuner.trials):
        check()
        attempts = [Attempt(trial, tuner.usual(name)) for trial in search.ask(min(left, tuner.at_once(name)))]
        tuner.train(name, attempts)
        for attempt in attempts:
            search.end(attempt.asked, None if attempt.failed else tuner.value(name, attempt))
            tuner.works[0].progress.advance()


@dataclass
class Tuner:
    base: Base
    works: Sequence[Work]
    trials: int

    def made_from(self) -> dict[str, Any]:
        plan = self.works[0].plan
        return {
            "base": plan.place.source, "base_fingerprint": self.base.identity, "version": __version__,
            "budget": plan.budget, "seed": plan.seed, "folders": [work.concept.name for work in self.works],
            "prompts": [list(yardstick.prompts) for yardstick in self.yardsticks],
            "seeds": self.seeds,
        }  # fmt: skip

    @property
    def seeds(self) -> list[int]:
        first = FIRST_SEED + int(generator("tuning", self.works[0].plan.seed).initial_seed()) % 100_000
        return [first + i for i in range(SEEDS)]

    @cached_property
    def yardsticks(self) -> list[Yardstick]:
        """One for each concept."""
        return [
            Yardstick(work, str(i), tuning_prompts(self.base, work.plan, work.concept), self.seeds)
            for i, work in enumerate(self.works)
        ]

    def whole(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings with the steps of a full training, as a base states them. A budget scales them."""
        part = self.works[0].budget.steps
        return {**settings, "steps": max(1, round(settings["steps"] / part))}

    def usual(self, name: str) -> list[Any]:
        """The method's settings for each concept."""
        return [work.plan.settings_of(name, self.base, work.concept) for work in self.works]

    def rows(self, name: str) -> int:
        """The rows of all steps of one trial by the usual settings."""
        usual = self.usual(name)
        return sum(method_named(name).rows(settings) * settings.steps for settings in usual)

    def search(self, name: str) -> Search:
        """The search for a method's settings, as far as the journal has it."""
        usual, seed = self.usual(name), self.works[0].plan.seed
        concepts = [work.concept.digest for work in self.works]
        same = key(self.works[0].base_key, concepts, [str(settings) for settings in usual], seed, MEASURING)
        return Search(self.works[0].layout.out / "trials.journal", name, same, usual[0], seed)

    def at_once(self, name: str) -> int:
        """The number of trials that fit into one pass."""
        rows = sum(map(method_named(name).rows, self.usual(name)))
        return max(1, self.base.description.sampling.rows // rows) if method_named(name).shares_a_pass else 1

    def train(self, name: str, attempts: Sequence[Attempt]) -> None:
        every = range(len(self.works))
        for concepts in [every] if method_named(name).shares_a_pass else [[i] for i in every]:
            owned = len(attempts) * len(concepts) > 1
            fitted = iter(fit(self.base, [self._trial(name, each, i, owned) for each in attempts for i in concepts]))
            for attempt in attempts:
                attempt.fitted += [next(fitted) for _ in concepts]

    def _trial(self, name: str, attempt: Attempt, i: int, owned: bool) -> Trial:
        work, settings = self.works[i], attempt.settings(i)
        split = work.concept.split(0, choose=settings.chooses)
        return Trial(
            name, settings, work.examples(split.train), work.concept.class_word, work.plan.seed,
            f"{attempt.asked.number}/{i}" if owned else None, work.examples(split.choose or split.held_out),
        )  # fmt: skip

    def value(self, name: str, attempt: Attempt) -> float:
        """The mean of the yardsticks over all concepts."""
        return fmean(self._value_on(name, attempt, i) for i in range(len(self.works)))

    def _value_on(self, name: str, attempt: Attempt, i: int) -> float:
        settings = attempt.settings(i)
        phrase = method_named(name).phrase(settings, self.works[i].concept.class_word)
        attached = Artifact(name, settings, attempt.fitted[i].tensors).apply(self.base)
        return self.yardsticks[i].of(f"{name}-{attempt.asked.number}", phrase, attached)


def tuning_prompts(base: Base, plan: Plan, concept: Concept) -> list[str]:
    """The prompts for choosing settings, "{}" for the concept: the base's, without those that a study would report.

    Raises:
        TriptychError: nothing is left.
    """
    reported = set(plan.own_prompts)
    own = base.description.tuning_prompts.get(concept.kind) or [base.description.captions[concept.kind]]
    left = [prompt for prompt in own if prompt not in reported]
    if not left:
        raise TriptychError(f"all tuning_prompts of {base.name} are among those that studies report: give it others")
    return left
