"""What the verdict would be by the likeness of another image encoder, and where the two do not agree.

A claim needs every encoder to agree. Where another one leans the other way, the answer is "probably" at most.
"""

from collections.abc import Mapping
from dataclasses import replace

from .evidence import BOTH
from .reinforce import question
from .summary import QUESTIONS, graded
from .values import Answer, Choice, Grade, Need, SecondEncoder, Verdict
from .words import inside

WEAKER: dict[Grade, Grade] = {"yes": "probably", "no": "probably not"}


def agreed(verdict: Verdict, other: Verdict, name: str) -> Verdict:
    """The verdict, weakened where `other` leans the other way.

    Args:
        other: the verdict on the same study by another image encoder.
        name: of that encoder.
    """
    if not other.anchors.usable:
        return replace(verdict, second_encoders=(*verdict.second_encoders, SecondEncoder(name, False, {}, ())))
    against = [
        f"{asked} {name} answers: {graded(other_answers[key])}."
        for mine, other_answers, words in (
            (verdict.answers, other.answers, {key: asked for key, (_, asked) in QUESTIONS.items()}),
            (verdict.together, other.together, {key: question(key) for key in verdict.together}),
        )
        for key, asked in words.items()
        if key in mine and key in other_answers and _differ(mine[key], other_answers[key])
    ]
    chosen = verdict.recommendation
    by_need = {
        need: _beside(choice, other.recommendation.by_need[need], name) for need, choice in chosen.by_need.items()
    }
    against += _picks(chosen.by_need, other.recommendation.by_need, name)
    both = {method: row[BOTH] for method, row in other.methods.items() if BOTH in row}
    return replace(
        verdict,
        answers=_weakened(verdict.answers, other.answers, name),
        together=_weakened(verdict.together, other.together, name),
        recommendation=replace(chosen, choice=by_need[chosen.need], by_need=by_need),
        second_encoders=(*verdict.second_encoders, SecondEncoder(name, True, both, tuple(against))),
    )


def leans(answer: Answer) -> bool | None:
    """Whether an answer is rather yes than no; None where nothing is known of it."""
    if answer.answer != "cannot tell":
        return answer.answer in ("yes", "probably")
    return None if answer.probability in (None, 0.5) else answer.probability > 0.5


def _differ(mine: Answer, other: Answer) -> bool:
    """Whether a claim is met by an opposite lean. What cannot be told claims nothing."""
    return mine.answer != "cannot tell" and leans(other) is (not leans(mine))


def _weakened(mine: Mapping[str, Answer], other: Mapping[str, Answer], name: str) -> dict[str, Answer]:
    return {
        key: replace(
            answer,
            answer=WEAKER.get(answer.answer, answer.answer),
            evidence=f"{answer.evidence} Another image encoder, {name}, answers: {graded(other[key])}.",
        )
        if key in other and _differ(answer, other[key])
        else answer
        for key, answer in mine.items()
    }


def _beside(choice: Choice, other: Choice, name: str) -> Choice:
    """The choice with what another encoder takes, where that is another method."""
    if not choice.method or choice.method == other.method:
        return choice
    return replace(choice, caveats=(*choice.caveats, f"By another image encoder, {name}, it is {_taken(other)}."))


def _picks(mine: Mapping[Need, Choice], other: Mapping[Need, Choice], name: str) -> list[str]:
    """One sentence for all needs that another method is taken for."""
    differ = [need for need, choice in mine.items() if choice.method and choice.method != other[need].method]
    taken = "; ".join(f"{need}: {_taken(other[need])}, not {inside(mine[need].method or '')}" for need in differ)
    return [f"{name} recommends otherwise ({taken})."] if differ else []


def _taken(choice: Choice) -> str:
    return inside(choice.method) if choice.method else "none of them"
