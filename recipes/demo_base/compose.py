"""Compositions: a drawing, scaled and placed on a background. Everything random comes from the generator given.

Boxes lie on the grid of the latents: a drawing that is moved by a cell has the same latents, moved. Between the cells
every place would be another picture to learn, and a denoiser of this size learns few pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from recipes.demo_base.art import Art
from recipes.demo_base.world import Scene, World

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
STYLE_SAID, BACKGROUND_SAID, SMALL_SAID = 0.85, 0.92, 0.6
"""How often a caption names the style, the background, and that a drawing beside the centre is small."""


@dataclass(frozen=True)
class Composer:
    """Draws scenes of the world."""

    world: World
    art: Art

    def drawing(self, scene: Scene) -> int | None:
        """The drawing that a scene shows, or None where its style has none of its subject."""
        package = self.world.styles[scene.style].package
        return self.art.index.get((package, self.world.subjects[scene.subject]))

    def choose(self, rng: np.random.Generator, *, seen: bool = True) -> Scene:
        """A random scene among those seen in training, or among those kept out of it."""
        world = self.world
        while True:
            subject = str(rng.choice(list(world.subjects)))
            style = str(rng.choice(list(world.styles)))
            background = str(rng.choice(list(world.backgrounds)))
            place, size = choose_layout(rng)
            scene = Scene(subject, style, background, place, size)
            if scene.seen == seen and self.drawing(scene) is not None:
                return scene

    def picture(self, scene: Scene, rng: np.random.Generator) -> Pixels:
        """The scene as uint8 [pixels, pixels, 3]; its exact place varies a little."""
        drawing = self.drawing(scene)
        if drawing is None:
            raise KeyError(f"no drawing of {scene.subject} in style {scene.style}")
        side = round(self.world.pixels * self.world.sides[scene.size])
        left, top = self.corner(scene.place, side, rng)
        return place(self.art.pixels[drawing], side, left, top, self.canvas(scene.background))

    def canvas(self, background: str) -> Pixels:
        """A plain background."""
        return plain(self.world.backgrounds[background], self.world.pixels)

    def corner(self, place: str, side: int, rng: np.random.Generator) -> tuple[int, int]:
        """Upper left corner of a box of `side` pixels at a place."""
        cell, jitter = self.world.pixels // self.world.cells, self.world.jitter
        room = (self.world.pixels - side) // cell
        top = room // 2 + int(rng.integers(-jitter, jitter + 1))
        if place == "centre":
            left = room // 2 + int(rng.integers(-jitter, jitter + 1))
        else:
            nearest, farthest = self.world.margins[place]
            margin = int(rng.integers(nearest, farthest + 1))
            left = margin if place == "left" else room - margin
        return cell * min(max(left, 0), room), cell * min(max(top, 0), room)

    def caption(self, scene: Scene, rng: np.random.Generator) -> str:
        """What training says about the scene: sometimes less than all of it."""
        said = rng.random(3)
        small = scene.place == "centre" or said[2] < SMALL_SAID
        return self.world.caption(
            scene, style=said[0] < STYLE_SAID, background=said[1] < BACKGROUND_SAID, size=bool(small)
        )


def choose_layout(rng: np.random.Generator) -> tuple[str, str]:
    """A place and a size: mostly medium and central."""
    layouts = [("centre", "medium"), ("centre", "small"), ("centre", "large"), ("left", "small"), ("right", "small")]
    return layouts[rng.choice(len(layouts), p=[0.6, 0.1, 0.1, 0.1, 0.1])]


def plain(rgb: tuple[int, int, int], pixels: int) -> Pixels:
    """One colour, uint8 [pixels, pixels, 3]."""
    return np.broadcast_to(np.array(rgb, np.uint8), (pixels, pixels, 3)).copy()


def place(drawing: Pixels, side: int, left: int, top: int, canvas: Pixels) -> Pixels:
    """Lay a premultiplied drawing, scaled to `side` pixels, over a canvas (which is changed and returned).

    Porter and Duff (1984), "over" with premultiplied colours: result = drawing + (1 - alpha) canvas.
    """
    scaled = Image.frombytes("RGBa", (drawing.shape[1], drawing.shape[0]), drawing.tobytes())
    small = np.asarray(scaled.resize((side, side), Image.Resampling.HAMMING))
    window = canvas[top : top + side, left : left + side]
    through = window * ((255 - small[..., 3:]) / 255)
    window[:] = np.clip(np.rint(small[..., :3] + through), 0, 255)
    return canvas


def to_tensor(pictures: list[Pixels]) -> Tensor:
    """uint8 pictures to float32 [batch, 3, pixels, pixels] in -1 to 1."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_pixels(decoded: Tensor) -> list[Pixels]:
    """float [batch, 3, pixels, pixels] in about -1 to 1 to uint8 pictures."""
    return list(((decoded.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy())
