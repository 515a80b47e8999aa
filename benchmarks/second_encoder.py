"""What a second image encoder would change in finished studies, and what it takes.

    python -m benchmarks.second_encoder STUDY... --encoder efficientnet-lite0-plain

Every study is judged by its own encoder's scores, and once more with the likeness by the other. Printed are the answers
of both, what no longer counts as sure, the recommendations that differ, how well each encoder tells the concept's own
pictures from the bare base's, and the seconds that the likeness of both takes in this process. Nothing is written.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from triptych.base import Base
from triptych.metrics import Evidence, Shown, metrics
from triptych.metrics.encoders import ImageEncoder, open_encoder
from triptych.metrics.world import World
from triptych.scores import Score, read_scores
from triptych.study import plan as plans
from triptych.study.measuring import LIKENESS
from triptych.verdict import Verdict, judge
from triptych.verdict.second_encoders import agreed, leans
from triptych.verdict.summary import QUESTIONS, graded

ROLES = {"subject_fidelity": "concept", "leakage": "class", "portability": "other-base"}  # criterion -> its pictures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="+", type=Path)
    parser.add_argument("--encoder", default="efficientnet-lite0-plain")
    parser.add_argument("--folders", type=Path, help="where the studies' folders of pictures are now, by their names")
    asked = parser.parse_args()
    bases: dict[str, Base] = {}
    for study in asked.studies:
        plan = plans.read(study)
        if asked.folders:
            plan = replace(plan, folder=asked.folders / plan.folder.name)
        base = bases.setdefault(plan.place.source, plan.place.open())
        _report(study, plan, base, open_encoder(asked.encoder, "image"))


def _report(study: Path, plan: plans.Plan, base: Base, second: ImageEncoder) -> None:
    scores = read_scores(study / "scores.jsonl")
    costs = [*Verdict.from_json((study / "verdict.json").read_text()).costs.values()]
    first = open_encoder(base.description.image_encoders(plan.concept().kind)[0], "image")
    theirs, seconds = _likeness(study, plan, base, second, scores)
    _, again = _likeness(study, plan, base, first, scores)
    rest = [score for score in scores if score.metric not in LIKENESS]
    mine, other = (judge(own, costs, need=plan.need, seed=plan.seed) for own in (scores, [*theirs, *rest]))
    taken = f"{again:.1f} s by {first.name}, {seconds:.1f} s by {second.name}"
    print(f"## {study.parent.name}/{study.name}: likeness takes {taken}")
    for name, verdict in ((first.name, mine), (second.name, other)):
        ends = [end.value for end in (verdict.anchors.floor, verdict.anchors.ceiling) if end]
        print(f"{name}: floor and ceiling {ends}{'' if verdict.anchors.usable else ', which are not apart'}")
        print(
            "   " + ", ".join(f"{row} {own['both'].value:.2f}" for row, own in verdict.methods.items() if "both" in own)
        )
    _compare(mine, other, agreed(mine, other, second.name))


def _compare(mine: Verdict, other: Verdict, both: Verdict) -> None:
    for key, (_, asked) in QUESTIONS.items():
        if key in mine.answers and key in other.answers:
            weaker = both.answers[key].answer != mine.answers[key].answer
            against = leans(other.answers[key]) is (not leans(mine.answers[key]))
            print(
                f"{asked} {graded(mine.answers[key])} | {graded(other.answers[key])}"
                f"{' | leans the other way' if against else ''}{' | weakened' if weaker else ''}"
            )
    for need, choice in mine.recommendation.by_need.items():
        theirs = other.recommendation.by_need[need].method
        print(f"{need}: {choice.method} | {theirs}{'' if theirs == choice.method else ' | differs'}")


def _likeness(
    study: Path, plan: plans.Plan, base: Base, encoder: ImageEncoder, scores: Sequence[Score]
) -> tuple[list[Score], float]:
    """The scores of likeness by an encoder, and the seconds that it took to encode the pictures."""
    concept = plan.concept()
    redrawn = [[picture] for picture in base.redraw(concept.images(base.resolution))]
    shown = [
        Shown(
            score.method,
            score.replicate,
            ROLES[score.metric],
            score.prompt,
            score.seed or 0,
            study / score.picture,
            score.picture,
        )
        for score in scores
        if score.metric in ROLES and score.picture
    ]
    began = time.perf_counter()
    evidence = Evidence(
        concept, shown, encoder, base.resolution, None, World.open(base.folder) if base.folder else None, redrawn
    )
    found = [score for name in LIKENESS for score in metrics()[name].measure(evidence)]
    return found, time.perf_counter() - began


if __name__ == "__main__":
    main()
