"""Measures the sheets of a study, by the image encoder that judges and by the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from ..files.atomic import write_text
from ..metrics import Shown, measure, metrics
from ..metrics.encoders import ImageEncoder
from ..scores import Score, read_scores, write_scores
from ..verdict import Verdict
from ..verdict.evidence import CEILING, LEAKAGE, PORTABILITY, SUBJECT
from ..verdict.second_encoders import agreed
from .layout import key
from .sheets import Sheet, pictures
from .work import MEASURING, Work

LIKENESS = (CEILING, SUBJECT, LEAKAGE, PORTABILITY)  # what each further encoder measures; all else is the first one's
ROLES = ("concept", "class", "other-base")  # of the pictures that it looks at


def measured(work: Work, sheets: Sequence[Sheet]) -> list[Score]:
    """The scores, measured once per input: the last digits of an encoder's output differ between runs."""
    shown = pictures(work, sheets)
    made_from = key(MEASURING, _seen(shown), work.concept.digest, work.encoders.key, sorted(metrics()))
    return _once(work.layout.scores, made_from, lambda: measure(work.evidence(shown)))


def by_others(work: Work, sheets: Sequence[Sheet], scores: Sequence[Score]) -> dict[str, list[Score]]:
    """Name of each further image encoder -> the scores with its likeness in place of the first encoder's."""
    rest = [score for score in scores if score.metric not in LIKENESS]
    return {
        encoder.name: [*_likeness(work, sheets, encoder, place), *rest]
        for place, encoder in enumerate(work.encoders.others, start=2)
    }


def by_all_encoders(
    scores: Sequence[Score], others: Mapping[str, Sequence[Score]], judged: Callable[[Sequence[Score]], Verdict]
) -> Verdict:
    """The verdict on the scores, weakened where it differs by the likeness of another image encoder."""
    verdict = judged(scores)
    for name, theirs in others.items():
        verdict = agreed(verdict, judged(theirs), name)
    return verdict


def _likeness(work: Work, sheets: Sequence[Sheet], encoder: ImageEncoder, place: int) -> list[Score]:
    """The likeness of the concept's pictures by another encoder. `place`: its position among them, from 2."""
    shown = [picture for picture in pictures(work, sheets) if picture.role in ROLES]
    made_from = key(MEASURING, _seen(shown), work.concept.digest, [encoder.digest, *work.encoders.key[2:]], LIKENESS)

    def measure_likeness() -> list[Score]:
        evidence = work.evidence(shown, encoder)
        return [score for name in LIKENESS for score in metrics()[name].measure(evidence)]

    return _once(work.layout.out / f"scores-encoder-{place}.jsonl", made_from, measure_likeness)


def _seen(shown: Sequence[Shown]) -> str:
    return sha256(b"".join(sha256(picture.path.read_bytes()).digest() for picture in shown)).hexdigest()


def _once(path: Path, made_from: str, measure_now: Callable[[], list[Score]]) -> list[Score]:
    record = path.with_suffix(".key")
    if path.is_file() and record.is_file() and record.read_text() == made_from:
        return read_scores(path)
    scores = measure_now()
    write_scores(path, scores)
    write_text(record, made_from)
    return scores
