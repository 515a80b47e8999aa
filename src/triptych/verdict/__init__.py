"""The verdict: one pure function of the scores and costs, with its margins stated before (see `Margins`).

The headline figure of a picture is fidelity times prompt fidelity (`evidence.headline`). Fidelity lies between the
floor (the class word on the bare base) and the ceiling (training pictures against held-out ones). A method is enough
when it is not worse than the best in the headline by more than the margin, by the interval.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from ..metrics import metrics
from ..scores import BASE, CONTROLS, Cost, Score
from .answers import answers
from .compare import differences
from .evidence import BOTH, COPYING, NORMALISED, PRESERVATION, PROMPT, Evidence
from .front import front
from .intervals import ALPHA, Interval
from .moderated import NONE, Prior
from .recommend import recommend
from .reinforce import reinforcements
from .settling import further, settled
from .values import (
    MARGINS,
    NEEDS,
    Anchors,
    Answer,
    Choice,
    Difference,
    Further,
    Look,
    Margins,
    Need,
    Recommendation,
    Verdict,
)
from .weighing import weights_of
from .words import figure, inside, listed, percent, span

__all__ = [
    "MARGINS",
    "NEEDS",
    "Anchors",
    "Answer",
    "Choice",
    "Difference",
    "Further",
    "Look",
    "Margins",
    "Need",
    "Prior",
    "Recommendation",
    "Verdict",
    "further",
    "judge",
    "settled",
    "verdict_of",
]


def judge(
    scores: Sequence[Score],
    costs: Sequence[Cost],
    *,
    need: Need = "fidelity",
    failures: Mapping[str, str] | None = None,
    margins: Margins = MARGINS,
    seed: int = 0,
    strata: Mapping[str, str] | None = None,
    prior: Prior = NONE,
    looks: Sequence[Look] = (),
) -> Verdict:
    """Judge a study.

    Args:
        scores: every measured value; rows of `scores.BASE` are the floor, rows of the metric "ceiling" the ceiling.
        costs: one a method; a method without one is never called light, small or fast.
        need: what the recommendation is for; `by_need` holds all of them.
        failures: method -> the sentence that says why it has no result (or fewer training runs than the others).
        margins: the differences that matter.
        seed: of the draws that probabilities are counted from; the same scores and seed give the same verdict.
        strata: prompt -> its stratum, for the results by stratum.
        prior: of the headline's variance between trainings, where earlier studies tell it.
        looks: of a study that goes on until it is decided, this one last: what it may spend of the level.
    """
    alpha = looks[-1].alpha if looks else ALPHA
    evidence = Evidence.of(scores, costs, failures or {}, margins, seed, strata, prior=prior, alpha=alpha)
    return verdict_of(evidence, _order(scores), need, looks)


def verdict_of(evidence: Evidence, order: Sequence[str], need: Need, looks: Sequence[Look] = ()) -> Verdict:
    """The verdict that evidence gives. `order`: the rows besides the bare base."""
    methods = {name: _criteria(evidence, name) for name in order}
    return Verdict(
        methods=methods,
        base=_criteria(evidence, BASE),
        anchors=evidence.anchors,
        differences=tuple(differences(evidence)),
        front=_front(methods),
        answers=answers(evidence),
        recommendation=recommend(evidence, need),
        costs=dict(evidence.costs),
        failures=dict(evidence.failures),
        notes=tuple(_notes(evidence, looks)),
        replicates=evidence.replicates,
        flags=_flags(evidence),
        strata={name: found for name in methods if (found := evidence.by_stratum(name))},
        needs={each: dict(weights_of(evidence, each)) for each in NEEDS},
        together=reinforcements(evidence),
        looks=tuple(looks),
        margins=evidence.margins,
        seed=evidence.seed,
    )


def _front(methods: Mapping[str, Mapping[str, Interval]]) -> tuple[str, ...]:
    """The Pareto front of the headline figure and base preservation, best in the headline first."""
    return front(
        {
            name: (row[BOTH].value, row[PRESERVATION].value)
            for name, row in methods.items()
            if {BOTH, PRESERVATION} <= row.keys()
        }
    )


def _order(scores: Sequence[Score]) -> list[str]:
    """The methods as they first appear: the study's order."""
    return list(dict.fromkeys(score.method for score in scores if score.method not in CONTROLS))


def _criteria(evidence: Evidence, method: str) -> dict[str, Interval]:
    """Every criterion of one method with its interval; likeness to the concept also as a part of the way to it."""
    row = {}
    for criterion in NORMALISED if method in evidence.methods else ():
        normalised = evidence.compare(criterion, method)
        if normalised:
            row[criterion] = normalised.interval()
    for metric in evidence.tables:
        estimate = evidence.mean(metric, method) if metric not in NORMALISED else None
        if estimate:
            known = metrics().get(metric)
            row[metric] = estimate.interval().within(*known.limits) if known else estimate.interval()
    return row


def _flags(evidence: Evidence) -> dict[str, tuple[str, ...]]:
    """What to beware of, by method."""
    flags: dict[str, tuple[str, ...]] = {}
    for name in evidence.copied:
        share = evidence.measured(COPYING, name)
        flags[name] = (
            f"Copies: {round(100 * share.value)} % of its pictures ({span(share.interval().within(0, 1))}) are training"
            " pictures over again. It is recommended for nothing.",
        )
    for name in evidence.called_by_class_word:
        flags[name] = (
            *flags.get(name, ()),
            "Has no word of its own: what it learned is in every picture of the class word, and cannot but leak.",
        )
    return flags


NOT_STATED = (
    "What was stated before of the spread between trainings is not used: the trainings of this study tell as much, or"
    " lie farther apart than it lets expect."
)


def _stated(prior: Prior, replicates: int) -> str:
    """What was stated of the spread between trainings, and that it was used."""
    common = (
        f", and of {prior.shared**0.5:.2f} in what all methods share in a training ({prior.shared_freedom:g})"
        if prior.shared_freedom
        else ""
    )
    return (
        f"{replicates} trainings of a method tell little of how far trainings lie apart. So what was stated before,"
        f" from earlier studies, is joined to them: a standard deviation of {prior.scale**0.5:.2f} between trainings of"
        f" a method ({prior.freedom:g} degrees of freedom){common}, in both at once. The study can be judged without it"
        " too, or by other numbers."
    )


def _notes(evidence: Evidence, looks: Sequence[Look]) -> list[str]:
    notes = ["This result is for these pictures on this base; it says nothing about other concepts."]
    if evidence.replicates == 1:
        notes.insert(
            0,
            "Only one training seed was run: no interval here includes the spread between training runs,"
            " which can be larger than the differences between methods. What is called better or worse here"
            " holds for these trained files; another training may turn it round.",
        )
    headline = evidence.tables.get(BOTH)
    if headline and evidence.replicates > 1 and headline.stated.freedom:
        used = headline.priors.trainings.stated
        notes.insert(0, _stated(headline.stated, evidence.replicates) if used else NOT_STATED)
    if headline and (shared := headline.seeds) is not None:
        count = len(np.unique(shared[shared >= 0]))
        notes.append(
            f"The same {count} picture seeds stand at several prompts, so the noise of a seed is in all of them: seeds"
            " count as a source of chance of their own."
            if count > 1
            else "All pictures share one seed, and with it their noise: nothing can be told of other pictures."
        )
    ceiling = evidence.anchors.ceiling
    if ceiling and ceiling.n < 6:
        notes.append(
            f"The ceiling comes from only {ceiling.n} training pictures and is taken as given, without an interval."
        )
    if len(looks) > 1:
        spent = sum(look.alpha for look in looks)
        notes.append(
            f"The study was judged at {listed([str(look.prompts) for look in looks])} prompts; all these verdicts"
            f" together make a false claim in at most {percent(spent)} of studies."
        )
    if evidence.blind:
        notes.append(
            f"Prompt fidelity leaves out {listed(['the ' + name for name in evidence.blind])}: what looks for it cannot"
            " read it off your own pictures, so it cannot be asked of a sampled one."
        )
    if PROMPT not in evidence.tables:
        notes.append("What the prompts ask for could not be read, so the headline figure is likeness alone.")
    reseeded = evidence.anchors.reseeded
    if reseeded is not None:
        notes.append(
            f"Preservation: 1 is the same picture and 0 the picture of another prompt; the bare base with another seed"
            f" reaches {figure(reseeded)}."
        )
    partly = [inside(name) for name in evidence.failures if name in evidence.methods]
    if partly:
        notes.append(f"Some training runs failed, so fewer were measured: {listed(partly)}.")
    return notes
