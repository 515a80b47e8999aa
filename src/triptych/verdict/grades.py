"""Grades: yes and no where a test at the level of all claims says so, "probably" where the posterior does.

The threshold is `values.PROBABLY`. How often a stated probability comes true is simulated
(`python -m benchmarks.calibration`).
"""

from collections.abc import Callable
from dataclasses import replace

from .evidence import BOTH, PRESERVATION, Evidence
from .statements import Means, Statement
from .values import PROBABLY, Answer


def graded(evidence: Evidence, answer: Answer, statement: Callable[[Means], Statement]) -> Answer:
    """The answer with its probability; "cannot tell" becomes "probably" or "probably not" where that is likely."""
    if BOTH not in evidence.draws:
        return answer
    means = Means(evidence.draws[BOTH], evidence.draws.get(PRESERVATION, {}), evidence.margins)
    stated = statement(means)
    yes, no = float(stated.yes.mean()), float(stated.no.mean())
    if answer.answer != "cannot tell":
        return replace(answer, probability=yes if answer.answer == "yes" else no)
    if max(yes, no) < PROBABLY:
        return replace(answer, probability=yes)
    return replace(answer, answer="probably" if yes >= no else "probably not", probability=max(yes, no))
