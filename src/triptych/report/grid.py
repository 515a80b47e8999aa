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
    sheets = _first_runs(_judged(_of(role, reading), reading, folder))
    many = sum(len(sheet.pictures) for sheet in reading.sheets) > MANY
    scores = {
        picture.path: _scores(picture, reading, folder) for sheet in sheets.values() for picture in sheet.pictures
    }
    seeds: dict[str, list[int]] = {}
    for sheet in sheets.values():
        for picture in sheet.pictures:
            known = seeds.setdefault(_asked(picture, scores), [])
            if picture.seed not in known:
                known.append(picture.seed)
    rows = []
    for method in (name for name in methods if name in sheets):
        cells: dict[str, list[Shot]] = {prompt: [] for prompt in seeds}
        for picture in sheets[method].pictures:
            inlined, asked = inline(picture.path, many), _asked(picture, scores)
            if inlined:
                text = _text(method, asked, picture.seed, scores[picture.path])
                cells[asked].append(Shot(inlined, text, seeds[asked].index(picture.seed)))
        rows.append(Row(method, tuple(tuple(cells[prompt]) for prompt in seeds)))
    return Grid(tuple(seeds), _names(seeds), tuple(rows))


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
    return [sheet for sheet in sheets if any(_scores(picture, reading, folder) for picture in sheet.pictures)] or sheets


def _first_runs(sheets: Sequence[Sheet]) -> dict[str, Sheet]:
    return {sheet.method: sheet for sheet in sorted(sheets, key=lambda sheet: -sheet.replicate)}


def _scores(picture: Picture, reading: Reading, folder: Path) -> tuple[Score, ...]:
    return reading.scores.get(picture.path.relative_to(folder).as_posix(), ())


def _asked(picture: Picture, scores: Mapping[Path, tuple[Score, ...]]) -> str:
    """The prompt with the class word in the concept's place. It is the same for every method, so columns align."""
    return scores[picture.path][0].prompt if scores[picture.path] else picture.prompt


def _text(method: str, asked: str, seed: int, scores: tuple[Score, ...]) -> str:
    measured = [f"{SHOWN[score.metric]} {figure(score.value)}" for score in scores if score.metric in SHOWN]
    return "; ".join([f"{title(method)}: {asked}", f"seed {seed}", *measured])


def _names(seeds: Mapping[str, list[int]]) -> tuple[str, ...]:
    """The seeds themselves where all prompts share them, else the numbers of the pictures."""
    lists = list(seeds.values())
    if not lists:
        return ()
    if all(values == lists[0] for values in lists):
        return tuple(map(str, lists[0]))
    return tuple(str(index + 1) for index in range(max(map(len, lists))))
