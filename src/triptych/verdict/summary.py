"""The verdict as lines of text: the recommendation with its regret first, then a table of the answers."""

from collections.abc import Iterator

from .reinforce import question as asked_of_combination
from .values import PROBABLY, Answer, Choice, SecondEncoder, Verdict
from .words import inside, percent, title

QUESTIONS = {  # answer -> the method it is about, and the question
    "textual_inversion_is_enough": ("textual-inversion", "Is textual inversion enough?"),
    "dreambooth_is_excessive": ("dreambooth", "Is DreamBooth excessive?"),
    "hypernetwork_is_a_middle_ground": ("hypernetwork", "Is a hypernetwork a good middle ground?"),
}


def summary(verdict: Verdict) -> Iterator[str]:
    """What the console shows at the end of a study."""
    recommendation = verdict.recommendation
    choice = recommendation.choice
    yield f"For {recommendation.need}: {lead(choice, verdict.margins.both)}"
    for reason in (*choice.reasons[choice.regret is not None :], *choice.caveats):  # the regret is said already
        yield f"  {reason}"
    yield ""
    asked = {QUESTIONS[name][1]: answer for name, answer in verdict.answers.items()}
    asked |= {asked_of_combination(name): answer for name, answer in verdict.together.items()}
    widest = max((len(question) for question in asked), default=0)
    for question, answer in asked.items():
        yield f"{question:<{widest}}  {graded(answer)}"
    if any(answer.answer in ("probably", "probably not") for answer in asked.values()):
        yield why_probably(verdict.level)
    yield from _reasons(asked)
    yield ""
    for need, choice in recommendation.by_need.items():
        yield f"{need:<12} {lead(choice, verdict.margins.both)}"
    if verdict.second_encoders:
        yield ""
        yield from map(second_encoder, verdict.second_encoders)


def why_probably(level: float) -> str:
    """What a yes has that "probably" lacks, however high its chance. `level`: of all claims together, 0..1."""
    return (
        f"“Yes” and “no” need a test at {percent(level)} for all claims together. “Probably” is the chance of one"
        f" answer, at least {percent(PROBABLY)}; it may be high where that test is not passed."
    )


def second_encoder(encoder: SecondEncoder) -> str:
    """Whether another image encoder shares the claims, in one line."""
    named = f"another image encoder, {encoder.name},"
    if not encoder.usable:
        return f"{named} does not tell your pictures from the bare base's, so it says nothing"
    if not encoder.against:
        return f"{named} shares every claim"
    return f"{named} sees it otherwise: {' '.join(encoder.against)}"


def graded(answer: Answer) -> str:
    """`probably (84 %)`; of what cannot be told, the chance of yes."""
    if answer.probability is None:
        return answer.answer
    if answer.answer == "cannot tell":
        return f"{answer.answer} (yes with {percent(answer.probability)})"
    return f"{answer.answer} ({percent(answer.probability)})"


def _reasons(asked: dict[str, Answer]) -> Iterator[str]:
    for question, answer in asked.items():
        yield ""
        yield f"{question} {answer.evidence}"


def lead(choice: Choice, margin: float) -> str:
    """`LoRA; the chance that another is better by more than 0.10 is 6 % (most likely DreamBooth)`."""
    if choice.method is None:
        return "nothing to recommend"
    if choice.regret is None:
        return title(choice.method)
    rival = f" (most likely {inside(choice.rival)})" if choice.rival else ""
    risk = f"the chance that another is better by more than {margin:.2f} is {percent(choice.regret)}"
    return f"{title(choice.method)}; {risk}{rival}"
