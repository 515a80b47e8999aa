"""The variance of a mean over trainings, prompts and picture seeds, part by part.

Every training draws the same prompts and seeds, so trainings are crossed with pictures: the clustered variances of both
ways are added, and what is in both is taken off once (Cameron, Gelbach, Miller 2011, Robust inference with multiway
clustering). A seed belongs to its prompt, unless the scores show the same seed at several prompts: then the same noise
is in all of them, seeds are a third way of clustering, and few of them make the result unsure.

Variances of the trainings and of shared seeds come from few members and are moderated (`moderated`). A difference of
two methods that is the same in every cell has no variance: they are copies.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .intervals import Floats, Part, Source
from .moderated import NONE, Prior

Seeds = NDArray[np.int64]


@dataclass(frozen=True)
class Priors:
    """What the other methods tell of variances. `methods`: how many they are."""

    trainings: Prior = NONE
    seeds: Prior = NONE
    methods: int = 0


@dataclass(frozen=True)
class Weights:
    """Of a weighted sum of methods, the bare base left out: the sum of squared weights, and the squared sum."""

    squares: float
    total: float

    @staticmethod
    def of(weights: list[float]) -> "Weights":
        return Weights(sum(weight**2 for weight in weights), sum(weights) ** 2)


def parts(cells: Floats, seeds: Seeds | None, weights: Weights, priors: Priors) -> tuple[Part, ...]:
    """The parts of the variance of the mean of what is not NaN; none where nothing is known.

    Args:
        cells: [trainings, prompts, pictures of a prompt].
        seeds: [prompts, pictures of a prompt], the seed of each, where seeds are shared between prompts; else None.
        weights: of the methods that the cells are a sum of.
        priors: of this criterion.
    """
    table = _by_training(cells)
    runs, units = table.shape
    if runs == units == 1:
        return ()
    by_run, by_unit, interaction = _two_ways(table)
    if seeds is not None and len(np.unique(seeds[seeds >= 0])) == 1:
        return ()  # one noise in all pictures tells nothing of others
    if not np.any([by_run, by_unit, interaction]):
        return (Part("prompts", 0.0, max(units - 1, 1)),)
    found = _few("trainings", by_run, runs, weights, priors.trainings, priors.methods, interaction / units)
    doubled = min(interaction / (runs * units), sum(part.variance for part in found))
    if seeds is not None and cells.shape[1] > 1:
        by_seed, count, own = _by_seed(mean(cells, 0), seeds)
        of_seeds = _few("seeds", by_seed, count, weights, priors.seeds, priors.methods, 0.0)
        doubled += min(own, sum(part.variance for part in of_seeds))
        found += of_seeds
    if units > 1:
        found.append(Part("prompts", max(by_unit / units - doubled, 0.0), units - 1))
    return tuple(found)


def chance(cells: Floats) -> float:
    """What the chance of its pictures adds to the variance of a training's mean. `cells`: as for `parts`."""
    table = _by_training(cells)
    return _two_ways(table)[2] / table.shape[1] if table.size else 0.0


def _by_training(cells: Floats) -> Floats:
    """[trainings, prompts], or [trainings, pictures] of a single prompt; those that have nothing are left out."""
    table = mean(cells, 2) if cells.shape[1] > 1 else cells[:, 0, :]
    return table[~np.isnan(table).all(axis=1)][:, ~np.isnan(table).all(axis=0)]


def _few(
    source: Source, own: float, members: int, weights: Weights, prior: Prior, methods: int, noise: float
) -> list[Part]:
    """Of few members: their own variance and the prior's. What all methods share has degrees of freedom of its own."""
    freedom = members - 1
    if freedom < 1:
        return []
    expected = prior.variance(weights.squares, weights.total, noise)
    joined = (prior.freedom * expected + freedom * own) / (prior.freedom + freedom) / members
    share = prior.of_all(weights.squares, weights.total, noise, methods) if prior.freedom else 0.0
    both = (
        Part(source, joined * (1 - share), prior.freedom + freedom),
        Part(source, joined * share, prior.shared_freedom + freedom),
    )
    return [part for part in both if part.variance > 0] or [both[0]]


def _two_ways(table: Floats) -> tuple[float, float, float]:
    """Variances of the means of rows and of columns, and of what is left, each of a single one."""
    rows, columns = table.shape
    by_row, by_column = mean(table, 1), mean(table, 0)
    of_rows = float(by_row.var(ddof=1)) if rows > 1 else 0.0
    of_columns = float(by_column.var(ddof=1)) if columns > 1 else 0.0
    if rows == 1 or columns == 1:
        return of_rows, of_columns, 0.0
    rest = table - by_row[:, None] - by_column[None, :] + np.nanmean(table)
    return of_rows, of_columns, float(np.nansum(rest**2)) / ((rows - 1) * (columns - 1))


def _by_seed(table: Floats, seeds: Seeds) -> tuple[float, int, float]:
    """Of shared seeds: the variance of their means, how many there are, and what prompts and seeds count twice."""
    present = ~np.isnan(table)
    names, place = np.unique(seeds[present], return_inverse=True)
    values, count = table[present], len(names)
    if count < 2:
        return 0.0, count, 0.0
    sums = np.bincount(place, values - values.mean())
    variance = float((sums**2).sum()) / values.size**2 * count**2 / (count - 1)
    if present.all() and table.shape[1] == count:  # every seed at every prompt
        order = np.argsort(seeds, axis=1)
        *_, rest = _two_ways(np.take_along_axis(table, order, axis=1))
        return variance, count, rest / table.size
    return variance, count, 0.0


def by_seed_means(table: Floats, seeds: Seeds) -> Floats:
    """The mean of each seed: [seeds]. `table`: [prompts, pictures of a prompt]."""
    return np.array([np.nanmean(np.where(seeds == name, table, np.nan)) for name in np.unique(seeds[seeds >= 0])])


def joint(cells: Floats, seeds: Seeds | None, trained: Floats, priors: Priors) -> list[tuple[Floats, float]]:
    """The covariances of the methods' means, part by part, each with its degrees of freedom.

    Args:
        cells: [methods, trainings, prompts, pictures of a prompt], whole but for pictures that no method has.
        seeds: as for `parts`.
        trained: [methods], 1 for what was trained and 0 for the bare base.
        priors: of this criterion.
    """
    table = mean(cells, 3) if cells.shape[2] > 1 else cells[:, :, 0, :]
    table = table[:, :, ~np.isnan(table).any(axis=(0, 1))]
    runs, units = table.shape[1:]
    found: list[tuple[Floats, float]] = []
    if seeds is not None and len(np.unique(seeds[seeds >= 0])) == 1:
        return found
    noise = np.zeros((len(table),) * 2)
    by_run, by_unit = table.mean(axis=2), table.mean(axis=1)
    if runs > 1:
        rest = table - by_run[:, :, None] - by_unit[:, None, :] + by_unit.mean(axis=1)[:, None, None]
        noise = np.einsum("mru,nru->mn", rest, rest) / max((runs - 1) * (units - 1), 1) / units
        found += _joined(_covariance(by_run), runs, trained, priors.trainings, noise)
    doubled = noise / runs
    if seeds is not None and table.shape[2] > 1 and len(np.unique(seeds[seeds >= 0])) > 1:
        means = np.stack([by_seed_means(mean(own, 0), seeds) for own in cells])
        found += _joined(_covariance(means), means.shape[1], trained, priors.seeds, np.zeros_like(noise))
    if units > 1:
        found.append((_positive(_covariance(by_unit) / units - doubled), units - 1))
    return found


def _joined(own: Floats, members: int, trained: Floats, prior: Prior, noise: Floats) -> list[tuple[Floats, float]]:
    """As `_few`, of all methods at once: what each has of its own, and what all share."""
    freedom, every = members - 1, np.outer(trained, trained)
    each = (prior.scale * np.eye(len(own)) + (noise if prior.stated else 0.0)) * every
    if not prior.freedom:
        return [(own / members, freedom)]
    shared = prior.shared * every
    apart = _positive(own - shared) if prior.shared else own
    joined = (prior.freedom * each + freedom * apart) / (prior.freedom + freedom)
    found = [(joined / members, prior.freedom + freedom)]
    return [*found, (shared / members, prior.shared_freedom + freedom)] if prior.shared else found


def _covariance(means: Floats) -> Floats:
    return np.atleast_2d(np.cov(means))


def _positive(matrix: Floats) -> Floats:
    """The nearest matrix that is a covariance."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.maximum(values, 0.0)) @ vectors.T)


def mean(cells: Floats, axis: int) -> Floats:
    """The mean of what is not NaN, and NaN where there is nothing."""
    present = ~np.isnan(cells)
    count = present.sum(axis=axis)
    sums = np.where(present, cells, 0.0).sum(axis=axis)
    return np.where(count > 0, sums / np.maximum(count, 1), np.nan)
