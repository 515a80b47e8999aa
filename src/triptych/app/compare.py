"""A grid of pictures that differ in what varies: one labelled sheet, one page, and each picture with its recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from ..base import Base, Place
from ..errors import TriptychError, first_line
from ..files.atomic import make_folder
from ..report.compared import Block, Compared, write_compared, write_sheet
from ..sampling.pictures import SUFFIXES
from ..study.progress import Progress, Silent
from .asked import SampleRequest, settled
from .axes import Axis, Cell
from .jobs import Notes
from .sample import Reading, Writer, named

MOST_CELLS = 10_000
Lent = Callable[[Place], AbstractContextManager[Base]]


@dataclass(frozen=True)
class GridResult:
    """The files of a grid. `failures`: the labels of each cell that has no picture, and the reason."""

    sheet: Path
    page: Path
    pictures: tuple[Path, ...]
    failures: tuple[tuple[tuple[str, ...], str], ...]


def compare(
    axes: Sequence[Axis], request: SampleRequest, place: Place, out: Path, progress: Progress, lent: Lent
) -> GridResult:
    """Sample a grid. The first axis is its columns, the second its rows, the third the blocks below each other.

    Cells with the same base, files and controls are sampled together. A cell that fails says why in its place.

    Args:
        request: what does not vary: one prompt, and everything else.
        lent: lends the base of a place for the length of a `with` block; one at a time.

    Raises:
        TriptychError: a value does not fit, the folder cannot be written, or no cell has a picture.
    """
    cells = cells_of(axes, request, place)
    make_folder(out)
    note = Notes(progress)
    for sentence in request.notes:
        note(sentence)
    progress.stage("sampling", len(cells))
    made: dict[int, Path] = {}
    failed: dict[int, str] = {}
    for number, found in _sampled(cells, replace(request, notes=()), out, note, lent):
        if isinstance(found, Path):
            made[number] = found
        else:
            failed[number] = found
        progress.advance()
    note.count()
    if not made:
        raise TriptychError(f"no cell of the grid has a picture: {next(iter(failed.values()))}")
    blocks = _blocks(axes, {**made, **failed})
    compared = Compared(request.prompts[0].prompt, [axis.name for axis in axes], blocks)
    sheet, page = write_sheet(compared, out / "sheet.png"), write_compared(compared, out / "index.html")
    failures = tuple((cells[i].labels, why) for i, why in sorted(failed.items()))
    return GridResult(sheet, page, tuple(path for _, path in sorted(made.items())), failures)


def cells_of(axes: Sequence[Axis], request: SampleRequest, place: Place) -> list[Cell]:
    """The cells of a grid, the values of the first axis changing fastest.

    Raises:
        TriptychError: there are too many, a value is out of range, or there is no picture to begin with for a mask or a
            share to sample anew.
    """
    request.check()
    count = 1
    for axis in axes:
        count *= len(axis.values)
    if count > MOST_CELLS:
        raise TriptychError(f"the grid has {count} cells, and at most {MOST_CELLS} are sampled")
    if request.start is None and any(axis.name in ("denoise", "mask-blur", "fill") for axis in axes):
        raise TriptychError("denoise, mask-blur and fill vary with a picture to begin with alone")
    (line,) = request.prompts
    line = replace(
        line, seed=settled(request.seed_of(line)), negative=line.negative or str(request.changes.get("negative") or "")
    )
    cells = [Cell(place, line, tuple(request.uses), request.controls)]
    for axis in reversed(axes):
        cells = [axis.applied(cell, value) for cell, value in product(cells, axis.values)]
    return [replace(cell, labels=cell.labels[::-1]) for cell in cells]


def _sampled(
    cells: Sequence[Cell], request: SampleRequest, out: Path, note: Notes, lent: Lent
) -> Iterator[tuple[int, Path | str]]:
    """The picture of each cell, or why it has none, by the number of the cell, as they are ready."""
    for place in dict.fromkeys(cell.place for cell in cells):
        mine = [i for i, cell in enumerate(cells) if cell.place == place]
        try:
            resolved = named(place, request.library)
            with lent(resolved) as base:
                yield from _on_base(base, resolved, cells, mine, request, out, note)
        except TriptychError as error:
            yield from ((i, str(error)) for i in mine)


def _on_base(
    base: Base, place: Place, cells: Sequence[Cell], mine: Sequence[int], request: SampleRequest, out: Path,
    note: Notes,
) -> Iterator[tuple[int, Path | str]]:  # fmt: skip
    """The cells of one base. Those that cannot be sampled together are sampled alone, so that each has its reason."""
    alike: list[list[int]] = []
    for i in mine:
        own = next((own for own in alike if _together(cells[own[0]], cells[i])), None)
        alike.append([i]) if own is None else own.append(i)
    for own in alike:
        own.sort(key=lambda i: str((cells[i].line.steps, cells[i].line.guidance, cells[i].line.sampler)))
        left = list(own)
        for attempt in (own, *([i] for i in own)):
            if not set(attempt) <= set(left):
                continue
            try:
                for i, path in _drawn(base, place, cells, attempt, request, out, note):
                    left.remove(i)
                    yield i, path
            except (TriptychError, RuntimeError) as error:  # a RuntimeError of torch, such as too little memory
                if len(attempt) == 1:
                    left.remove(attempt[0])
                    yield attempt[0], str(error) if isinstance(error, TriptychError) else first_line(error)


def _drawn(
    base: Base, place: Place, cells: Sequence[Cell], numbers: Sequence[int], request: SampleRequest, out: Path,
    note: Notes,
) -> Iterator[tuple[int, Path]]:  # fmt: skip
    first = cells[numbers[0]]
    asked = replace(
        request, prompts=[cells[i].line for i in numbers], uses=first.uses, controls=first.controls, count=1,
        denoises=(),
    )  # fmt: skip
    writer = Writer(base, place, asked)
    for k, sampled in Reading.of(asked, note).sampled(base, Silent()):
        path = out / f"{numbers[k]:05}{SUFFIXES[request.form]}"
        writer.write(path, sampled)
        yield numbers[k], path


def _together(cell: Cell, other: Cell) -> bool:
    return (cell.uses, cell.controls) == (other.uses, other.controls)


def _blocks(axes: Sequence[Axis], found: dict[int, Path | str]) -> list[Block]:
    """The cells by block, row and column, with their labels."""
    columns, rows, blocks = ([axis.label(value) for value in axis.values] for axis in _three(axes))
    made = []
    for k, block in enumerate(blocks):
        starts = [(k * len(rows) + j) * len(columns) for j in range(len(rows))]
        made.append(Block(block, columns, rows, [[found[s + i] for i in range(len(columns))] for s in starts]))
    return made


def _three(axes: Sequence[Axis]) -> list[Axis]:
    return [*axes, *([Axis("prompt", ("",))] * (3 - len(axes)))]
