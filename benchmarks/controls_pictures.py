"""The controls that begin with a picture, and those of samplers and guidance, each judged."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.controls_bench import Asked, Bench, Case, Rate, change, changes, overlap, share
from triptych.metrics.colour import lab
from triptych.metrics.world import DIFFERENT, box, mask
from triptych.sampling.generate import settings_for
from triptych.sampling.image_to_image import Start
from triptych.sampling.outpainting import Extension
from triptych.sampling.request import Request
from triptych.sampling.samplers import SAMPLERS

BLUR, ROUND = 2, 4  # of a mask's edge, and how far a mask goes around a drawing, in pixels
STRIP, EDGE = 32, 8  # pixels that a picture is extended by at two sides, and those beside the seam that are not judged
TRACES = 0.02  # share of a strip, beyond which something is drawn on it


def denoises(bench: Bench) -> Iterator[Rate]:
    """A picture is sampled anew by its own prompt with another seed: the more, the farther it is from the picture."""
    asked = bench.asked()
    before, found = bench.plain(asked), []
    for amount in (0.3, 0.6, 0.9):
        starts = [Start.of(picture, picture.size) for picture in before]
        after = bench.sample(f"denoise {amount}", _anew(asked, starts), denoise=amount)
        found.append(changes(before, after))
        yield Rate("--denoise", f"mean change at {amount:g}, of 255", float(found[-1].mean()), len(asked))
        yield Rate("--denoise", f"distance at {amount:g}", float(bench.distances(before, after).mean()), len(asked))
    rises = share((found[0] < found[1]) & (found[1] < found[2]))
    yield Rate("--denoise", "0.3 changes less than 0.6, and 0.6 less than 0.9", rises, len(asked), 0.8)


def inpaints(bench: Bench) -> Iterator[Rate]:
    """What lies around the drawing is masked, and the prompt names another thing."""
    asked = bench.asked()
    before = bench.plain(asked)
    masks = [_around(picture) for picture in before]
    starts = [Start.of(picture, picture.size, own, BLUR) for picture, own in zip(before, masks, strict=True)]
    after = bench.sample("inpainted", _anew(asked, starts, [own.of(own.other) for own in asked]), denoise=1.0)
    flipped = bench.right(after, [own.other for own in asked])
    yield Rate("--mask, --denoise 1", "the subject becomes the other one", flipped, len(asked), 0.8)
    outside = [
        float(change(a, b)[np.asarray(start.mask) == 0].mean())
        for a, b, start in zip(before, after, starts, strict=True)
    ]  # fmt: skip
    yield Rate("--mask, --denoise 1", "mean change outside, of 255", fmean(outside), len(outside), None, 0.5)


def outpaints(bench: Bench) -> Iterator[Rate]:
    """A picture grows at two sides, and the prompt names the background alone: nothing may be drawn there."""
    asked, by = bench.asked(bench.count // 4), Extension(STRIP, 0, STRIP, 0)
    before = bench.plain(asked)
    starts = [
        Start.of(by.canvas(picture), by.grown(picture.size), by.mask(picture.size, None, 2 * BLUR), BLUR)
        for picture in before
    ]
    prompts, width = [f"a {own.ground} background" for own in asked], by.grown(before[0].size)[0]
    old = [picture.crop((EDGE, 0, picture.width - EDGE, picture.height)) for picture in before]
    for shrink in (1.0, 0.0):
        name = f"--extend, --denoise 1{', --shrink 1' if shrink else ''}"
        after = bench.sample(name, _anew(asked, starts, prompts), width=width, denoise=1.0, shrink=shrink)
        strips = [np.hstack([new[:, : STRIP - EDGE], new[:, EDGE - STRIP :]]) for new in map(np.asarray, after)]
        yield Rate(name, "the new parts show the background alone", share(map(_is_plain, strips)), len(asked), 0.8)
        kept = [picture.crop((STRIP + EDGE, 0, width - STRIP - EDGE, picture.height)) for picture in after]
        yield Rate(name, "mean change of the picture, of 255", float(changes(old, kept).mean()), len(asked), None, 0.5)
    alone = bench.sample("the prompt alone", [own.request(prompt) for own, prompt in zip(asked, prompts, strict=True)])
    plain = share(_is_plain(np.asarray(picture)) for picture in alone)
    yield Rate('the prompt "a COLOUR background" alone', "the picture shows the background alone", plain, len(asked))


def variations(bench: Bench) -> Iterator[Rate]:
    """A second noise is mixed in: the more, the farther from the picture."""
    asked = bench.asked(bench.count // 4)
    before, found = bench.plain(asked), []
    for strength in (0.2, 0.5, 1.0):
        requests = [own.request(variations=(own.seed + 1,)) for own in asked]
        after = bench.sample(f"variation {strength}", requests, variation_strength=strength)
        found.append(changes(before, after))
        yield Rate("--variation-strength", f"mean change at {strength:g}, of 255", float(found[-1].mean()), len(asked))
    rises = share((found[0] < found[1]) & (found[1] < found[2]))
    yield Rate("--variation-strength", "0.2 changes less than 0.5, and 0.5 less than 1", rises, len(asked), 0.8)
    right = bench.right(after, [own.thing for own in asked])
    yield Rate("--variation-strength", "at 1 the picture shows its thing", right, len(asked), 0.8)


def second_passes(bench: Bench) -> Iterator[Rate]:
    """A second pass at twice the size: the picture stays what it was."""
    asked = bench.asked(bench.count // 4)
    before = bench.plain(asked)
    others = bench.sample("other seeds", [Request(own.prompt, (own.seed + 1,)) for own in asked])
    usual = fmean(map(overlap, before, others))
    for by, shrink in (("latent", 1.0), ("pixel", 1.0), ("latent", 0.0), ("pixel", 0.0)):
        name = f"--hires 2, --hires-by {by}{'' if shrink else ', --hires-shrink 0'}"
        controls = {"hires": 2.0, "hires_by": by, "hires_shrink": shrink}
        after = bench.sample(name, [own.request() for own in asked], **controls)
        small = [picture.resize(old.size, Image.Resampling.BOX) for picture, old in zip(after, before, strict=True)]
        stays = bench.right(small, [own.thing for own in asked])
        yield Rate(name, "the thing stays", stays, len(asked), 0.8 if shrink else None)
        kept = fmean(map(overlap, before, small))
        yield Rate(name, "overlap with the drawing of the first pass", kept, len(asked), usual if shrink else None)
    yield Rate("another seed", "overlap with the drawing", usual, len(asked))


def samplers(bench: Bench, names: Collection[str] = SAMPLERS) -> Iterator[Rate]:
    """Each sampler, with the base's number of steps."""
    asked, found = bench.asked(max(1, bench.count // 13)), {}
    for name in names:
        pictures = bench.sample(name, [own.request() for own in asked], settings_for(bench.base, sampler=name))
        found[name] = bench.right(pictures, [own.thing for own in asked])
    worst, count = min(found, key=lambda name: found[name]), len(asked)
    what = "the picture shows its thing"
    yield Rate(f"--sampler, all {len(found)}", what, fmean(found.values()), count * len(found), 0.8)
    yield Rate(f"--sampler, the worst: {worst}", what, found[worst], count, 0.6)


def guidances(bench: Bench) -> Iterator[Rate]:
    """What changes how prompts guide: the picture changes, and shows what is asked for."""
    asked = bench.asked(bench.count // 4)
    ways: Mapping[str, Mapping[str, Any]] = {
        "--cfg-rescale 0.7": {"cfg_rescale": 0.7},
        "--freeu 1.4,1.6,0.9,0.2": {"freeu": "1.4,1.6,0.9,0.2"},
        "--pag 3": {"pag": 3.0},
        "--clip-skip 2": {"clip_skip": 2},
    }
    before = bench.plain(asked)
    for name, controls in ways.items():
        after = bench.sample(name, [own.request() for own in asked], **controls)
        yield Rate(name, "mean change, of 255", float(changes(before, after).mean()), len(asked), 1.0)
        yield Rate(
            name, "the picture shows its thing", bench.right(after, [own.thing for own in asked]), len(asked), 0.8
        )
        yield Rate(name, "the background stays", bench.grounds(after, [own.ground for own in asked]), len(asked), 0.95)


def _anew(asked: Sequence[Asked], starts: Sequence[Start], prompts: Sequence[str] = ()) -> list[Request]:
    """Requests that begin with pictures, by the next seed."""
    said = prompts or [own.prompt for own in asked]
    triples = zip(asked, starts, said, strict=True)
    return [Request(prompt, (own.seed + 1,), start=start) for own, start, prompt in triples]


def _is_plain(pixels: np.ndarray) -> bool:
    """Whether pixels [height, width, 3] have one colour, up to traces."""
    seen = lab(pixels)
    return bool((np.linalg.norm(seen - np.median(seen, axis=(0, 1)), axis=-1) > DIFFERENT).mean() < TRACES)


def _around(picture: Image.Image) -> Image.Image:
    """White in the box of the drawing, and a little around it."""
    top, bottom, left, right = box(mask(np.asarray(picture)))
    found = Image.new("L", picture.size)
    edges = (left - ROUND, top - ROUND, right + ROUND - 1, bottom + ROUND - 1)
    ImageDraw.Draw(found).rectangle(edges, fill=255)
    return found


CASES: Mapping[str, Case] = {
    case.__name__: case for case in (denoises, inpaints, outpaints, variations, second_passes, samplers, guidances)
}
