"""The pictures side by side: one row per method, one column per prompt, the same seeds in each column."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..scores import BASE, Score
from ..verdict.words import figure, title
from .pictures import MANY, Inlined, inline
from .reading import Picture, Reading, Sheet

SHOWN = {"subject_fidelity": "similarity", "prompt_fidelity": "prompt fidelity", "base_preservation": "preservation"}


@dataclass(frozen=True)
class Shot:
    """One picture in the grid. `text` is its alternative text and its caption."""

    picture: Inlined
    text: str
    seed: int  # the index of its seed among the seeds of its prompt
    file: str  # its path relative to the study folder


@dataclass(frozen=True)
class Row:
    method: str
    cells: tuple[tuple[Shot, ...], ...]  # one per prompt


@dataclass(frozen=True)
class Grid:
    prompts: tuple[str, ...]
    seeds: tuple[str, ...]  # the labels of the seed switch
    rows: tuple[Row, ...]


def grid(reading: Reading, role: str, methods: Sequence[str], folder: Path) -> Grid:
    """The grid of one role ("concept", "class" or "unrelated"), from the first training run of each method."""
    sheets = judged_sheets(reading, role, folder)
    many = sum(len(sheet.pictures) for sheet in reading.sheets) > MANY
    seeds: dict[str, list[int]] = {}
    for sheet in sheets.values():
        for picture in sheet.pictures:
            known = seeds.setdefault(asked(picture, reading, folder), [])
            if picture.seed not in known:
                known.append(picture.seed)
    rows = []
    for method in (name for name in methods if name in sheets):
        cells: dict[str, list[Shot]] = {prompt: [] for prompt in seeds}
        for picture in sheets[method].pictures:
            inlined, prompt = inline(picture.path, many), asked(picture, reading, folder)
            if inlined:
                text = _text(method, prompt, picture.seed, scores_of(picture, reading, folder))
                file = picture.path.relative_to(folder).as_posix()
                cells[prompt].append(Shot(inlined, text, seeds[prompt].index(picture.seed), file))
        rows.append(Row(method, tuple(tuple(cells[prompt]) for prompt in seeds)))
    return Grid(tuple(seeds), _names(seeds), tuple(rows))


def judged_sheets(reading: Reading, role: str, folder: Path) -> dict[str, Sheet]:
    """Method -> the sheet of its first training run in one role."""
    return _first_runs(_judged(_of(role, reading), reading, folder))


def _of(role: str, reading: Reading) -> list[Sheet]:
    """The sheets of a role. "class" includes the bare base's pictures of the concept, which show the class word."""
    own = [sheet for sheet in reading.sheets if sheet.role == role]
    if role != "class" or not own:
        return own
    asked = {(picture.prompt, picture.seed) for sheet in own for picture in sheet.pictures}
    bare = [sheet for sheet in reading.sheets if sheet.method == BASE and sheet.role == "concept"]
    return own + [
        replace(sheet, pictures=tuple(picture for picture in sheet.pictures if (picture.prompt, picture.seed) in asked))
        for sheet in bare
    ]


def _judged(sheets: Sequence[Sheet], reading: Reading, folder: Path) -> Sequence[Sheet]:
    """The sheets that have scores, or all sheets where none has.

    A sheet that was sampled with earlier settings may still be in the folder; it has no scores.
    """
    return [
        sheet for sheet in sheets if any(scores_of(picture, reading, folder) for picture in sheet.pictures)
    ] or sheets


def _first_runs(sheets: Sequence[Sheet]) -> dict[str, Sheet]:
    return {sheet.method: sheet for sheet in sorted(sheets, key=lambda sheet: -sheet.replicate)}


def scores_of(picture: Picture, reading: Reading, folder: Path) -> tuple[Score, ...]:
    """What was measured of one picture."""
    return reading.scores.get(picture.path.relative_to(folder).as_posix(), ())


def asked(picture: Picture, reading: Reading, folder: Path) -> str:
    """The prompt with the class word in the concept's place. It is the same for every method, so columns align."""
    scores = scores_of(picture, reading, folder)
    return scores[0].prompt if scores else picture.prompt


def _text(method: str, prompt: str, seed: int, scores: tuple[Score, ...]) -> str:
    measured = [f"{SHOWN[score.metric]} {figure(score.value)}" for score in scores if score.metric in SHOWN]
    return "; ".join([f"{title(method)}: {prompt}", f"seed {seed}", *measured])


def _names(seeds: Mapping[str, list[int]]) -> tuple[str, ...]:
    """The seeds themselves where all prompts share them, else the numbers of the pictures."""
    lists = list(seeds.values())
    if not lists:
        return ()
    if all(values == lists[0] for values in lists):
        return tuple(map(str, lists[0]))
    return tuple(str(index + 1) for index in range(max(map(len, lists))))
