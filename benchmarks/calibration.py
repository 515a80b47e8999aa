"""How often the verdict is wrong, what each budget can see, and how often a stated probability comes true.

    python -m benchmarks.calibration --json docs/verdict/simulated.json   # simulate everything, some minutes
    python -m benchmarks.calibration --page                               # write docs/verdict.md from what is there
    python -m benchmarks.calibration --scores OUT/scores.jsonl --json docs/verdict/shuffled.json
                                                                          # a real study with its method labels shuffled
    python -m benchmarks.calibration --spreads OUT/blob-cat OUT/night     # what is simulated, from folders of studies

Studies are those of `benchmarks.studies`. A false claim is counted once a study, however many of the six pairs of four
methods, or of the three answers, are wrong. The truth of an answer is that of its own statement (`verdict.statements`).
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.calibration_page import FOLDER, PAGE, page
from benchmarks.real_studies import found_spreads, shuffled_claims
from benchmarks.studies import METHODS, Shape, Simulated, Spreads, blocks, fixed, population, simulate
from triptych.scores import read_scores
from triptych.verdict import MARGINS, Answer
from triptych.verdict.answers import HEAVY, LIGHT, MIDDLE, answers, lightness
from triptych.verdict.compare import decide
from triptych.verdict.evidence import BOTH, PRESERVATION, Evidence
from triptych.verdict.intervals import Floats
from triptych.verdict.looks import SHARES, alphas
from triptych.verdict.moderated import NONE, Prior
from triptych.verdict.recommend import choose
from triptych.verdict.settling import answer_settled, choice_settled
from triptych.verdict.statements import Means, Statement, enough, excessive, middle
from triptych.verdict.values import CONVINCED
from triptych.verdict.weighing import worth

BETWEEN = (0.0, 0.03, 0.08)  # trainings: alike, as on the demo base, as in a published run (peft's method_comparison)
UNEQUAL = (0.03, 0.03, 0.08, 0.08)  # some methods more than others
BUDGETS = (
    Shape("demo quick", 1, 32),
    Shape("demo standard", 3, 64),
    Shape("demo thorough", 5, 128),
    Shape("sd1 quick", 1, 16),
    Shape("sd1 standard", 3, 32),
    Shape("sd1 thorough", 5, 80),
)
SHARED = (
    Shape("one seed for all", 1, 32, 1, crossed=True),
    Shape("two seeds", 1, 16, 2, crossed=True),
    Shape("two seeds", 3, 16, 2, crossed=True),
    Shape("six seeds", 5, 10, 6, crossed=True),
)
EQUAL, APART = (0.5,) * 4, (0.5, 0.5 + MARGINS.both + 1e-9, 0.5, 0.5 + MARGINS.both + 1e-9)
ALIKE = (0.7,) * 4  # in preservation, where every claim about it is false
GROWING = (Shape("demo quick", 1, 128), Shape("demo standard", 3, 256))  # what may be drawn until it is decided
BINS = 10
FEW, NOISY = Shape("few", 1, 16), Spreads(method_in_prompt=0.3, picture=0.4)  # of which regret is seldom small


def decisions(evidence: Evidence) -> dict[tuple[str, str], str]:
    """What the verdict says of every pair in the headline."""
    pairs = {pair: difference for pair in combinations(METHODS, 2) if (difference := evidence.both(*pair))}
    return {pair: decision for pair, (decision, *_) in decide(pairs, MARGINS.both).items()}


def stated(evidence: Evidence, means: Means) -> dict[str, Statement]:
    """The statements of the three questions, in the names of the answers."""
    others = {name: [other for other in METHODS if other != name] for name in METHODS}
    sizes = partial(lightness, evidence, MIDDLE)
    return {
        "textual_inversion_is_enough": enough(means, LIGHT, others[LIGHT]),
        "dreambooth_is_excessive": excessive(means, HEAVY, others[HEAVY]),
        "hypernetwork_is_a_middle_ground": middle(means, (LIGHT, HEAVY), MIDDLE, others[MIDDLE], sizes),
    }


def false_pairs(told: dict[tuple[str, str], str], truth: Means) -> bool:
    return any(_false(decision, float(truth.ahead(*pair)[0])) for pair, decision in told.items())


def _false(decision: str, difference: float) -> bool:
    """ "Better" or "worse" of equals or the wrong way round, and "no difference" of what differs by the margin."""
    if decision == "no difference":
        return abs(difference) >= MARGINS.both - 1e-12
    return (decision == "better" and difference <= 0) or (decision == "worse" and difference >= 0)


def false_answers(told: dict[str, Answer], truths: dict[str, Statement]) -> bool:
    """Whether any yes or no is wrong."""
    return any(
        (answer.answer == "yes" and not truths[name].yes[0]) or (answer.answer == "no" and not truths[name].no[0])
        for name, answer in told.items()
    )


def studies(
    shape: Shape, truths: Sequence[float], spreads: Spreads, count: int, seed: int = 0, calm: Sequence[float] = ALIKE
) -> Iterator[tuple[Simulated, int]]:
    """Studies of methods with fixed truths, one after the other: the block it is in, and its place there."""
    random = np.random.default_rng(seed)
    for size in blocks(count):
        block = simulate(shape, fixed(truths, size), spreads, random, fixed(calm, size))
        yield from ((block, place) for place in range(size))


def false_claims(
    shape: Shape, truths: Sequence[float], spreads: Spreads, count: int, seed: int = 0, prior: Prior = NONE
) -> tuple[float, float]:
    """The shares of studies with a false claim about any pair, and with a false yes or no, 0..1."""
    pairs = questions = 0
    for block, place in studies(shape, truths, spreads, count, seed):
        evidence, truth = block.evidence(place, prior=prior), block.truth(place)
        pairs += false_pairs(decisions(evidence), truth)
        questions += false_answers(answers(evidence), stated(evidence, truth))
    return pairs / count, questions / count


def power(shape: Shape, difference: float, spreads: Spreads, count: int, seed: int = 0) -> dict[str, float]:
    """The share of each decision on two methods that differ by this much, among four: decision -> 0..1."""
    truths = (0.4, 0.2, 0.4 + difference, 0.2)
    counts: Counter[str] = Counter()
    for block, place in studies(shape, truths, spreads, count, seed):
        counts[decisions(block.evidence(place))[METHODS[0], METHODS[2]]] += 1
    return {name: counts[name] / count for name in ("better", "no difference", "undecided", "worse")}


@dataclass
class Kept:
    """What is counted over studies of a population of concepts: predicted probability, and whether it came true."""

    said: list[tuple[float, bool]]
    risks: list[tuple[float, bool]]
    grades: Counter[str]
    wrong: int = 0


def concepts(shape: Shape, spreads: Spreads, count: int, seed: int = 0, prior: Prior = NONE) -> Kept:
    """Answers and recommendations of studies whose truths are drawn from a population."""
    random, kept = np.random.default_rng(seed), Kept([], [], Counter())
    for size in blocks(count):
        both, calm = population(size, random)
        block = simulate(shape, both, spreads, random, calm)
        for place in range(size):
            count_one(kept, block.evidence(place, prior=prior, seed=place), block.truth(place))
    return kept


def count_one(kept: Kept, evidence: Evidence, truth: Means) -> None:
    truths, told = stated(evidence, truth), answers(evidence)
    if BOTH in evidence.draws:
        drawn = stated(evidence, Means(evidence.draws[BOTH], evidence.draws[PRESERVATION], MARGINS))
        for name, statement in drawn.items():
            kept.said.append((float(statement.yes.mean()), bool(truths[name].yes[0])))
            kept.said.append((float(statement.no.mean()), bool(truths[name].no[0])))
    kept.grades.update(grade(answer) for answer in told.values())
    kept.wrong += false_answers(told, truths)
    choice = choose(evidence, "fidelity")
    if choice.method and choice.regret is not None:
        values = {name: (worth(evidence, "fidelity", name) or 0.0) * truth.both[name][0] for name in METHODS}
        kept.risks.append((choice.regret, bool(max(values.values()) - values[choice.method] > MARGINS.both)))


def grade(answer: Answer) -> str:
    if answer.answer in ("probably", "probably not") and (answer.probability or 0.0) >= CONVINCED:
        return "probably, 90 % and more"
    return {"probably not": "probably", "yes": "decided", "no": "decided"}.get(answer.answer, answer.answer)


def curve(pairs: Sequence[tuple[float, bool]], bins: int = BINS) -> list[dict[str, float]]:
    """By bins of the predicted probability: how many, the mean prediction, and the share that came true."""
    said, true = np.array(pairs, float).T
    place = np.minimum((said * bins).astype(int), bins - 1)
    return [
        {"count": int((place == at).sum()), "predicted": _mean(said[place == at]), "true": _mean(true[place == at])}
        for at in range(bins)
        if (place == at).any()
    ]


def _mean(values: Floats) -> float:
    return round(float(values.mean()), 4)


def until_decided(block: Simulated, study: int, prior: Prior = NONE) -> tuple[int, Evidence, bool]:
    """A study that looks after a quarter, a half and all of its prompts.

    Returns:
        the prompts at its last look, its evidence there, and whether any look claimed something false.
    """
    truth, wrong = block.truth(study), False
    for share, alpha in zip(SHARES, alphas(), strict=True):
        prompts = round(share * block.shape.prompts)
        evidence = block.evidence(study, prompts, alpha, prior, seed=study)
        told, choice = answers(evidence), choose(evidence, "fidelity")
        wrong |= false_pairs(decisions(evidence), truth) or false_answers(told, stated(evidence, truth))
        if all(map(answer_settled, told.values())) and choice_settled(choice):
            break
    return prompts, evidence, wrong


def sequential(shape: Shape, spreads: Spreads, count: int, seed: int = 0, prior: Prior = NONE) -> dict[str, Any]:
    """Studies that go on until they are decided: false claims where all are equal and a margin apart, and concepts."""
    wrong = {}
    for name, truths in (("equal", EQUAL), ("margin", APART)):
        each = studies(shape, truths, spreads, count, seed)
        told = [until_decided(block, place, prior)[2] for block, place in each]
        wrong[name] = sum(told) / count
    return {**growing(shape, spreads, count, seed, prior), **wrong}


def growing(shape: Shape, spreads: Spreads, count: int, seed: int = 0, prior: Prior = NONE) -> dict[str, Any]:
    """Studies of concepts that go on until they are decided: their answers, and whether probabilities came true."""
    random, kept, drawn = np.random.default_rng(seed), Kept([], [], Counter()), []
    for size in blocks(count):
        both, calm = population(size, random)
        block = simulate(shape, both, spreads, random, calm)
        for place in range(size):
            prompts, evidence, _ = until_decided(block, place, prior)
            drawn.append(prompts)
            count_one(kept, evidence, block.truth(place))
    return {
        "budget": shape.name, "runs": shape.runs, "most": shape.prompts, "between": spreads.between[0],
        "prior": prior.stated, "studies": count, "prompts": float(np.mean(drawn)), "grades": shares(kept),
        "said": curve(kept.said),
    }  # fmt: skip


def shares(kept: Kept) -> dict[str, float]:
    total = sum(kept.grades.values())
    return {
        name: kept.grades[name] / total for name in ("decided", "probably, 90 % and more", "probably", "cannot tell")
    }


def report(count: int) -> dict[str, Any]:
    """Everything that is simulated."""
    told: dict[str, Any] = {"studies": count, "spreads": asdict(Spreads()), "false": [], "power": [], "concepts": []}
    said: list[tuple[float, bool]] = []
    risks: list[tuple[float, bool]] = []
    for shape in (*BUDGETS, *SHARED):
        own = [(spread,) for spread in BETWEEN] + ([UNEQUAL] if shape.runs > 1 else [])
        for between in own if not shape.crossed else [(0.03,)]:
            spreads = Spreads(between=between)
            if shape.crossed:
                spreads = replace(spreads, seed=0.05, method_in_seed=0.1)
            found = {name: false_claims(shape, truths, spreads, count) for name, truths in TRUTHS.items()}
            told["false"].append({**asdict(shape), "between": list(between), **found})
            print("false claims", shape, between, found, flush=True)
    for shape in BUDGETS:
        for spread in (0.0,) if shape.runs == 1 else BETWEEN[1:]:
            found_power = {str(by): power(shape, by, Spreads(between=(spread,)), count) for by in (0.0, 0.1, 0.2, 0.3)}
            told["power"].append({**asdict(shape), "between": spread, "decisions": found_power})
            kept = concepts(shape, Spreads(between=(spread,)), count)
            said, risks = said + kept.said, risks + kept.risks
            told["concepts"].append(
                {**asdict(shape), "between": spread, "grades": shares(kept), "false": kept.wrong / count}
            )
            print("concepts", shape, spread, shares(kept), flush=True)
    few = concepts(FEW, NOISY, 5 * count, seed=1)
    told["answers"], told["regret"] = curve(said), curve(risks + few.risks, 5)
    told["sequential"] = [sequential(shape, spreads, count) for shape, spreads in budgets_that_grow()]
    return told


def budgets_that_grow() -> Iterator[tuple[Shape, Spreads]]:
    for shape in GROWING:
        for spread in (0.0,) if shape.runs == 1 else BETWEEN[1:]:
            yield shape, Spreads(between=(spread,))


TRUTHS = {"equal": EQUAL, "margin": APART}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=400, help="simulated studies a row, or shuffles")
    parser.add_argument("--scores", type=Path, help="scores.jsonl of a real study, to shuffle its labels instead")
    parser.add_argument("--spreads", type=Path, nargs="+", help="folders, each with the studies of one concept")
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--page", action="store_true", help="write docs/verdict.md, simulate nothing")
    given = parser.parse_args()
    if given.page:
        PAGE.write_text(page(FOLDER), encoding="utf-8")
        return
    if given.spreads:
        for folder in given.spreads:
            print(folder.name, found_spreads([read_scores(path) for path in sorted(folder.glob("**/scores.jsonl"))]))
        return
    if given.scores:
        rates = shuffled_claims(read_scores(given.scores), given.count)
        told: dict[str, Any] = {"study": given.scores.parent.name, "shuffles": given.count, "criteria": rates}
    else:
        told = report(given.count)
    text = json.dumps(told, indent=1) + "\n"
    print(text, end="")
    if given.json:
        given.json.write_text(text)


if __name__ == "__main__":
    main()
