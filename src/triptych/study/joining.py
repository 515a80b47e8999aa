"""Several studies of one concept, judged as one: each study is a training of it, with pictures of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ..base.description import Trainings
from ..report.reading import read
from ..scores import REAL, Score, read_scores
from ..verdict import Verdict, judge
from .prior import as_prior


def judged_as_one(studies: Sequence[Path]) -> Verdict:
    """The verdict on the studies in some folders, with what the first of them took as known of the spread of trainings.

    Raises:
        TriptychError: a file of a study cannot be read.
    """
    first = read(studies[0])
    costs = list(first.verdict.costs.values())
    return judge(scores_of(studies), costs, prior=as_prior(Trainings(**first.study.prior)))


def scores_of(studies: Sequence[Path]) -> list[Score]:
    """The scores in the folders of studies of one concept, whose seeds differ: a replicate for each training of each.

    The real pictures are the same in every study, and count once.
    """
    return list(_scores(studies))


def _scores(studies: Sequence[Path]) -> Iterator[Score]:
    before = 0
    for number, folder in enumerate(studies):
        scores = read_scores(folder / "scores.jsonl")
        yield from (
            replace(score, replicate=score.replicate + before) for score in scores if score.method != REAL or not number
        )
        before += 1 + max((score.replicate for score in scores), default=-1)
