"""Finds captions that say something else than their picture: by the base's world of drawings, or by a text encoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from ..data.findings import Finding
from ..metrics.colour import lab
from ..metrics.encoders import TextImageEncoder
from ..metrics.world import NEAR, Floats, Pixels, World, border_colour, mask, place

CORNER = 1 / 16  # side of a corner, as a part of the shorter side
FEWEST = 4  # different captions by which a text encoder can tell
SPREADS = 3.0  # below the folder's median, from which a caption is in conflict
SPREAD = 0.02  # the least spread, in cosines


def by_world(
    names: Sequence[str], pictures: Sequence[Image.Image], captions: Sequence[str], world: World
) -> Iterator[Finding]:
    """Backgrounds, places and sizes that a caption names and that its picture does not have."""
    for name, picture, caption in zip(names, pictures, captions, strict=True):
        asked = world.asked(caption)
        if not (asked.background or asked.place or asked.size):
            continue
        pixels = np.asarray(picture.convert("RGB"))
        region, wrong = mask(pixels), []
        if asked.background and _apart(pixels, world.backgrounds[asked.background]) > NEAR:
            wrong.append(f"a {asked.background} background, which is {world.background(pixels) or 'another'}")
        elif asked.place and (found := place(region)) and found != asked.place:
            wrong.append(f"{world.places[asked.place]}, where it is {found}")
        elif asked.size and world.size_distances(region).get(asked.size, 0) > 1 and not _is_full(pixels):
            wrong.append(f"{world.sizes[asked.size]}, which it is not")
        if wrong:
            yield Finding("wrong-caption", f"its caption says {' and '.join(wrong)}", name, len(wrong))


def _apart(pixels: Pixels, colour: tuple[int, int, int]) -> float:
    """The distance in CIELAB of a colour from the border's, or from the corners' if they are nearer.

    A large drawing may cover most of the border, but hardly the corners.
    """
    seen = (border_colour(pixels), _corners(pixels))
    return min(float(np.linalg.norm(lab(np.array(colour)) - lab(edge))) for edge in seen)


def _corners(pixels: Pixels) -> Floats:
    """[3]: the median colour of the four corners."""
    side = max(1, round(CORNER * min(pixels.shape[:2])))
    ends = (slice(side), slice(-side, None))
    parts = [pixels[rows, columns] for rows in ends for columns in ends]
    return np.asarray(np.median(np.concatenate([part.reshape(-1, 3) for part in parts]), axis=0), np.float64)


def _is_full(pixels: Pixels) -> bool:
    """Whether the drawing covers the border, so that it cannot be told from its background there."""
    return float(np.linalg.norm(lab(border_colour(pixels)) - lab(_corners(pixels)))) > NEAR / 2


def by_encoder(
    names: Sequence[str], pictures: Sequence[Image.Image], captions: Sequence[str], encoder: TextImageEncoder
) -> Iterator[Finding]:
    """Captions that fit their picture worse than those of the other pictures do.

    A caption is in conflict if its cosine, less the mean cosine of the picture with the other captions, is below 0 and
    three spreads below the folder's median.
    """
    own = [i for i, caption in enumerate(captions) if caption]
    if len({captions[i] for i in own}) < FEWEST:
        return
    seen, read = encoder.images([pictures[i] for i in own]), encoder.texts([captions[i] for i in own])
    cosines = (seen @ read.T).double().numpy()
    others = np.array([[captions[i] != captions[j] for j in own] for i in own])
    margins = cosines.diagonal() - np.array([row[mine].mean() for row, mine in zip(cosines, others, strict=True)])
    usual = float(np.median(margins))
    spread = max(SPREAD, 1.4826 * float(np.median(np.abs(margins - usual))))
    for place_, margin in zip(own, margins, strict=True):
        if margin < 0 and (usual - margin) / spread > SPREADS:
            said = f"its caption fits worse than those of other pictures ({margin:+.2f}, {usual:+.2f} is usual)"
            yield Finding("wrong-caption", said, names[place_], float(margin))
