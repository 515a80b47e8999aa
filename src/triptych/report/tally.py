"""What people saw, beside what the encoders measured. The verdict does not change by it.

Intervals of shares are Jeffreys' (Brown, Cai and DasGupta 2001, Interval estimation for a binomial proportion). Whether
a majority may be chance is told by the exact sign test; over several pairs of methods, corrected by Holm.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from scipy.special import bdtr, betaincinv

from ..errors import TriptychError
from ..metrics import metrics
from ..metrics.components import PREFIX
from ..verdict import Verdict
from ..verdict.evidence import BOTH, PROMPT, SUBJECT, headline
from ..verdict.intervals import ALPHA, Interval
from ..verdict.multiple import holm, sure
from ..verdict.values import Comparison
from ..verdict.words import inside, percent
from .ballot import Shown, shown
from .grid import scores_of
from .reading import Reading
from .table import criterion_named
from .votes import Vote, Votes, read_votes

Levels = Mapping[str, Mapping[tuple[str, str, int], float]]  # criterion -> row, prompt, seed -> value, more is better


@dataclass(frozen=True)
class Share:
    """`count` of `of`, with the 95 % interval of the share behind it."""

    count: int
    of: int

    @property
    def interval(self) -> Interval:
        """Jeffreys' interval, 0..1; all of it where there is nothing."""
        count, rest = self.count, self.of - self.count
        low = float(betaincinv(count + 0.5, rest + 0.5, ALPHA / 2)) if count else 0.0
        high = float(betaincinv(count + 0.5, rest + 0.5, 1 - ALPHA / 2)) if rest else 1.0
        return Interval(count / self.of if self.of else 0.5, low, high, self.of)

    @property
    def p(self) -> float:
        """The two-sided p-value of the sign test, 0..1: how easily a fair coin is as far from half."""
        return min(1.0, 2 * float(bdtr(min(self.count, self.of - self.count), self.of, 0.5)))

    def __str__(self) -> str:
        ends = f"{percent(self.interval.low)} to {percent(self.interval.high)}"
        return f"{self.count} of {self.of} ({ends})" if self.of else "none"


@dataclass(frozen=True)
class Preference:
    """How often people took `method` rather than `other`, among those who could tell.

    `decision`: the verdict's on the headline figure. `otherwise`: people mostly took the other than the verdict does.
    """

    method: str
    other: str
    share: Share
    cannot_tell: int
    decision: Comparison | None
    otherwise: bool


@dataclass(frozen=True)
class Agreement:
    """Of how many pairs of pictures a criterion prefers the picture that people took."""

    criterion: str
    title: str
    share: Share


@dataclass(frozen=True)
class Tally:
    """What people preferred, and how far the encoders agree with them."""

    voters: tuple[Votes, ...]
    preferences: tuple[Preference, ...]
    agreements: tuple[Agreement, ...]  # the headline figure first
    warnings: tuple[str, ...]

    def lines(self) -> list[str]:
        """For the console: who voted, the agreement with the headline figure, and the warnings."""
        told = [
            f"{len(voter.votes)} votes by {voter.who or 'somebody'}, {voter.when}"
            + ("" if voter.before_reading else "; the page was open before the vote, so its figures may have been seen")
            for voter in self.voters
        ]
        told += [
            f"{agreement.title} agrees in {agreement.share}"
            for agreement in self.agreements
            if agreement.criterion == BOTH
        ]
        return told + [f"beware: {sentence}" for sentence in self.warnings]


def tally(reading: Reading, folder: Path, files: Sequence[Path]) -> Tally | None:
    """The votes in files, counted; None without files.

    Raises:
        TriptychError: a file cannot be read, is about another study, or is given twice.
    """
    if not files:
        return None
    known, voters = shown(reading, folder), list[Votes]()
    for path in files:
        read = read_votes(path, folder, known)
        if read in voters:
            raise TriptychError(f"the votes in {path} are given twice")
        voters.append(read)
    votes = [vote for voter in voters for vote in voter.votes]
    preferences = _preferences(votes, reading.verdict)
    return Tally(
        tuple(voters), tuple(preferences), tuple(_agreements(votes, _levels(reading, folder, known))),
        tuple(_warnings(preferences, reading.verdict)),
    )  # fmt: skip


def _preferences(votes: Sequence[Vote], verdict: Verdict) -> list[Preference]:
    """One per pair of methods, the recommended one first, then in the study's order."""
    pick, found = verdict.recommendation.choice.method, []
    ranked = sorted(verdict.methods, key=lambda name: name != pick)
    for method, other in combinations(ranked, 2):
        mine = [vote for vote in votes if {vote.pair.left, vote.pair.right} == {method, other}]
        taken = [vote.preferred for vote in mine]
        share = Share(taken.count(method), len(taken) - taken.count(None))
        decision = _decision(verdict, method, other)
        said = {"better": 1, "worse": -1}.get(decision or "", 1 if method == pick else 0)
        if mine:
            otherwise = said * (2 * share.count - share.of) < 0
            found.append(Preference(method, other, share, taken.count(None), decision, otherwise))
    return found


def _decision(verdict: Verdict, method: str, other: str) -> Comparison | None:
    turned: dict[Comparison, Comparison] = {"better": "worse", "worse": "better"}
    for difference in verdict.differences:
        if difference.criterion == BOTH and (difference.method, difference.other) == (method, other):
            return difference.decision
        if difference.criterion == BOTH and (difference.method, difference.other) == (other, method):
            return turned.get(difference.decision, difference.decision)
    return None


def _warnings(preferences: Sequence[Preference], verdict: Verdict) -> list[str]:
    """Where people see it otherwise than the verdict, and whether that may be chance."""
    pick, found = verdict.recommendation.choice.method, []
    of_pick = [pair.share for pair in preferences if pair.method == pick]
    whole = Share(sum(taken.count for taken in of_pick), sum(taken.of for taken in of_pick))
    if pick and 2 * whole.count < whole.of:
        found.append(
            f"By eye, {inside(pick)}, which is recommended, was taken in only {whole} of its votes. {_chance(whole.p)}"
        )
    doubts = holm({(pair.method, pair.other): pair.share.p for pair in preferences})
    for pair in preferences:
        if pair.otherwise:
            less = Share(pair.share.of - pair.share.count, pair.share.of)
            better, worse, share = (
                (pair.other, pair.method, less)
                if less.count > pair.share.count
                else (pair.method, pair.other, pair.share)
            )
            told = inside(worse)
            verdict_says = f"finds {told} better" if pair.decision in ("better", "worse") else f"recommends {told}"
            found.append(
                f"By eye, {inside(better)} was taken rather than {told} in {share}; the verdict {verdict_says}."
                f" {_chance(doubts[pair.method, pair.other])}"
            )
    return found


def _chance(p: float) -> str:
    return f"Chance alone hardly does this (sign test, p = {p:.2g})." if sure(p) else "So few votes may be chance."


def _levels(reading: Reading, folder: Path, known: Shown) -> Levels:
    """Every criterion of single pictures, and the headline figure."""
    scores = [
        score for row in known.values() for picture in row.values() for score in scores_of(picture, reading, folder)
    ]
    anchors, kinds = reading.verdict.anchors, metrics()
    if anchors.usable and anchors.floor:
        likeness, prompts = ([score for score in scores if score.metric == name] for name in (SUBJECT, PROMPT))
        scores = [*headline(likeness, prompts, anchors.floor.value, anchors.gap), *scores]
    found: dict[str, dict[tuple[str, str, int], float]] = {}
    for score in scores:
        kind = kinds.get(score.metric)
        better = "higher" if score.metric == BOTH or score.metric.startswith(PREFIX) else kind and kind.better
        if better and score.seed is not None:
            value = score.value if better == "higher" else -score.value
            found.setdefault(score.metric, {})[score.method, score.prompt, score.seed] = value
    return found


def _agreements(votes: Sequence[Vote], levels: Levels) -> list[Agreement]:
    """The votes that a criterion could tell apart, too: both pictures measured, and not alike."""
    found = []
    for criterion, values in levels.items():
        told = []
        for vote in votes:
            pair = vote.pair
            left, right = (values.get((row, pair.prompt, pair.seed)) for row in (pair.left, pair.right))
            if vote.preferred and left is not None and right is not None and left != right:
                told.append(vote.preferred == (pair.left if left > right else pair.right))
        if told:
            found.append(Agreement(criterion, criterion_named(criterion).title, Share(sum(told), len(told))))
    return found
