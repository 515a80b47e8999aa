"""What each picture of a folder is worth: its effect on fidelity, from many short trainings on random halves.

Each half and its complement train a LoRA of their own, several in one pass over the frozen base, with the same seed.
All of them sample the captions of the held-out pictures. Fidelity is the mean cosine of a sample with the held-out
picture whose caption it has, by the image encoder. A linear regression of fidelity on membership gives the effect of
each picture relative to the average picture (datamodels, arXiv:2202.00622, with least squares).
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from scipy import stats
from torch import Tensor

from ..base import Base, Owner, seed_of
from ..cancel import check
from ..data.concept import Concept, fill
from ..data.examples import Examples
from ..errors import TriptychError
from ..exchange.artifact import Artifact, Part, compose
from ..methods import Training, method_named
from ..metrics import covering
from ..metrics.encoders import ImageEncoder
from ..sampling.generate import sample
from ..sampling.request import Request
from ..study.progress import Progress, steps_of
from ..training.fit import Trial, fit
from ..training.sharing import joint_passes

METHOD = "lora"
LEVEL = 0.95  # of the intervals
SHARE = 0.25  # of the method's own steps that each training takes
SEEDS = 2  # samples for each held-out caption
NONE: Mapping[str, Collection[str]] = MappingProxyType({})

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Worth:
    """A picture's effect on fidelity when it is in the training, relative to the average picture, with an interval."""

    name: str
    effect: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.effect:+.3f} ({self.low:+.3f} to {self.high:+.3f})"


def worth_of(
    base: Base,
    concept: Concept,
    encoder: ImageEncoder,
    progress: Progress,
    *,
    halves: int = 0,
    steps: int = 0,
    unfit: Collection[str] = (),
    groups: Mapping[str, Collection[str]] = NONE,
    seed: int = 0,
) -> tuple[list[Worth], list[Worth]]:
    """The worth of each training picture, the least first, and the mean worth of the pictures of each group.

    Args:
        halves: trainings, an even number; 0: four for each picture.
        steps: of each training; 0: a quarter of the base's own.
        unfit: names of pictures that fidelity is not measured by.
        groups: name -> names of pictures. Groups of which two or more are trained on are told.

    Raises:
        TriptychError: there are too few pictures to train or to judge by, or a training failed.
    """
    split = concept.split(0)
    judged = [i for i in split.held_out if concept.pictures[i].name not in unfit]
    if not judged or len(split.train) < 4:
        raise TriptychError(
            f"what a picture of {concept.name} is worth cannot be told from {len(split.train)} training pictures and"
            f" {len(judged)} to judge by: 4 and 1 are needed"
        )
    members = random_halves(len(split.train), halves or 4 * len(split.train), seed)
    if len(members) <= len(split.train) + 1:
        raise TriptychError(f"{len(members)} trainings are too few for {len(split.train)} pictures; allow more")
    trials = half_trials(base, concept, split.train, members, steps, seed)
    passes = list(joint_passes(trials, base.description.sampling.rows))
    judge = Judge.of(base, concept, judged, encoder)
    values: list[float] = []
    trained = learned(base, passes, progress)
    progress.stage("sampling", len(passes))
    for parts in trained:
        check()
        values += judge.values(base, parts, concept.class_word)
        progress.advance()
    names = [concept.pictures[i].name for i in split.train]
    return told(names, members, np.array(values), groups)


def told(
    names: Sequence[str], members: NDArray[np.bool_], values: Floats, groups: Mapping[str, Collection[str]]
) -> tuple[list[Worth], list[Worth]]:
    """The worth of pictures and of groups of them, the least first, by the values of the trainings; see `worth_of`."""
    shares = {title: np.array([name in own for name in names], float) for title, own in groups.items()}
    shares = {title: share / share.sum() for title, share in shares.items() if share.sum() > 1}
    weights = np.array([*np.eye(len(names)), *shares.values()])
    found = effects(members, values, weights).tolist()
    every = [Worth(name, *three) for name, three in zip((*names, *shares), found, strict=True)]
    each, of_groups = every[: len(names)], every[len(names) :]
    return sorted(each, key=lambda worth: worth.effect), sorted(of_groups, key=lambda worth: worth.effect)


def random_halves(count: int, halves: int, seed: int) -> NDArray[np.bool_]:
    """[halves, count]: which pictures each training has. Every second row is the complement of the one before."""
    chance = random.Random(f"worth {seed}")
    rows = []
    for _ in range((halves + 1) // 2):
        chosen = set(chance.sample(range(count), count // 2))
        row = np.array([i in chosen for i in range(count)])
        rows += [row, ~row]
    return np.array(rows)


def effects(members: NDArray[np.bool_], values: Floats, weights: Floats) -> Floats:
    """[rows, 3]: effect, low and high end of weighted pictures: least squares of the values [trainings] on membership.

    Effects of all pictures sum to 0, since membership of a half says nothing of the level: of all solutions the
    shortest is taken. Intervals are those of Student's t.

    Args:
        weights: [rows, pictures]; a row of the identity tells a picture, a row of 1 / n the mean of n pictures.
    """
    design = np.where(members, 0.5, -0.5)
    design = design - design.mean(axis=0)
    inverse = np.linalg.pinv(design.T @ design)
    found = inverse @ design.T @ (values - values.mean())
    found = found - found.mean()
    rest = values - values.mean() - design @ found
    freedom = max(1, len(values) - int(np.linalg.matrix_rank(design)) - 1)
    spread = np.sqrt(float(rest @ rest) / freedom * (weights @ inverse * weights).sum(axis=1))
    reach, mean = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * spread, weights @ found
    return np.stack([mean, mean - reach, mean + reach], axis=1)


def half_trials(
    base: Base, concept: Concept, train: Sequence[int], members: NDArray[np.bool_], steps: int, seed: int
) -> list[Trial]:
    """A training for each row of `members` [halves, pictures], on those of the pictures `train` that it has."""
    method = method_named(METHOD)
    settings: Any = method.for_concept(method.configure(base.description.methods.get(METHOD, {})), concept)
    assert isinstance(settings, Training)
    settings = replace(settings, steps=steps or max(1, round(SHARE * settings.steps)), fixed_every=0)
    whole = Examples.of(base, concept, train)
    kept = []
    for number, row in enumerate(members):
        own = {concept.pictures[i].name for i, member in zip(train, row, strict=True) if member}
        each = tuple(example for example in whole.each if example.name in own)
        kept.append(Trial(METHOD, settings, replace(whole, each=each), concept.class_word, seed, f"half-{number}"))
    return kept


def learned(base: Base, passes: Sequence[Sequence[Trial]], progress: Progress) -> list[list[Part]]:
    """What each training learned, pass by pass, each with its own owner."""
    progress.stage("training", sum(joint[0].settings.steps for joint in passes))
    found = []
    for joint in passes:
        check()
        fitted = fit(base, joint, progress=steps_of(progress))
        if failures := [result.failure for result in fitted if result.failure]:
            raise TriptychError(f"a training on half of the pictures failed: {failures[0]}")
        found.append(
            [
                Part(Artifact(trial.method, trial.settings, result.tensors), owner=trial.owner)
                for trial, result in zip(joint, fitted, strict=True)
            ]
        )
    return found


@dataclass(frozen=True)
class Judge:
    """Fidelity to held-out pictures: their captions as templates, their squares, and their features [pictures, d]."""

    prompts: Sequence[str]
    pictures: Sequence[Sequence[Image]]
    real: Tensor
    encoder: ImageEncoder

    @classmethod
    def of(cls, base: Base, concept: Concept, judged: Sequence[int], encoder: ImageEncoder) -> Judge:
        templates = concept.templates(base.description.captions[concept.kind])
        views = concept.views(base.resolution)
        pictures = [views[i] for i in judged]
        return cls([templates[i] for i in judged], pictures, torch.from_numpy(covering(encoder, pictures)), encoder)

    def values(self, base: Base, parts: Sequence[Part], class_word: str) -> list[float]:
        """The fidelity of each part: the mean cosine of samples with the pictures whose captions they have."""
        phrases = [part.artifact.kind.phrase(part.artifact.settings, class_word) for part in parts]
        with compose(base, *parts):
            return self._sampled(base, [(phrase, part.owner) for phrase, part in zip(phrases, parts, strict=True)])

    def bare(self, base: Base, class_word: str) -> float:
        """The fidelity of the bare base."""
        return self._sampled(base, [(class_word, None)])[0]

    def redrawn(self, base: Base) -> float:
        """The fidelity of the pictures themselves, through the base's autoencoder."""
        redrawn = [base.redraw(own) for own in self.pictures]
        return float((torch.from_numpy(covering(self.encoder, redrawn)) * self.real).sum(-1).mean())

    def _sampled(self, base: Base, asked: Sequence[tuple[str, Owner]]) -> list[float]:
        seeds = tuple(seed_of("worth", number) for number in range(SEEDS))
        requests = [Request(fill(prompt, phrase), seeds, owner) for phrase, owner in asked for prompt in self.prompts]
        seen = self.encoder.images([picture for pictures in sample(base, requests) for picture in pictures])
        seen = seen.view(len(asked), len(self.prompts), SEEDS, -1)
        return [float(value) for value in (seen * self.real[None, :, None]).sum(-1).mean(dim=(1, 2))]
