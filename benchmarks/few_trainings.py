"""Few trainings with the stated prior of their spread, and studies that go on until they are decided.

    python -m benchmarks.few_trainings --json docs/verdict/few.json
    python -m benchmarks.few_trainings --growing --count 800 --json docs/verdict/growing.json

Studies are those of `benchmarks.calibration`. The second command looks at the probabilities of last looks alone. It
takes more studies, since at the last look few probabilities are neither near 0 nor near 1.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from itertools import product
from math import sqrt
from pathlib import Path
from typing import Any

from benchmarks.calibration import (
    TRUTHS,
    UNEQUAL,
    budgets_that_grow,
    concepts,
    curve,
    false_claims,
    growing,
    sequential,
    shares,
)
from benchmarks.studies import Shape, Spreads
from triptych.base.description import Description
from triptych.base.opening.loading import EMBEDDED
from triptych.study.prior import as_prior
from triptych.verdict.moderated import NONE, Prior

FEW_TRAININGS = (Shape("two quick studies", 2, 32), Shape("three quick studies", 3, 32), Shape("demo standard", 3, 64))
FAR = (0.03, 0.08, 0.15)  # spreads that every method has; the last is far beyond what the prior states
GROWING_FEW = (Shape("demo quick, two trainings", 2, 128),)


def stated_prior() -> Prior:
    """What the demo base states of its trainings."""
    return as_prior(Description.of(EMBEDDED["demo"], "demo").verdict)


def foretold(prior: Prior) -> Spreads:
    """Spreads between trainings that are drawn from what a prior states."""
    return Spreads(between=(sqrt(prior.scale),), freedom=prior.freedom, run=sqrt(prior.shared))


def pooled_studies(count: int) -> dict[str, Any]:
    """Few trainings with the stated prior and without: where it holds (spreads are drawn from it) and where not."""
    known, rows = stated_prior(), []
    said: list[tuple[float, bool]] = []
    near = foretold(known)
    far = [Spreads(between=between) for between in (*((each,) for each in FAR), UNEQUAL)]
    for shape, spreads in product(FEW_TRAININGS, (near, *far)):
        for prior in (NONE, known):
            wrong = {name: false_claims(shape, truths, spreads, count, prior=prior) for name, truths in TRUTHS.items()}
            kept = concepts(shape, spreads, count, prior=prior)
            said += kept.said if prior.stated and spreads is near else []
            row = {**asdict(shape), "between": list(spreads.between), "drawn": spreads is near}
            rows.append({**row, "prior": prior.stated, **wrong, "grades": shares(kept), "wrong": kept.wrong / count})
            print("few trainings", rows[-1], flush=True)
    until = [sequential(shape, near, count, prior=known) for shape in GROWING_FEW]
    return {"studies": count, "prior": asdict(known), "rows": rows, "answers": curve(said), "sequential": until}


def last_looks(count: int) -> dict[str, Any]:
    """The probabilities at the last look of studies that go on until they are decided, the last with the prior."""
    known = stated_prior()
    rows = [growing(shape, spreads, count) for shape, spreads in budgets_that_grow()]
    return {"rows": [*rows, *(growing(shape, foretold(known), count, prior=known) for shape in GROWING_FEW)]}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=400, help="simulated studies a row")
    parser.add_argument("--growing", action="store_true", help="only studies that go on until they are decided")
    parser.add_argument("--json", type=Path, required=True, help="where the figures go")
    given = parser.parse_args()
    told = (last_looks if given.growing else pooled_studies)(given.count)
    given.json.write_text(json.dumps(told, indent=1) + "\n")
    print(given.json)


if __name__ == "__main__":
    main()
