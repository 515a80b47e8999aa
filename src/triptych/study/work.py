"""The shared state of a study's stages: plan, opened base, concept, layout and progress."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from ..base import Base, Budget
from ..data.concept import Concept, fill
from ..data.examples import Examples
from ..data.framing import acting
from ..errors import TriptychError
from ..metrics import Evidence, Shown
from ..metrics.encoders import ImageEncoder, PromptScorer
from ..metrics.world import World
from ..options import PictureOptions
from .encoders import Encoders
from .layout import Layout
from .plan import Plan
from .progress import Progress
from .prompts import Prompt, Purpose, deal, listed
from .workers import Task, Workers, share

if TYPE_CHECKING:
    from PIL import Image

MEASURING = 6  # raise it when the value of a criterion changes


@dataclass
class Work:
    plan: Plan
    base: Base
    concept: Concept
    layout: Layout
    progress: Progress
    workers: Workers | None = None  # which share the tasks of a stage
    at_once: int = 1  # processes that compute now, this one among them
    threads: int = field(default_factory=torch.get_num_threads)  # that torch takes outside of the study
    _examples: dict[tuple[tuple[int, ...], PictureOptions], Examples] = field(default_factory=dict)

    @cached_property
    def budget(self) -> Budget:
        return self.plan.budget_of(self.base)

    @cached_property
    def base_key(self) -> tuple[str, str, int]:
        """The properties of the base that results depend on: fingerprint, precision, resolution."""
        return self.base.identity, str(self.base.dtype), self.base.resolution

    @cached_property
    def pictures(self) -> PictureOptions:
        """How pictures are prepared, as it acts on these."""
        return acting(self.plan.pictures, [self.concept], self.base.resolution)

    def examples(self, chosen: tuple[int, ...], *, varied: bool = True) -> Examples:
        """Training pictures as latents. Each choice is encoded once. `varied`: with the variations of the plan."""
        options = self.plan.pictures if varied else self.plan.pictures.unvaried
        if (chosen, options) not in self._examples:
            self._examples[chosen, options] = Examples.of(self.base, self.concept, chosen, options, self.plan.seed)
        return self._examples[chosen, options]

    @cached_property
    def other(self) -> Base | None:
        """The second base, for portability. It samples with the settings of the first; None where the plan names none.

        Raises:
            TriptychError: it cannot be opened, or is of another family.
        """
        if not self.plan.other_base:
            return None
        other = replace(self.plan.place, source=self.plan.other_base, clip=None, vae="").open()
        mine, its = self.base.description.family, other.description.family
        if mine != its:
            raise TriptychError(f"the other base {self.plan.other_base} is of family {its}; give one of {mine}")
        return other

    @cached_property
    def world(self) -> World | None:
        """The description of the pictures in the base's folder; None where there is none."""
        return World.open(self.base.folder) if self.base.folder else None

    @cached_property
    def encoders(self) -> Encoders:
        """What judges."""
        return Encoders(self.plan, self.base, self.concept, self.layout, self.progress)

    def open_encoders(self, *, others: bool = True) -> None:
        """Open what judges, so that a missing encoder stops the study at once. `others`: all image encoders judge.

        Raises:
            TriptychError: one of them cannot be opened.
        """
        _ = self.encoders.first, self.encoders.prompts
        if others:
            _ = self.encoders.others
        elif self.encoders.names[1:]:
            self.progress.note(f"only one image encoder judges here: {self.encoders.first.name}")
        if self.encoders.by_masks:
            self.progress.note(f"likeness is {self.encoders.by_masks}")

    @cached_property
    def redrawn(self) -> list[list[Image.Image]]:
        """The squares of each real picture (`Concept.views`), encoded and decoded by the base's autoencoder."""
        views = self.concept.views(self.base.resolution, whole=self.encoders.whole)
        left = iter(self.base.redraw([view for own in views for view in own]))
        return [[next(left) for _ in own] for own in views]

    def evidence(self, pictures: Sequence[Shown], encoder: ImageEncoder | None = None) -> Evidence:
        """The input of the criteria: these pictures, and the concept's own. `encoder`: instead of the first one."""
        prompts = self.encoders.prompts
        scorer, text = (prompts, None) if isinstance(prompts, PromptScorer) else (None, prompts)
        world = None if prompts else self.world
        return Evidence(
            self.concept, pictures, encoder or self.encoders.first, self.base.resolution, text, world, self.redrawn,
            self.words, scorer, self.base.description.population.statements, self.layout.prompt_scores,
            None if world else self.encoders.masks, whole=self.encoders.whole,
        )  # fmt: skip

    @cached_property
    def prompts(self) -> list[Prompt]:
        """The prompts to measure with: from the folder's `prompts.txt`, else from the base's population."""
        count = self.budget.prompts
        return listed(self.plan.own_prompts, count) or self._deal(self.concept.kind, count)

    @cached_property
    def choosing(self) -> list[Prompt]:
        """Prompts to choose strengths and moments by. None of them is reported."""
        reported = [prompt.template for prompt in self.prompts]
        return self._deal(self.concept.kind, self.budget.choosing, "choose", reported)

    @cached_property
    def unrelated(self) -> list[Prompt]:
        """Prompts without the class word."""
        return self._deal("unrelated", self.budget.unrelated)

    def _deal(self, kind: str, count: int, purpose: Purpose = "report", without: Sequence[str] = ()) -> list[Prompt]:
        description, concept = self.base.description, self.concept
        templates = description.population.templates[kind]
        if kind == "unrelated":
            return deal(templates, self.words, count, no_word=concept.class_word)
        known = [*concept.templates(""), *description.tuning_prompts.get(kind, ()), *without]
        return deal(templates, self.words, count, purpose=purpose, without=known)

    def share(self, tasks: Sequence[Task]) -> None:
        """Run the tasks of a stage, as `workers.share`."""
        at_once = min(self.workers.most, len(tasks)) if self.workers else 1
        inside = [Task(_call, (self.plan, at_once, task), task.size) for task in tasks]
        share(self.workers, inside, self, self.progress)

    def at(self, prompts: int, unrelated: int) -> Work:
        """The same study with so many prompts; what is opened stays open."""
        other = replace(self, plan=replace(self.plan, prompts=prompts, unrelated=unrelated))
        for name in ("base_key", "encoders", "other", "redrawn", "world"):
            if name in self.__dict__:
                other.__dict__[name] = self.__dict__[name]
        return other

    @property
    def words(self) -> dict[str, tuple[str, ...]]:
        """Component of a prompt -> its possible words."""
        stated = {name: tuple(words) for name, words in self.base.description.population.words.items()}
        return {**(self.world.words if self.world else {}), **stated}

    @property
    def strata(self) -> dict[str, str]:
        """Prompt, with the class word -> its stratum."""
        return {
            fill(prompt.template, self.concept.class_word): prompt.stratum for prompt in self.prompts if prompt.stratum
        }


def worker(progress: Progress, plan: Plan, concept: Concept, layout: Layout) -> Work:
    """The state of a worker of the study. It opens the base for itself."""
    return Work(plan, plan.place.open(), concept, layout, progress)


def _call(work: Work, plan: Plan, at_once: int, task: Task) -> None:
    """Call a task. A worker keeps what it has opened, and takes over from the plan the stage's numbers of prompts."""
    if plan != work.plan:
        _ = work.other
        work = work.at(plan.prompts, plan.unrelated)
    work.at_once = at_once
    task.call(work, *task.given)
