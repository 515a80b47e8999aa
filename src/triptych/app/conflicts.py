"""Finds captions that say something else than their picture: by the base's world of drawings, or by a text encoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from ..data.findings import Finding
from ..metrics.encoders import TextImageEncoder
from ..metrics.world import NEAR, World, mask, place

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
        if asked.background and world.background_distances(pixels)[asked.background] > NEAR:
            wrong.append(f"a {asked.background} background, which is {world.background(pixels) or 'another'}")
        if asked.place and (found := place(region)) and found != asked.place:
            wrong.append(f"{world.places[asked.place]}, where it is {found}")
        if asked.size and world.size_distances(region).get(asked.size, 0) > 1:
            wrong.append(f"{world.sizes[asked.size]}, which it is not")
        if wrong:
            yield Finding("wrong-caption", f"its caption says {' and '.join(wrong)}", name, len(wrong))


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
