"""The commands `inspect` and `convert`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import Remedy, TriptychError, printable
from ..units import counted

if TYPE_CHECKING:
    from ..exchange.inspection import Inspection

WIDE = 1000  # characters, so that piped output has one line per file


def inspect(
    places: Annotated[list[Path], typer.Argument(metavar="FILE...", help="files, or folders of them")],
    base: Annotated[str, typer.Option("--base", help="check whether it fits this base")] = "",
    hashed: Annotated[bool, typer.Option("--hash", help="hash it, whatever its size")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print a line of JSON for each file")] = False,
) -> None:
    """Show what a file is: kind, format, family, sizes, words for prompts, training, and whether it is safe."""
    from ..exchange.inspection import inspect_all

    found = inspect_all(places, base=base or None, hashed=hashed)
    if as_json:
        for file in found:
            print(file.to_json())
    elif len(places) == 1 and not places[0].is_dir():
        for file in found:
            print("\n".join(f"{name:<10} {printable(text)}" for name, text in _lines(file)))
    else:
        _table(list(found))


def convert(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="a trained file, a checkpoint, or a diffusers folder")],
    to: Annotated[str, typer.Option("--to", help="kohya, a1111, diffusers, single-file, ...: see docs/files.md")],
    out: Annotated[Path, typer.Option(help="the file or folder to write")],
    base: Annotated[str, typer.Option("--base", help="the base that a DreamBooth's difference is added to")] = "",
    rank: Annotated[int, typer.Option(help="of a LoRA that is taken out of a difference", min=1)] = 32,
    strength: Annotated[float, typer.Option(help="how much of a difference is added to its base")] = 1.0,
    precision: Annotated[str, typer.Option(help="fp32, bf16, fp16 of a written base; auto: as it is")] = "auto",
    thumbnail: Annotated[Path | None, typer.Option(help="a picture for the file's metadata")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace what exists")] = False,
) -> None:
    """Write FILE's content in the layout of another program."""
    from ..base import Place
    from ..exchange.conversion import ConversionRequest, convert
    from ..options import precision_named

    if out.exists() and not overwrite:
        raise TriptychError(f"{out} exists already", Remedy.OTHER_PLACE, Remedy.OVERWRITE)
    held = precision_named(precision)
    place = Place(base, device="cpu", precision="fp32") if base else None
    request = ConversionRequest(source, to, out, place, rank, strength, held, thumbnail)
    notes = convert(request)
    print(out)
    for note in notes:
        print(printable(note), file=sys.stderr)


def _lines(file: Inspection) -> list[tuple[str, str]]:
    from ..units import size

    family = f" for {file.family}" if file.family else ""
    lines = [
        ("file", f"{file.path} ({size(file.bytes)})"),
        ("is", f"{file.kind}{family}, as {file.format}"),
        *((name, str(value)) for name, value in file.details.items()),
        ("say", ", ".join(file.triggers)),
        (
            "guess",
            ", ".join(f"say {word}: the file states no word, its training has this tag" for word in file.guesses),
        ),
        ("tensors", f"{file.tensors} ({file.numbers})"),
        *((name.replace("_", " "), text) for name, text in file.described.items()),
        ("trained", ", ".join(f"{name.replace('_', ' ')} {text}" for name, text in file.trained.items())),
        *(("mixed" if place == 0 else "of", text) for place, text in enumerate(file.mixed)),
        *((name, text) for name, text in file.hashes.items()),
        ("preview", file.preview or ""),
        ("left out", file.left_out),
        ("safe", file.safe),
        ("fits", file.fits),
        *(("note", note) for note in file.notes),
    ]
    return [(name, text) for name, text in lines if text]


def _table(found: list[Inspection]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from ..units import size

    table = Table(box=None, pad_edge=False)
    for title in ("file", "is", "for", "size", "say", "fits"):
        table.add_column(title, overflow="fold")
    for file in found:
        if file.refused:
            cells = [file.path, "refused", "", size(file.bytes), file.refused.removeprefix(f"{file.path} "), ""]
        else:
            fits = file.fits.partition(":")[0]
            says = [*file.triggers, *(f"{word}?" for word in file.guesses)]
            cells = [file.path, file.kind, file.family or "?", size(file.bytes), ", ".join(says), fits]
        table.add_row(*(Text(printable(cell)) for cell in cells))  # as Text, since a name may look like markup
    if found:
        Console(width=None if sys.stdout.isatty() else WIDE).print(table)
    else:
        print("no file of tensors there")
    _notes(found)


def _notes(found: list[Inspection]) -> None:
    """Print one line for each part that is not used, and the number of such files."""
    noted = [file for file in found if file.notes or file.left_out]
    for file in noted:
        for note in (*file.notes, *([f"left out: {file.left_out}"] if file.left_out else [])):
            print(printable(f"{file.path}: {note}"), file=sys.stderr)
    if noted:
        print(f"{counted(len(noted), 'file')} of {len(found)} with parts that are not used", file=sys.stderr)
