"""What an example is, and how it is written: pictures, captions beside them, prompts, a page on whose art it is."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from recipes.demo_base.art import Art, open_package, render
from recipes.demo_base.compose import Composer
from recipes.demo_base.world import Scene, Style, World

PIXELS = 256
"""Side of an example's pictures: like a user's, larger than what the base draws."""

CONCEPT = "<concept>"
ASKING = "`prompts.txt` asks for what no picture here shows; `{}` stands for the concept.\n\n"


@dataclass(frozen=True)
class Captioned:
    """One picture of an example."""

    name: str
    picture: Image.Image
    caption: str


@dataclass(frozen=True)
class Example:
    """A folder of examples/. `prompts` has "{}" in the concept's place."""

    name: str
    title: str
    about: str
    settings: str
    pictures: tuple[Captioned, ...]
    prompts: tuple[str, ...]
    credits: tuple[Style, ...]


def large_composer(world: World, subjects: dict[str, str], styles: dict[str, Style], packs: Path) -> Composer:
    """A composer of `PIXELS` pixels for other subjects (word to name of the drawing) and styles than the base's."""
    names, pixels = [], []
    for style in styles.values():
        package = open_package(style.package, style.version, packs)
        for name in subjects.values():
            if (svg := package.svg(name)) is not None:
                names.append((style.package, name))
                pixels.append(np.asarray(render(svg, PIXELS)))
    art = Art(np.stack(pixels), {key: i for i, key in enumerate(names)})
    return Composer(replace(world, pixels=PIXELS, subjects=subjects, styles=styles), art)


def compose(composer: Composer, scenes: list[tuple[Scene, str]], seed: int) -> tuple[Captioned, ...]:
    """Pictures of scenes with their captions, numbered and named by what they show."""
    rng = np.random.default_rng(seed)
    return tuple(
        Captioned(f"{i:02}-{scene.subject.replace(' ', '-')}", Image.fromarray(composer.picture(scene, rng)), caption)
        for i, (scene, caption) in enumerate(scenes, 1)
    )


def of_style(
    world: World, packs: Path, word: str, style: Style, shown: list[tuple[str, str]], seed: int
) -> tuple[Captioned, ...]:
    """Known subjects, each on a background, in a style that captions call the concept."""
    composer = large_composer(world, {name: world.subjects[name] for name, _ in shown}, {word: style}, packs)
    scenes = [Scene(name, word, background) for name, background in shown]
    return compose(composer, [(s, world.say(s.subject, style=CONCEPT, background=s.background)) for s in scenes], seed)


def write(example: Example, folder: Path) -> None:
    """Write the example's folder anew."""
    home = folder / example.name
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    for item in example.pictures:
        item.picture.save(home / f"{item.name}.png", optimize=True)
        (home / f"{item.name}.txt").write_text(item.caption + "\n", encoding="utf-8")
    (home / "concept.toml").write_text(example.settings, encoding="utf-8")
    if example.prompts:
        (home / "prompts.txt").write_text("\n".join(example.prompts) + "\n", encoding="utf-8")
    (home / "README.md").write_text(page(example), encoding="utf-8")


def page(example: Example) -> str:
    """The example's README."""
    credit = "\n".join(f"- `{art.package}` {art.version}, {art.author}, {art.licence}" for art in example.credits)
    return (
        f"# {example.name}: {example.title}\n\n{example.about}\n\n"
        f"{ASKING if example.prompts else ''}"
        f"## Whose art\n\nDrawings, scaled and placed on backgrounds:\n\n{credit}\n\n"
        "Made by `python -m recipes.demo_base.examples --out examples`.\n"
    )
