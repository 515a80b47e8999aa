"""When a study that goes on until it is decided may stop, and what would decide what is open."""

from .values import CONVINCED, Answer, Choice, Further, Verdict


def settled(verdict: Verdict) -> bool:
    """Whether the three questions and the recommendation are decided, or as good as (`values.CONVINCED`)."""
    return all(map(answer_settled, verdict.answers.values())) and choice_settled(verdict.recommendation.choice)


def further(verdict: Verdict) -> Further | None:
    """What would decide all that is open of the three questions and the recommendation; None where nothing would."""
    answers = [answer.further for answer in verdict.answers.values() if not answer_settled(answer)]
    choice = verdict.recommendation.choice
    wanted = [study for study in (*answers, None if choice_settled(choice) else choice.further) if study]
    return max(wanted, key=lambda study: (study.prompts * study.trainings, study.trainings)) if wanted else None


def answer_settled(answer: Answer) -> bool:
    if answer.answer in ("yes", "no") or (answer.probability is None and answer.further is None):
        return True  # decided, or more pictures would not help
    return answer.answer != "cannot tell" and (answer.probability or 0.0) >= CONVINCED


def choice_settled(choice: Choice) -> bool:
    """Surely ahead of the runner-up (then nothing further is needed), or the chance of regret is small."""
    if choice.method is None or choice.further is None:
        return choice.further is None
    return choice.regret is not None and choice.regret <= 1 - CONVINCED + 1e-9
