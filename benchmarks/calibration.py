"""How often the verdict is wrong, and what each budget can see: simulated studies whose truth is known.

    python -m benchmarks.calibration                           # both tables, some minutes
    python -m benchmarks.calibration --scores OUT/scores.jsonl # a real study with its method labels shuffled
    python -m benchmarks.calibration --spreads OUT/blob-cat OUT/night # what is simulated, from folders of real studies

A simulated study has the levels of a real one, in units of normalised fidelity (0: bare base, 1: the real pictures):
what every method shares in a prompt, what a method makes of a prompt, what one training makes of it all, and the
picture seed. The spreads are those of studies of the examples on the demo base; between trainings that of a published
run: DINOv2 similarity moves between .649 and .759 inside one LoRA training (peft's method_comparison), a standard
deviation of some .03, and .08 of the way from floor to ceiling.

A false claim is counted once a study, however many of the six pairs of four methods are wrong.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from triptych.scores import BASE, REAL, Score, read_scores
from triptych.verdict import MARGINS, judge
from triptych.verdict.compare import decide
from triptych.verdict.evidence import SUBJECT, Evidence
from triptych.verdict.intervals import Floats, Resamples

SHARED, METHOD_IN_PROMPT, PICTURE = 0.2, 0.15, 0.2  # standard deviations, by `--spreads`
PUBLISHED, SMALL = 0.08, 0.03  # between trainings
RESAMPLES = 2000


@dataclass(frozen=True)
class Shape:
    """How much a budget measures: training seeds, prompts, pictures of each."""

    name: str
    runs: int
    prompts: int
    seeds: int


SHAPES = (
    Shape("demo quick", 1, 16, 2),
    Shape("demo standard", 3, 16, 2),
    Shape("demo thorough", 5, 16, 6),
    Shape("sd1 quick", 1, 4, 2),
    Shape("sd1 standard", 3, 8, 4),
    Shape("sd1 thorough", 5, 10, 8),
)


@dataclass(frozen=True)
class Simulated:
    """`cells`: [methods, runs, prompts, seeds]; `trained`: [methods], the mean of the trainings that were run."""

    cells: Floats
    trained: Floats


def simulate(shape: Shape, truths: Sequence[float], between: float, random: np.random.Generator) -> Simulated:
    """A study of methods with these true fidelities; `between` is the standard deviation between trainings."""
    methods = len(truths)
    trainings = np.array(truths)[:, None] + random.normal(0, between, (methods, shape.runs))
    cells = trainings[:, :, None, None] + random.normal(0, SHARED, (1, 1, shape.prompts, 1))
    cells = cells + random.normal(0, METHOD_IN_PROMPT, (methods, 1, shape.prompts, 1))
    noise = random.normal(0, PICTURE, (methods, shape.runs, shape.prompts, shape.seeds))
    return Simulated(cells + noise, trainings.mean(axis=1))


def decisions(study: Simulated, resamples: Resamples) -> dict[tuple[str, str], str]:
    """What the verdict says of every pair (methods are "0", "1", ...)."""
    compared = {
        (str(one), str(other)): resamples.estimate(study.cells[one] - study.cells[other])
        for one, other in combinations(range(len(study.cells)), 2)
    }
    return {pair: decision for pair, (decision, *_) in decide(compared, MARGINS.fidelity).items()}


def studies(
    shape: Shape, truths: Sequence[float], between: float, count: int, seed: int = 0
) -> Iterator[tuple[Simulated, dict[tuple[str, str], str]]]:
    random = np.random.default_rng(seed)
    resamples = Resamples((shape.seeds,) * shape.prompts, shape.runs, seed, RESAMPLES)
    for _ in range(count):
        study = simulate(shape, truths, between, random)
        yield study, decisions(study, resamples)


def false_claims(shape: Shape, truths: Sequence[float], between: float, count: int, seed: int = 0) -> float:
    """The share of studies with at least one false claim, 0..1.

    False is "better" or "worse" of equals or the wrong way round, and "no difference" of what differs by the margin.
    With one training the claims are about the trained files, so that `between` is part of the truth.
    """
    wrong = 0
    for study, decided in studies(shape, truths, between, count, seed):
        true = study.trained if shape.runs == 1 else np.array(truths)
        wrong += any(_false(decision, true[int(a)] - true[int(b)]) for (a, b), decision in decided.items())
    return wrong / count


def _false(decision: str, difference: float) -> bool:
    if decision == "no difference":
        return abs(difference) >= MARGINS.fidelity - 1e-12
    return (decision == "better" and difference <= 0) or (decision == "worse" and difference >= 0)


def power(shape: Shape, difference: float, between: float, count: int, seed: int = 0) -> dict[str, float]:
    """The share of each decision on two methods that differ by this much: decision -> 0..1."""
    counts = Counter(decided["0", "1"] for _, decided in studies(shape, (difference, 0.0), between, count, seed))
    return {decision: counts[decision] / count for decision in ("better", "no difference", "undecided", "worse")}


@dataclass(frozen=True)
class Spreads:
    """Standard deviations of normalised fidelity; `between` trainings."""

    shared: float
    method_in_prompt: float
    picture: float
    between: float


def spreads(studies: Sequence[Sequence[Score]]) -> Spreads:
    """Of studies of one concept, each with one training of each method and seeds of its own.

    Components of variance by the method of moments (Searle, 1971, Linear Models); below 0 counts as 0.
    """
    parts, means = [], []
    for scores in studies:
        evidence = Evidence.of(scores, [], {}, MARGINS, 0)
        cells = np.concatenate([evidence.tables[SUBJECT].cells[name] for name in evidence.singles])
        cells = cells / evidence.anchors.gap  # [methods, prompts, seeds]
        methods, prompts, seeds = cells.shape
        means.append(cells.mean(axis=(1, 2)) - cells.mean())
        centred = cells - cells.mean(axis=(1, 2), keepdims=True)
        of_prompt = centred.mean(axis=2)
        picture = ((centred - of_prompt[..., None]) ** 2).sum() / (methods * prompts * (seeds - 1))
        apart = of_prompt - of_prompt.mean(axis=0)
        own = (apart**2).sum() / ((methods - 1) * (prompts - 1)) - picture / seeds
        shared = of_prompt.mean(axis=0).var(ddof=1) - (max(own, 0.0) + picture / seeds) / methods
        parts.append((shared, own, picture, picture / (prompts * seeds)))
    shared, own, picture, drawn = np.mean(parts, axis=0)
    between = np.array(means).var(axis=0, ddof=1).mean() * methods / (methods - 1) - drawn
    return Spreads(*(float(max(0.0, variance)) ** 0.5 for variance in (shared, own, picture, between)))


def shuffled(scores: Sequence[Score], random: np.random.Generator) -> list[Score]:
    """The same values under shuffled names of methods, the bare base left alone: what is found now is false.

    Names change places within every prompt of every training, so that what belongs together stays together.
    """
    methods = sorted({score.method for score in scores} - {BASE, REAL})
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


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=1000, help="simulated studies a row")
    parser.add_argument("--scores", type=Path, help="scores.jsonl of a real study, to shuffle its labels instead")
    parser.add_argument("--spreads", type=Path, nargs="+", help="folders, each with the studies of one concept")
    given = parser.parse_args()
    if given.spreads:
        for folder in given.spreads:
            print(folder.name, spreads([read_scores(path) for path in sorted(folder.glob("*/scores.jsonl"))]))
        return
    if given.scores:
        for criterion, rate in shuffled_claims(read_scores(given.scores), given.count).items():
            print(f"{criterion:<20} any pair called better or worse: {rate:.1%}")
        return
    _false_rates(given.count)
    _powers(given.count)


def _false_rates(count: int) -> None:
    margin = MARGINS.fidelity
    cases = {"all equal": (0.5,) * 4, "apart by the margin": (0.5, 0.5 + margin, 0.5, 0.5 + margin)}
    noise = 1.96 * (0.05 * 0.95 / count) ** 0.5
    print(f"studies with a false claim (of 6 pairs; stated level 5 %; {count} studies, +- {noise:.1%})")
    for shape in SHAPES:
        for between in (0.0, SMALL, PUBLISHED):
            rates = [f"{name} {false_claims(shape, truths, between, count):6.1%}" for name, truths in cases.items()]
            print(f"  {shape.name:<14} spread of trainings {between:.2f}   {'   '.join(rates)}", flush=True)


def _powers(count: int) -> None:
    print("\npower: of two methods, how often each decision, by their true difference in fidelity")
    for shape in SHAPES:
        for between in (SMALL, PUBLISHED):
            if shape.runs == 1 and between == PUBLISHED:
                continue  # one training says nothing of others, whatever their spread
            for difference in (0.0, 0.05, 0.1, 0.2, 0.3):
                shares = power(shape, difference, 0.0 if shape.runs == 1 else between, count)
                told = "   ".join(f"{name} {share:4.0%}" for name, share in shares.items())
                spread = "of these files" if shape.runs == 1 else f"spread {between:.2f}"
                print(f"  {shape.name:<14} {spread:<15} {difference:4.2f}   {told}", flush=True)


if __name__ == "__main__":
    main()
