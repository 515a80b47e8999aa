"""One criterion of all methods on the same axes (training, prompt, picture), and what is known of its variances."""

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..scores import BASE, Score, parts_of
from .intervals import ALPHA, Estimate, Floats
from .moderated import NONE, Prior, common_variance, contradicted, estimated
from .posterior import draws
from .variance import Priors, Seeds, Weights, by_seed_means, chance, joint, mean, parts


class Table:
    """The values of every method, NaN where there is none: (trainings, prompts, pictures of a prompt)."""

    def __init__(
        self,
        cells: Mapping[str, Floats],
        prompts: Sequence[str],
        seeds: Seeds,
        pictures_of: Mapping[str, frozenset[str]] | None = None,
        *,
        prior: Prior = NONE,
        alpha: float = ALPHA,
    ) -> None:
        """
        Args:
            cells: method -> [trainings, prompts, pictures of a prompt].
            prompts: their texts.
            seeds: [prompts, pictures of a prompt]; -1 where a value belongs to no single picture, or there is none.
            pictures_of: method -> the pictures that were looked at.
            prior: of the variance between trainings, where earlier studies tell it.
            alpha: the chance of a false claim that this look may spend.
        """
        self.cells, self.pictures_of, self.alpha = dict(cells), pictures_of or {}, alpha
        self._row = {prompt: row for row, prompt in enumerate(prompts)}
        self._all_seeds, self.stated = seeds, prior
        self._known: dict[tuple[tuple[str, float], ...], Estimate | None] = {}

    @classmethod
    def of(cls, scores: Sequence[Score], *, prior: Prior = NONE, alpha: float = ALPHA) -> "Table":
        runs = sorted({score.replicate for score in scores})
        slots: dict[str, dict[int, int]] = {}
        for score in scores:
            slots.setdefault(score.prompt, {})[_seed(score)] = 0
        prompts = sorted(slots)
        row = {prompt: i for i, prompt in enumerate(prompts)}
        widest = max(map(len, slots.values()))
        seeds = np.full((len(prompts), widest), -1, np.int64)
        for prompt in prompts:
            for slot, seed in enumerate(sorted(slots[prompt])):
                slots[prompt][seed] = slot
                seeds[row[prompt], slot] = seed
        cells: dict[str, Floats] = {}
        shown: dict[str, set[str]] = {}
        for score in scores:
            values = cells.setdefault(score.method, np.full((len(runs), *seeds.shape), np.nan))
            # the bare base knows no training run: its one set of pictures stands beside every run
            run = slice(None) if score.method == BASE else runs.index(score.replicate)
            values[run, row[score.prompt], slots[score.prompt][_seed(score)]] = score.value
            if score.picture:
                shown.setdefault(score.method, set()).add(score.picture)
        pictures = {method: frozenset(paths) for method, paths in shown.items()}
        return cls(cells, prompts, seeds, pictures, prior=prior, alpha=alpha)

    @cached_property
    def seeds(self) -> Seeds | None:
        """[prompts, pictures of a prompt], where the same seed stands at several prompts; else None."""
        known = [set(row[row >= 0].tolist()) for row in self._all_seeds]
        shared = len(known) > 1 and sum(map(len, known)) > len(set().union(*known))
        return self._all_seeds if shared else None

    @cached_property
    def pictures(self) -> int:
        """Of one training run."""
        return int(max((~np.isnan(cells)).any(axis=0).sum() for cells in self.cells.values()))

    @cached_property
    def priors(self) -> Priors:
        """What the methods tell of each other's variances; combinations of them are no trainings of their own."""
        single = [cells for name, cells in self.cells.items() if name != BASE and len(parts_of(name)) == 1]
        if not single:
            return Priors()
        by_training = np.stack([mean(cells.reshape(len(cells), -1), 1) for cells in single])
        trainings, methods = estimated(by_training)
        if self._takes_stated(trainings, by_training, single):
            trainings = self.stated.with_shared(*common_variance(by_training, self.stated.scale))
        shared = NONE
        if self.seeds is not None:
            shared, _ = estimated(np.stack([by_seed_means(mean(cells, 0), self.seeds) for cells in single]))
        return Priors(trainings, shared, methods)

    def _takes_stated(self, own: Prior, by_training: Floats, single: Sequence[Floats]) -> bool:
        """Whether more is known by the stated prior than by the methods' own, and these do not contradict it."""
        noise = float(np.mean([chance(cells) for cells in single]))
        return self.stated.freedom > own.freedom and not contradicted(self.stated, by_training, noise)

    def mean(self, method: str) -> Estimate | None:
        return self.weighed({method: 1.0})

    def difference(self, method: str, other: str) -> Estimate | None:
        """`method` less `other` over what both have; None where they share nothing."""
        return self.weighed({method: 1.0, other: -1.0})

    def weighed(self, weights: Mapping[str, float]) -> Estimate | None:
        """The sum of methods' values times their weights, over what all of them have; None where they share nothing."""
        asked = tuple(sorted(weights.items()))
        if asked not in self._known:
            cells = sum(weight * self.cells[method] for method, weight in asked)
            only_base = all(method == BASE for method, _ in asked)
            self._known[asked] = self._estimate(np.asarray(cells)[: 1 if only_base else None], weights)
        return self._known[asked]

    def mean_over(self, method: str, prompts: Sequence[str]) -> Estimate | None:
        """Over some of the prompts; None where nothing was measured there."""
        chosen = [self._row[prompt] for prompt in prompts if prompt in self._row]
        cells = np.full_like(self.cells[method], np.nan)
        cells[:, chosen] = self.cells[method][:, chosen]
        return self._estimate(cells, {method: 1.0})

    def posterior(self, methods: Sequence[str], seed: int) -> dict[str, Floats] | None:
        """Draws of the methods' true means, all at once; None where they share nothing, or nothing is known."""
        cells = np.stack([self.cells[name] for name in methods])
        whole: NDArray[np.bool_] = np.asarray(~np.isnan(cells).any(axis=0))
        runs = whole.reshape(len(whole), -1).any(axis=1)  # a training that failed is left out
        by_prompt = np.asarray(whole[runs].any(axis=2))  # trainings may have other pictures of a prompt
        prompts: NDArray[np.bool_] = np.asarray(by_prompt.all(axis=0))
        if not runs.any() or not prompts.any():
            return None
        cells = np.where(whole & prompts[:, None], cells, np.nan)[:, runs]
        trained = np.array([float(name != BASE) for name in methods])
        covariances = joint(cells, self.seeds, trained, self.priors)
        if not covariances:
            return None
        drawn = draws(np.nanmean(cells, axis=(1, 2, 3)), covariances, seed)
        return dict(zip(methods, drawn, strict=True))

    def _estimate(self, cells: Floats, weights: Mapping[str, float]) -> Estimate | None:
        present = ~np.isnan(cells)
        if not present.any():
            return None
        trained = Weights.of([weight for name, weight in weights.items() if name != BASE])
        found = parts(cells, self.seeds, trained, self.priors)
        return Estimate(float(cells[present].mean()), int(present.sum()), found, self.alpha)


def _seed(score: Score) -> int:
    return -1 if score.seed is None else score.seed
