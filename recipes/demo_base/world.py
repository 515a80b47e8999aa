"""The world of the demo base: what can be said about a picture, and how a caption says it."""

from __future__ import annotations

import tomllib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORLD_FILE = Path(__file__).parents[2] / "src" / "triptych" / "base" / "demo" / "world.toml"
UNSEEN_SHARE = 0.15
"""Share of the combinations (subject, style, background) kept out of training, for the judge."""


@dataclass(frozen=True)
class Scene:
    """One picture in words: a subject in a style, on a background, somewhere, of some size."""

    subject: str
    style: str
    background: str
    place: str = "centre"
    size: str = "medium"

    @property
    def seen(self) -> bool:
        """Whether this combination of subject, style and background belongs to training."""
        key = f"{self.subject}/{self.style}/{self.background}".encode()
        return zlib.crc32(key) % 1000 >= 1000 * UNSEEN_SHARE


@dataclass(frozen=True)
class Style:
    """Where the drawings of one style come from."""

    package: str
    version: str
    licence: str
    author: str


@dataclass(frozen=True)
class World:
    """The facts of `world.toml`. Sides are parts of the picture's side; margins and jitter are cells of its grid."""

    pixels: int
    cells: int
    template: str
    background_phrase: str
    backgrounds: dict[str, tuple[int, int, int]]
    size_words: dict[str, str]
    sides: dict[str, float]
    place_phrases: dict[str, str]
    margins: dict[str, tuple[int, int]]
    jitter: int
    styles: dict[str, Style]
    subjects: dict[str, str]
    gallery_styles: tuple[str, ...]
    gallery_background: str
    unseen_drawings: frozenset[str]
    unseen_pairs: frozenset[tuple[str, str]]

    @classmethod
    def open(cls, path: Path = WORLD_FILE) -> World:
        """Read the table of facts."""
        facts: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        sizes, places, unseen = facts["sizes"], facts["places"], facts["unseen"]
        return cls(
            pixels=facts["picture"]["pixels"],
            cells=facts["picture"]["cells"],
            template=facts["grammar"]["template"],
            background_phrase=facts["grammar"]["background"],
            backgrounds={name: (rgb[0], rgb[1], rgb[2]) for name, rgb in facts["backgrounds"].items()},
            size_words={name: size["word"] for name, size in sizes.items()},
            sides={name: size["side"] for name, size in sizes.items()},
            place_phrases={name: place["phrase"] for name, place in places.items()},
            margins={name: (p["margin"][0], p["margin"][1]) for name, p in places.items() if "margin" in p},
            jitter=places["centre"]["jitter"],
            styles={word: Style(**style) for word, style in facts["styles"].items()},
            subjects=dict(facts["subjects"]),
            gallery_styles=tuple(facts["gallery"]["styles"]),
            gallery_background=facts["gallery"]["background"],
            unseen_drawings=frozenset(unseen["drawings"]),
            unseen_pairs=frozenset((pair["subject"], pair["style"]) for pair in unseen.get("pairs", [])),
        )

    def caption(self, scene: Scene, *, style: bool = True, background: bool = True, size: bool = True) -> str:
        """The scene in the fixed grammar; what a flag switches off is left unsaid."""
        return self.say(
            scene.subject,
            style=scene.style if style else "",
            background=scene.background if background else "",
            place=scene.place,
            size=scene.size if size else "medium",
        )

    def say(
        self, subject: str, *, style: str = "", background: str = "", place: str = "centre", size: str = "medium"
    ) -> str:
        """A caption from free words: each slot also takes a placeholder or a word that the world does not know."""
        said = self.template.format(
            size=self.size_words[size],
            style=style,
            subject=subject,
            place=self.place_phrases[place],
            background=self.background_phrase.format(background=background) if background else "",
        )
        return " ".join(said.split())

    def words(self) -> list[str]:
        """Every word that a caption can hold, each once, sorted."""
        phrases = [self.template, self.background_phrase, *self.size_words.values(), *self.place_phrases.values()]
        phrases += [*self.backgrounds, *self.styles, *self.subjects]
        return sorted({word for phrase in phrases for word in phrase.split() if not word.startswith("{")})
