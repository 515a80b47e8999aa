"""The content of the page as frozen values. The template only lays them out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..records import JudgedFile
from ..scores import BASE, RESEEDED, Cost
from ..shell import command_line
from ..units import duration, size
from ..verdict import NEEDS, Answer, Choice, Further, further
from ..verdict.reinforce import question
from ..verdict.summary import QUESTIONS, graded, second_encoder, why_probably
from ..verdict.weighing import formula
from ..verdict.words import figure, inside, percent, span, title
from .ballot import Ballot, ballot, in_words
from .colours import order, slot
from .curves import CHOSEN, Curve, chosen, curves
from .frontier import Frontier, frontiers, words
from .grid import Grid, grid
from .pictures import Inlined, inline
from .reading import Reading
from .table import Column, Comparison, columns, comparisons
from .tally import Tally, tally
from .trade import Trade, trades

NEED_WORDS = {  # need -> its words after "Recommended for", and as a sentence
    "fidelity": ("fidelity", "It should look like mine"),
    "editability": ("editability", "It should follow my prompts"),
    "small": ("a small file", "The file should be small"),
    "portable": ("portability", "It should work on other bases"),
    "fast": ("short training", "Training should be short"),
}


@dataclass(frozen=True)
class Yours:
    """One of the concept's own pictures."""

    picture: Inlined
    held_out: bool
    text: str


@dataclass(frozen=True)
class File:
    """A file to download. `says` is its word in prompts; `method` is empty where the name has no method."""

    name: str
    size: str
    method: str
    says: str
    strength: str = ""  # to use it at; "" where none was chosen


@dataclass(frozen=True)
class View:
    reading: Reading
    answers: tuple[tuple[str, str, Answer], ...]  # the method it is about, the question, the answer
    together: tuple[tuple[str, str, Answer], ...]  # the combination, the question, the answer
    need: str
    choice: Choice
    further: Further | None  # what would decide what is open
    needs: tuple[tuple[str, str, Choice], ...]  # the need as a sentence, what it weighs, the choice
    yours: tuple[Yours, ...]
    concept: Grid
    class_word: Grid
    unrelated: Grid
    measured: tuple[str, ...]  # rows of the table: the bare base and the methods
    columns: tuple[Column, ...]
    more: tuple[Column, ...]  # further criteria
    comparisons: tuple[Comparison, ...]
    flags: tuple[tuple[str, tuple[str, ...]], ...]  # a warning, and the methods that it is about
    trades: tuple[Trade, ...]
    points: Mapping[str, str]  # method -> the strength and the moment that it is sampled at, in words
    frontiers: tuple[Frontier, ...]
    judged: tuple[JudgedFile, ...]  # the best first; empty for a study
    curves: tuple[Curve, ...]
    fixed: bool  # whether any training logged a fixed-batch loss
    costs: tuple[Cost, ...]
    files: tuple[File, ...]
    failures: tuple[tuple[str, str], ...]
    ballot: Ballot | None  # pairs to vote on; None where there is nothing to compare
    tally: Tally | None  # what the given votes say


def view(reading: Reading, folder: Path, votes: Sequence[Path] = ()) -> View:
    """Everything on the page, from the study at `folder` and from files of votes on it."""
    verdict = reading.verdict
    methods = sorted(verdict.methods, key=order)
    measured = (BASE, *methods)
    return View(
        reading=reading,
        answers=tuple((*QUESTIONS[name], answer) for name, answer in verdict.answers.items()),
        together=tuple((name, question(name), answer) for name, answer in verdict.together.items()),
        need=NEED_WORDS[verdict.recommendation.need][0],
        choice=verdict.recommendation.choice,
        further=further(verdict),
        needs=tuple(
            (NEED_WORDS[need][1], formula(verdict.needs.get(need, {})), verdict.recommendation.by_need[need])
            for need in NEEDS
        ),
        yours=tuple(_yours(reading)),
        concept=grid(reading, "concept", measured, folder),
        class_word=grid(reading, "class", measured, folder),
        unrelated=grid(reading, "unrelated", (BASE, RESEEDED, *methods), folder),
        measured=measured,
        columns=tuple(columns(verdict, measured, more=False)),
        more=tuple(columns(verdict, measured, more=True)),
        comparisons=tuple(comparisons(verdict)),
        flags=tuple(_flags(reading, methods)),
        trades=tuple(trades(verdict, methods)),
        points={point.method: words(point, reading) for point in reading.points if point.chosen},
        frontiers=tuple(frontiers(reading, methods)),
        judged=reading.judged.files if reading.judged else (),
        curves=tuple(curves(reading, methods)),
        fixed=any(len(trial.fixed) > 1 for trial in reading.trials),
        costs=tuple(sorted(verdict.costs.values(), key=lambda cost: order(cost.method))),
        files=tuple(_file(path, reading) for path in reading.artifacts),
        failures=tuple(sorted(verdict.failures.items(), key=lambda failure: order(failure[0]))),
        ballot=ballot(reading, folder),
        tally=tally(reading, folder, votes),
    )


def _yours(reading: Reading) -> list[Yours]:
    """The concept's pictures, and which of them no training used."""
    seen = {name for trial in reading.trials for name in trial.pictures}
    names = sorted(seen | set(reading.study.held_out))
    known = names if len(names) == len(reading.thumbs) else [""] * len(reading.thumbs)
    found = []
    for i, (path, name) in enumerate(zip(reading.thumbs, known, strict=True), start=1):
        inlined = inline(path)
        held_out = bool(name) and name not in seen
        if inlined:
            found.append(Yours(inlined, held_out, f"Your picture {i}" + (", held out of training" if held_out else "")))
    return found


def _flags(reading: Reading, methods: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    """The warnings, each sentence once, with the methods that it is about."""
    methods_of: dict[str, list[str]] = {}
    flags = reading.verdict.flags
    for method in sorted(flags, key=order):
        for sentence in flags[method]:
            methods_of.setdefault(sentence, []).append(method)
    decided = chosen(reading, methods)
    return [
        *((sentence, tuple(names)) for sentence, names in methods_of.items()),
        *([(CHOSEN, decided)] if decided else []),
    ]


def _file(path: Path, reading: Reading) -> File:
    named = [trial.method for trial in reading.trials if path.stem.endswith(trial.method)]
    method = max(named, key=len, default="")
    says = next((trial.says for trial in reading.trials if trial.method == method and trial.says), "")
    strength = next((f"{point.strength:g}" for point in reading.points if point.method == method and point.chosen), "")
    return File(path.name, size(path.stat().st_size), method, says, strength)


FILTERS = {
    "ballot_json": in_words,
    "graded": graded,
    "second_encoder": second_encoder,
    "sentence": lambda text: text[:1].upper() + text[1:],
    "percent": percent,
    "why_probably": why_probably,
    "command_line": command_line,
    "title": title,
    "inside": inside,
    "slot": slot,
    "size": size,
    "duration": duration,
    "figure": figure,
    "span": span,
}
