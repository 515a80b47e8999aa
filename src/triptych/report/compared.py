"""A grid of pictures with labels: as one PNG, and as one page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image, ImageDraw, ImageFont

from ..files.atomic import write_bytes, write_text
from ..units import counted
from .pictures import MANY, inline

HERE = Path(__file__).parent
LEAST, GAP, LINE, SIDE = 128, 6, 14, 110  # pixels: a tile's shorter side, between tiles, a line of text, row labels
MOST_SIDE = 16_000  # pixels of a sheet, beyond which its tiles are made smaller


@dataclass(frozen=True)
class Block:
    """Cells [row][column]: a picture's path, or why there is none. `captions` [row][column] stand beneath them."""

    label: str
    columns: Sequence[str]
    rows: Sequence[str]
    cells: Sequence[Sequence[Path | str]]
    captions: Sequence[Sequence[str]] = ()

    def caption(self, row: int, column: int) -> str:
        return self.captions[row][column] if self.captions else ""


@dataclass(frozen=True)
class Compared:
    """A grid: what it is of, the names of what varies, and its blocks, all of them with the same rows and columns."""

    title: str
    axes: Sequence[str]
    blocks: Sequence[Block]


def write_sheet(compared: Compared, path: Path) -> Path:
    """Write the grid as one labelled PNG."""
    font = ImageFont.load_default(11)
    width, height = _tile(compared)
    columns, rows = compared.blocks[0].columns, compared.blocks[0].rows
    heads = [folded(label, width, font) for label in columns]
    side = SIDE if any(rows) else 0
    head = LINE * max(map(len, heads)) + GAP
    title = LINE + GAP if any(block.label for block in compared.blocks) else 0
    wide = side + len(columns) * (width + GAP) + GAP
    said = [folded(text, width, font) for block in compared.blocks for row in block.captions for text in row]
    foot = LINE * max(map(len, said), default=0)
    high = len(compared.blocks) * (title + head + len(rows) * (height + foot + GAP)) + GAP
    whole = Image.new("RGB", (wide, high), "white")
    pen, y = ImageDraw.Draw(whole), GAP
    for block in compared.blocks:
        if title:
            pen.text((GAP, y), block.label, "black", ImageFont.load_default(13))
            y += title
        for i, lines in enumerate(heads):
            _write(pen, (side + GAP + i * (width + GAP), y), lines, font)
        y += head
        for row, (label, cells) in enumerate(zip(block.rows, block.cells, strict=True)):
            _write(pen, (GAP, y + GAP), folded(label, SIDE - 2 * GAP, font), font)
            for i, cell in enumerate(cells):
                x = side + GAP + i * (width + GAP)
                whole.paste(_drawn(cell, (width, height), font), (x, y))
                _write(pen, (x, y + height), folded(block.caption(row, i), width, font), font)
            y += height + foot + GAP
    buffer = io.BytesIO()
    whole.save(buffer, "png", optimize=True)
    write_bytes(path, buffer.getvalue())
    return path


def write_compared(compared: Compared, path: Path) -> Path:
    """Write the grid as one page, which loads nothing when it opens; all text from outside is escaped."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["counted"] = counted
    style, script = (Markup((HERE / name).read_text(encoding="utf-8")) for name in ("style.css", "page.js"))
    cells = [cell for block in compared.blocks for row in block.cells for cell in row]
    many = len(cells) > MANY
    shown = {cell: inline(cell, many) for cell in cells if isinstance(cell, Path)}
    failed = sum(isinstance(cell, str) for cell in cells)
    page = environment.get_template("compared.html.j2").render(
        compared=compared, shown=shown, failed=failed, style=style, script=script, count=len(cells)
    )
    write_text(path, page)
    return path


def folded(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    """A text in lines of at most `width` pixels. A longer word is cut."""
    lines = [""]
    for word in text.split():
        while len(word) > 1 and font.getlength(word) > width:
            word = f"{word[:-2]}…"
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _tile(compared: Compared) -> tuple[int, int]:
    """The size of a tile: that of the largest picture, enlarged where it is small."""
    sizes = []
    for block in compared.blocks:
        for cell in (cell for row in block.cells for cell in row if isinstance(cell, Path)):
            with Image.open(cell) as picture:
                sizes.append(picture.size)
    width, height = max(size[0] for size in sizes), max(size[1] for size in sizes)
    scale = max(1.0, LEAST / min(width, height))
    block = compared.blocks[0]
    longest = max(width * scale * len(block.columns), height * scale * len(block.rows) * len(compared.blocks))
    scale *= min(1.0, MOST_SIDE / longest)
    return max(round(width * scale), 1), max(round(height * scale), 1)


def _drawn(cell: Path | str, size: tuple[int, int], font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> Image.Image:
    """A picture inside its tile, or the reason why there is none."""
    tile = Image.new("RGB", size, (238, 238, 238))
    if isinstance(cell, str):
        _write(ImageDraw.Draw(tile), (GAP, GAP), folded(cell, size[0] - 2 * GAP, font), font)
        return tile
    with Image.open(cell) as opened:
        picture = opened.convert("RGB")
    scale = min(size[0] / picture.width, size[1] / picture.height)
    small = scale > 1
    picture = picture.resize(
        (max(round(picture.width * scale), 1), max(round(picture.height * scale), 1)),
        Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS,
    )
    tile.paste(picture, ((size[0] - picture.width) // 2, (size[1] - picture.height) // 2))
    return tile


def _write(
    pen: ImageDraw.ImageDraw, at: tuple[int, int], lines: Sequence[str],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:  # fmt: skip
    for i, line in enumerate(lines):
        pen.text((at[0], at[1] + i * LINE), line, "black", font)
