"""What real studies tell the simulation: how far their values lie apart, and what is claimed of shuffled labels."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from triptych.scores import CONTROLS, Score
from triptych.verdict import MARGINS, judge
from triptych.verdict.evidence import BOTH, Evidence


@dataclass(frozen=True)
class Found:
    """Standard deviations of the headline in real studies; `own`: of a method in a prompt, the picture included."""

    shared: float
    own: float
    between: float
    freedom: int  # of `between`


def found_spreads(studies: Sequence[Sequence[Score]]) -> Found:
    """Of studies of one concept, each with one training of each method and one picture a prompt.

    Components of variance by the method of moments (Searle, 1971, Linear Models); below 0 counts as 0.
    """
    shared, own, means, drawn = [], [], [], []
    for scores in studies:
        evidence = Evidence.of(scores, [], {}, MARGINS, 0)
        cells = np.stack([evidence.tables[BOTH].cells[name].mean(axis=(0, 2)) for name in evidence.singles])
        methods, prompts = cells.shape
        means.append(cells.mean(axis=1) - cells.mean())
        centred = cells - cells.mean(axis=1, keepdims=True)
        rest = ((centred - centred.mean(axis=0)) ** 2).sum() / ((methods - 1) * (prompts - 1))
        own.append(rest)
        shared.append(centred.mean(axis=0).var(ddof=1) - rest / methods)
        drawn.append(rest / prompts)
    between, freedom = 0.0, (len(studies) - 1) * (len(means[0]) - 1)
    if len(studies) > 1:
        between = float(np.array(means).var(axis=0, ddof=1).mean() * methods / (methods - 1) - np.mean(drawn))
    roots = (max(0.0, float(np.mean(one))) ** 0.5 for one in (shared, own, [between]))
    return Found(*roots, freedom)


def shuffled(scores: Sequence[Score], random: np.random.Generator) -> list[Score]:
    """The same values under shuffled names of methods, the bare base left alone: what is found now is false.

    Names change places within every prompt of every training, so that what belongs together stays together.
    """
    methods = sorted({score.method for score in scores} - {*CONTROLS})
    names: defaultdict[tuple[int, str], dict[str, str]] = defaultdict(
        lambda: dict(zip(methods, random.permutation(methods).tolist(), strict=True))
    )
    return [
        replace(score, method=names[score.replicate, score.prompt][score.method]) if score.method in methods else score
        for score in scores
    ]


def shuffled_claims(scores: Sequence[Score], count: int, seed: int = 0) -> dict[str, float]:
    """Criterion -> the share of shuffled studies in which any pair is called better or worse, 0..1."""
    random = np.random.default_rng(seed)
    found: Counter[str] = Counter()
    criteria: set[str] = set()
    for i in range(count):
        told = judge(shuffled(scores, random), [], seed=i).differences
        criteria |= {one.criterion for one in told}
        found.update({one.criterion for one in told if one.decision in ("better", "worse")})
    return {name: found[name] / count for name in sorted(criteria)}
