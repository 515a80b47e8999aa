"""Simulated studies whose truth is known: four methods and the bare base, in the headline and in preservation.

A study has the levels of a real one, in units of the headline figure (0: bare base, 1: the real pictures with
everything there): what every method shares in a prompt, what a method makes of a prompt, what one training makes of it
all, and the picture. Picture seeds are the prompts' own, or the same seeds stand at all prompts; then their noise has a
part that all methods share, and one that each method makes of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import inf

import numpy as np

from triptych.scores import BASE, Cost
from triptych.verdict.evidence import BOTH, PRESERVATION, SUBJECT, Evidence
from triptych.verdict.intervals import ALPHA, Floats, Interval
from triptych.verdict.moderated import NONE, Prior
from triptych.verdict.statements import Means
from triptych.verdict.table import Table
from triptych.verdict.values import MARGINS, Anchors

METHODS = ("textual-inversion", "hypernetwork", "lora", "dreambooth")
BYTES = (5e3, 4e6, 5e5, 25e6)  # of their files on the demo base
COSTS = {
    name: Cost(name, name != "dreambooth", 1, round(size), 1, 1, seconds_alone=30.0, seconds_a_picture=0.14)
    for name, size in zip(METHODS, BYTES, strict=True)
}
CALM = (0.95, 0.85, 0.7, 0.6)  # preservation of the studies of the examples, rounded


@dataclass(frozen=True)
class Shape:
    """How much a budget measures: trainings, prompts, pictures of each."""

    name: str
    runs: int
    prompts: int
    seeds: int = 1
    crossed: bool = False  # the same seeds at all prompts


@dataclass(frozen=True)
class Spreads:
    """Standard deviations, in units of the headline figure."""

    shared: float = 0.2  # of a prompt, in all methods
    method_in_prompt: float = 0.15
    picture: float = 0.2
    between: tuple[float, ...] = (0.0,)  # trainings: of all methods alike, or of each
    freedom: float = inf  # of the scaled inverse chi-square around `between` that each method's variance is drawn from
    run: float = 0.0  # what all methods share in a training: the split of the pictures
    seed: float = 0.0  # of a shared seed, in all methods
    method_in_seed: float = 0.0
    calm: float = 0.14  # of a picture in preservation


@dataclass(frozen=True)
class Simulated:
    """Studies: cells of the headline and of preservation, the bare base last, and the truth.

    both, calm: [studies, methods + 1, trainings, prompts, seeds]. means: [studies, methods + 1, 2], of the methods;
    with one training of the trained files, which is what is claimed then.
    """

    shape: Shape
    both: Floats
    calm: Floats
    means: Floats
    seeds: np.ndarray = field(repr=False)

    def evidence(
        self, study: int, prompts: int | None = None, alpha: float = ALPHA, prior: Prior = NONE, seed: int = 0
    ) -> Evidence:
        """One study by its first prompts, as `judge` makes it of the scores."""
        count = prompts or self.shape.prompts
        rows = (*METHODS, BASE)
        names = [str(i) for i in range(count)]
        tables = []
        for cells, known in ((self.both[study], prior), (self.calm[study], NONE)):
            kept = {name: cells[row, :, :count] for row, name in enumerate(rows)}
            tables.append(Table(kept, names, self.seeds[:count], prior=known, alpha=alpha))
        both, calm = tables
        anchors = Anchors(Interval(0.3, 0.3, 0.3, count), Interval(0.8, -np.inf, np.inf, 10), True)
        by_name = {SUBJECT: both, BOTH: both, PRESERVATION: calm}
        return Evidence(by_name, anchors, COSTS, {}, MARGINS, self.shape.runs, seed=seed)

    def truth(self, study: int) -> Means:
        rows = (*METHODS, BASE)
        both, calm = ({name: self.means[study, row, [what]] for row, name in enumerate(rows)} for what in range(2))
        return Means(both, calm, MARGINS)


def simulate(
    shape: Shape, truths: Floats, spreads: Spreads, random: np.random.Generator, calm: Floats | None = None
) -> Simulated:
    """Studies of methods with these true values. `truths`, `calm`: [studies, methods]."""
    studies, methods = truths.shape
    calm = np.tile(CALM[:methods], (studies, 1)) if calm is None else calm
    between = np.broadcast_to(spreads.between, (studies, methods))[:, :, None]
    if spreads.freedom < inf:
        between = between * np.sqrt(spreads.freedom / random.chisquare(spreads.freedom, (studies, methods, 1)))
    apart = random.normal(0, 1, (studies, methods, shape.runs)) * between
    together = random.normal(0, spreads.run, (studies, 1, shape.runs))
    trained = truths[:, :, None] + apart + together
    calmed = calm[:, :, None] + random.normal(0, 1, (studies, methods, shape.runs)) * between
    size = (studies, methods, shape.runs, shape.prompts, shape.seeds)
    cells = trained[..., None, None] + random.normal(0, spreads.shared, (studies, 1, 1, shape.prompts, 1))
    cells = cells + random.normal(0, spreads.method_in_prompt, (studies, methods, 1, shape.prompts, 1))
    cells = cells + random.normal(0, spreads.picture, size)
    if shape.crossed:
        cells = cells + random.normal(0, spreads.seed, (studies, 1, 1, 1, shape.seeds))
        cells = cells + random.normal(0, spreads.method_in_seed, (studies, methods, 1, 1, shape.seeds))
    bare = random.normal(0, spreads.picture, (studies, 1, 1, shape.prompts, shape.seeds))
    bare = np.broadcast_to(bare, (studies, 1, *size[2:]))
    kept = calmed[..., None, None] + random.normal(0, spreads.calm, size)
    means = np.stack([trained.mean(axis=2), calmed.mean(axis=2)] if shape.runs == 1 else [truths, calm], axis=2)
    means = np.concatenate([means, np.tile([0.0, 1.0], (studies, 1, 1))], axis=1)
    own = np.arange(shape.prompts * shape.seeds).reshape(shape.prompts, shape.seeds)
    seeds = np.tile(np.arange(shape.seeds), (shape.prompts, 1)) if shape.crossed else own
    both = np.concatenate([cells, bare], axis=1)
    calm_cells = np.concatenate([kept, np.ones_like(bare)], axis=1)
    return Simulated(shape, both, calm_cells, means, seeds)


def blocks(count: int, size: int = 100) -> Iterator[int]:
    """`count` in blocks that fit into memory."""
    for begin in range(0, count, size):
        yield min(size, count - begin)


def population(count: int, random: np.random.Generator, methods: int = len(METHODS)) -> tuple[Floats, Floats]:
    """Truths as concepts have them: headline and preservation, [studies, methods] each."""
    both = random.normal(0.35, 0.2, (count, methods))
    calm = np.array(CALM[:methods]) + random.normal(0, 0.1, (count, methods))
    return both, np.minimum(calm, 1.0)


def fixed(truths: Sequence[float], count: int) -> Floats:
    return np.tile(np.array(truths), (count, 1))
