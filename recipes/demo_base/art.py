"""The drawings: openly licensed icon packages, rendered once to premultiplied pictures.

Nothing that an SVG points to is ever fetched: the renderer sees only the text of the drawing itself.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import resvg_py
from PIL import Image

from recipes.demo_base.world import World

PIXELS = 128
"""Side of a rendered drawing; compositions scale it down."""

MORE_ART = {
    "@iconify-json/fluent-emoji-flat": "1.2.6",
    "@iconify-json/fxemoji": "1.2.2",
    "@iconify-json/emojione": "1.2.3",
}
"""Packages that only the autoencoder sees: it learns to draw in general, not this world alone."""

NOT_DRAWINGS = re.compile(r"skin-tone|flag|keycap|thirty|clock|button|-dark|-light|-medium|ideograph|latin|squared")
MOST_OF_A_PACKAGE = 900


@dataclass(frozen=True)
class Drawing:
    """One named drawing of one package, as SVG text."""

    package: str
    name: str
    svg: str


@dataclass(frozen=True)
class Art:
    """Rendered drawings.

    pixels: uint8 [drawings, PIXELS, PIXELS, 4], red, green and blue premultiplied by alpha.
    index: position by (package, name).
    """

    pixels: np.ndarray[Any, np.dtype[np.uint8]]
    index: dict[tuple[str, str], int]


class Package:
    """One icon package: drawings by name, aliases followed."""

    def __init__(self, archive: Path) -> None:
        with tarfile.open(archive) as tar:
            stream = tar.extractfile("package/icons.json")
            if stream is None:
                raise FileNotFoundError(f"{archive} holds no package/icons.json: is it an icon package?")
            table = json.load(stream)
        self.icons: dict[str, dict[str, Any]] = table["icons"]
        self.aliases: dict[str, dict[str, Any]] = table.get("aliases", {})
        self.side: int = table.get("width", 16)

    def svg(self, name: str) -> str | None:
        """The drawing as SVG, or None if the package has none of that name."""
        if name not in self.icons and name in self.aliases:
            name = self.aliases[name]["parent"]
        icon = self.icons.get(name)
        if icon is None:
            return None
        width, height = icon.get("width", self.side), icon.get("height", self.side)
        box = f"{icon.get('left', 0)} {icon.get('top', 0)} {width} {height}"
        names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        return f'<svg {names} viewBox="{box}" width="{width}" height="{height}">{icon["body"]}</svg>'


def open_package(package: str, version: str, folder: Path) -> Package:
    """Open a package's archive in `folder`; one that is not there yet is asked for from npm."""
    archive = folder / f"{package.lstrip('@').replace('/', '-')}-{version}.tgz"
    if not archive.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "pack", f"{package}@{version}"], cwd=folder, check=True, capture_output=True)
    return Package(archive)


def every_package(world: World) -> dict[str, str]:
    """The versions of all packages that anything is drawn from, by name."""
    return {style.package: style.version for style in world.styles.values()} | MORE_ART


def world_drawings(world: World, folder: Path) -> list[Drawing]:
    """Every seen subject in every seen style, as far as the packages draw it."""
    drawings = []
    for word, style in world.styles.items():
        package = open_package(style.package, style.version, folder)
        for subject, name in world.subjects.items():
            svg = package.svg(name)
            if svg is not None and (subject, word) not in world.unseen_pairs:
                drawings.append(Drawing(style.package, name, svg))
    return drawings


def other_drawings(world: World, folder: Path) -> list[Drawing]:
    """Drawings beside the world, none of them held out, for the autoencoder."""
    hidden = {name.replace("-", "") for name in world.unseen_drawings}
    hidden |= {world.subjects[subject].replace("-", "") for subject, _ in world.unseen_pairs}
    drawings = []
    for name, version in every_package(world).items():
        package = open_package(name, version, folder)
        kept = [icon for icon in package.icons if icon.replace("-", "") not in hidden and not NOT_DRAWINGS.search(icon)]
        stride = max(1, len(kept) // MOST_OF_A_PACKAGE)
        drawings += [Drawing(name, icon, package.svg(icon) or "") for icon in kept[::stride][:MOST_OF_A_PACKAGE]]
    return drawings


def render(svg: str, pixels: int) -> Image.Image:
    """Draw SVG text into a square picture with premultiplied alpha (mode RGBa)."""
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=pixels, height=pixels))
    picture = Image.open(io.BytesIO(png)).convert("RGBA")
    if picture.size != (pixels, pixels):
        square = Image.new("RGBA", (pixels, pixels))
        picture.thumbnail((pixels, pixels), Image.Resampling.LANCZOS)
        square.paste(picture, ((pixels - picture.width) // 2, (pixels - picture.height) // 2))
        picture = square
    return picture.convert("RGBa")


def render_all(drawings: list[Drawing], file: Path) -> Art:
    """Render drawings into `file` (.npy, with a .json of names), or open what an earlier run rendered there."""
    names = file.with_suffix(".json")
    wanted = [[drawing.package, drawing.name] for drawing in drawings]
    if not (names.exists() and json.loads(names.read_text()) == wanted):
        pixels = np.stack([np.asarray(render(drawing.svg, PIXELS)) for drawing in drawings])
        np.save(file, pixels)
        names.write_text(json.dumps(wanted))
    index = {(package, name): i for i, (package, name) in enumerate(wanted)}
    return Art(np.load(file, mmap_mode="r"), index)
