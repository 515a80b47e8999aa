"""How far trainings lie apart that differ in their seed alone: estimated on some concepts, checked on another.

    python -m benchmarks.prior OUT/blob-cat OUT/night ... --json docs/verdict/prior.json

Each folder has the studies of one concept, whose seeds differ. The rule, fixed before any figure was seen:

1. Everything is in the headline, of single methods, without combinations.
2. Of a concept with M methods and R trainings of each, what all methods share in a training is taken off. What is left
   of a method has a variance v of R - 1 degrees of freedom, times M / (M - 1) for what was taken off.
3. v is expected as spread^2 + the chance of the pictures, which the differences between prompts tell. Methods differ:
   v over what is expected is taken as F-distributed with R - 1 and d0 degrees of freedom (Smyth 2004, section 3).
   spread and d0 are those of the largest likelihood over all methods of all concepts.
4. The spread is itself known by n = sum of (M - 1)(R - 1) degrees of freedom alone. So 1 / freedom = 1 / d0 + 1 / n.
5. What all methods share: the variance of their mean over trainings less the methods' part in it, the mean over
   concepts, 0 or more. Its degrees of freedom are the sum of R - 1.
6. Stated are spreads rounded up to hundredths, and degrees of freedom rounded down.
7. It is checked by leaving one concept out: how often two trainings of it differ in a pair of methods by less than the
   prior from all other concepts foretells for 50, 80 and 95 % of pairs. Of six concepts with some ten pairs each, which
   hang together, the shares may be off by ten points by chance.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from math import ceil, floor, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from scipy import optimize, stats

from triptych.base.description import Trainings
from triptych.study.joining import scores_of
from triptych.verdict import MARGINS
from triptych.verdict.evidence import BOTH, Evidence
from triptych.verdict.intervals import Floats
from triptych.verdict.moderated import common_variance
from triptych.verdict.variance import mean

SHARES = (0.5, 0.8, 0.95)
LARGEST = 1e3  # degrees of freedom: as good as no difference between methods


@dataclass(frozen=True)
class Spread:
    """What the trainings of one concept tell. means: [methods, trainings]; noise: [methods], the pictures' variance."""

    concept: str
    methods: tuple[str, ...]
    means: Floats
    noise: Floats

    @property
    def variances(self) -> Floats:
        """[methods], between trainings, without what all share."""
        apart = self.means - self.means.mean(axis=0)
        found = apart.var(axis=1, ddof=1)
        return np.asarray(found * len(self.methods) / (len(self.methods) - 1))

    @property
    def trainings(self) -> int:
        return int(self.means.shape[1])


def spread_of(folder: Path) -> Spread:
    """Of the studies in a folder."""
    studies = sorted(path.parent for path in folder.glob("*/scores.jsonl"))
    evidence = Evidence.of(scores_of(studies), [], {}, MARGINS, 0)
    means, noise = [], []
    for name in evidence.singles:
        table = mean(evidence.tables[BOTH].cells[name], 2)  # [trainings, prompts]
        runs, prompts = table.shape
        rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
        means.append(table.mean(axis=1))
        noise.append(float((rest**2).sum()) / ((runs - 1) * (prompts - 1)) / prompts)
    return Spread(folder.name, evidence.singles, np.array(means), np.array(noise))


def fitted(spreads: Sequence[Spread]) -> Trainings:
    """The prior, by rules 3 to 6."""
    variances = np.concatenate([one.variances for one in spreads])
    noise = np.concatenate([one.noise for one in spreads])
    own = np.concatenate([np.full(len(one.methods), one.trainings - 1) for one in spreads])

    def unlikely(logs: Floats) -> float:
        expected, freedom = np.exp(logs[0]) + noise, np.exp(logs[1])
        return float(np.sum(np.log(expected) - stats.f.logpdf(variances / expected, own, freedom)))

    bounds = [(np.log(1e-6), np.log(1.0)), (np.log(1.0), np.log(LARGEST))]
    begins = [(np.log(scale), np.log(freedom)) for scale in (1e-3, 1e-2) for freedom in (3.0, 30.0)]
    found = min(
        (optimize.minimize(unlikely, begin, bounds=bounds, method="L-BFGS-B") for begin in begins),
        key=lambda result: result.fun,
    )
    scale, methods = (float(np.exp(value)) for value in found.x)
    known = sum((len(one.methods) - 1) * (one.trainings - 1) for one in spreads)
    shared = [common_variance(one.means, scale + float(one.noise.mean())) for one in spreads]
    variance = float(np.mean([each for each, _ in shared]))
    return Trainings(
        freedom=floor(1 / (1 / methods + 1 / known)), spread=_up(sqrt(scale)),
        shared_freedom=sum(freedom for _, freedom in shared), shared=_up(sqrt(variance)),
    )  # fmt: skip


def _up(value: float) -> float:
    return ceil(round(100 * value, 6)) / 100


def inside(prior: Trainings, one: Spread) -> tuple[dict[float, int], int]:
    """For each share, in how many pairs of methods two trainings differ by less than is foretold; and of how many."""
    counts, pairs = dict.fromkeys(SHARES, 0), 0
    for first, second in combinations(range(len(one.methods)), 2):
        apart = one.means[first] - one.means[second]
        variance = 2 * prior.spread**2 + one.noise[first] + one.noise[second]
        for earlier, later in combinations(range(one.trainings), 2):
            distance = abs(apart[earlier] - apart[later]) / sqrt(2 * variance)
            pairs += 1
            for share in SHARES:
                counts[share] += bool(distance < stats.t.ppf((1 + share) / 2, prior.freedom))
    return counts, pairs


def told(folders: Sequence[Path]) -> dict[str, Any]:
    """Everything that is found."""
    spreads = [spread_of(folder) for folder in folders]
    rows, sums, of = [], dict.fromkeys(SHARES, 0), 0
    for one in spreads:
        prior = fitted([other for other in spreads if other is not one])
        counts, pairs = inside(prior, one)
        own = max(0.0, float((one.variances - one.noise).mean()))
        rows.append(
            {"concept": one.concept, "methods": len(one.methods), "trainings": one.trainings,
             "own_spread": round(sqrt(own), 3), "pictures": round(sqrt(float(one.noise.mean())), 3),
             "others": asdict(prior), "inside": {str(share): counts[share] for share in SHARES}, "pairs": pairs}
        )  # fmt: skip
        sums, of = {share: sums[share] + counts[share] for share in SHARES}, of + pairs
    return {
        "prior": asdict(fitted(spreads)), "concepts": rows,
        "inside": {str(share): round(sums[share] / of, 3) for share in SHARES}, "pairs": of,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", help="one a concept, with the studies of several seeds in it")
    parser.add_argument("--json", type=Path, help="where the figures go")
    given = parser.parse_args()
    text = json.dumps({"command": "python -m benchmarks.prior OUT/*", **told(given.folders)}, indent=1) + "\n"
    print(text, end="")
    if given.json:
        given.json.write_text(text)


if __name__ == "__main__":
    main()
