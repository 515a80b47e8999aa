"""The controls of what a picture shows, and where, each judged: what it is to change, and what is to stay."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from statistics import fmean

import numpy as np

from benchmarks.controls_bench import Asked, Bench, Case, Pictures, Rate, change, changes, halves, overlap, share
from triptych.exchange.artifact import Part, compose
from triptych.metrics.world import mask
from triptych.prompt.courses import Window
from triptych.sampling.generate import stream
from triptych.sampling.moves import Move
from triptych.sampling.prompts import Markup
from triptych.sampling.request import Edit, Region, Request

LEFT, RIGHT = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)
STEPS = 16  # that schedules of prompts are read for; those here have none


def edits(bench: Bench) -> Iterator[Rate]:
    """A lion becomes an owl in half of the pictures; any thing any other one in the rest."""
    asked = [*bench.asked(bench.count, "lion", "owl")[::2], *bench.asked(bench.count)[1::2]]
    others, count = [own.of(own.other) for own in asked], len(asked)
    before = bench.plain(asked)
    plain = bench.sample("other prompt", [own.request(other) for own, other in zip(asked, others, strict=True)])
    after = bench.sample("edited", [own.request(edit=Edit(other)) for own, other in zip(asked, others, strict=True)])
    flipped = bench.right(after, [own.other for own in asked])
    yield Rate("--edit", "the subject becomes the other one", flipped, count, 0.8)
    stays = bench.grounds(after, [str(bench.ground(picture)) for picture in before])
    yield Rate("--edit", "the background stays", stays, count, 0.95)
    kept = [fmean(map(overlap, before, pictures)) for pictures in (after, plain)]
    yield Rate("--edit", "overlap with the drawing before", kept[0], count, kept[1])
    yield Rate("the other prompt alone", "overlap with the drawing before", kept[1], count)


def blends(bench: Bench) -> Iterator[Rate]:
    """The other prompt names another background, too, and only the things may change."""
    asked = bench.asked()
    before = bench.plain(asked)
    for name, only in (("--edit-only THINGS", True), ("--edit without it", False)):
        edited = [
            Edit(own.of(own.other, own.other_ground), only=(own.thing, own.other) if only else ()) for own in asked
        ]
        after = bench.sample(name, [own.request(edit=edit) for own, edit in zip(asked, edited, strict=True)])
        flipped = bench.right(after, [own.other for own in asked])
        stays = bench.grounds(after, [str(bench.ground(picture)) for picture in before])
        yield Rate(name, "the subject becomes the other one", flipped, len(asked), 0.8 if only else None)
        yield Rate(name, "the background stays", stays, len(asked), 0.95 if only else None)


def _attended(own: Asked, words: str) -> Request:
    """The same picture, with little attention to some words of its prompt."""
    return own.request(edit=Edit(own.prompt, weights=((words, 0.1),)))


def _weighed(own: Asked, written: str, emphasis: str) -> Request:
    return Request(Markup(emphasis).prompt(own.of(written), STEPS).guides, (own.seed,))


def reweights(bench: Bench) -> Iterator[Rate]:
    """Less weight on the word of the thing: the picture is less like it."""
    asked = bench.asked()
    ways: Mapping[str, Callable[[Asked], Request]] = {
        "--edit-weights THING": lambda own: _attended(own, own.thing),
        "--edit-weights, on THING and all words after it": lambda own: _attended(
            own, f"{own.thing} on a {own.ground} background"
        ),
        "(THING:weight)": lambda own: _weighed(own, f"({own.thing}:0.1)", "a1111"),
        "(THING)weight, --emphasis compel": lambda own: _weighed(own, f"({own.thing})0.1", "compel"),
    }

    def likeness(pictures: Pictures) -> list[float]:
        seen = bench.things.see(pictures)
        return [-bench.things.distances(row)[own.thing] for row, own in zip(seen, asked, strict=True)]

    full = likeness(bench.plain(asked))
    for name, way in ways.items():
        low = likeness(bench.sample(name, [way(own) for own in asked]))
        less = share(a < b for a, b in zip(low, full, strict=True))
        yield Rate(name, "0.1 is less like the thing than 1", less, len(asked), 0.8)
        yield Rate(name, "likeness to the thing at 0.1", fmean(low), len(asked))
    yield Rate("(THING:weight)", "likeness to the thing at 1", fmean(full), len(asked))


def sizes(bench: Bench) -> Iterator[Rate]:
    """Less weight on "small": the drawing is larger."""
    asked, found = bench.asked(bench.count // 4), []
    ways = (("a1111", "(small:0.1)"), ("compel", "(small)0.1"), ("a1111", "small"))
    for emphasis, written in ways:
        prompts = [f"a {written} {own.style} {own.thing} on a {own.ground} background" for own in asked]
        guides = [Markup(emphasis).prompt(prompt, STEPS).guides for prompt in prompts]
        requests = [Request(own, (single.seed,)) for own, single in zip(guides, asked, strict=True)]
        pictures = bench.sample(f"{written} {emphasis}", requests)
        found.append([float(mask(np.asarray(picture)).mean()) for picture in pictures])
    for name, low in zip(("(small:weight)", "(small)weight, --emphasis compel"), found, strict=False):
        larger = share(little > full for little, full in zip(low, found[-1], strict=True))
        yield Rate(name, "at 0.1 the drawing is larger than at 1", larger, len(asked), 0.8)
        yield Rate(name, "share of the picture that is drawn on at 0.1", fmean(low), len(asked))
    yield Rate("(small:weight)", "share of the picture that is drawn on at 1", fmean(found[-1]), len(asked))


def regions(bench: Bench) -> Iterator[Rate]:
    """A thing on the left half and another one on the right half."""
    asked = bench.asked()
    things = [thing for own in asked for thing in (own.thing, own.other)]
    for width, places, alone in ((128, ("", ""), 1.0), (64, ("on the left", "on the right"), 1.0),
                                 (64, ("on the left", "on the right"), 0.0)):  # fmt: skip
        name = f"--region, {width} x 64{', with places in the prompts' if any(places) else ''}"
        name += "" if alone else ", --region-alone 0"
        wanted = [
            own.request(f"a {own.ground} background", regions=(
                Region(own.of(own.thing, place=places[0]), LEFT), Region(own.of(own.other, place=places[1]), RIGHT)))
            for own in asked
        ]  # fmt: skip
        pictures = bench.sample(name, wanted, width=width, region_alone=alone)
        parts = [half for picture in pictures for half in halves(picture)]
        right, grounds = bench.right(parts, things), bench.grounds(parts, [own.ground for own in asked for _ in "ab"])
        yield Rate(name, "halves that show their thing", right, len(parts), 0.8 if alone else None)
        yield Rate(name, "halves with the background", grounds, len(parts), 0.95 if alone else None)


def kept_to_regions(bench: Bench) -> Iterator[Rate]:
    """A LoRA that the prompt of the left half calls."""
    asked = bench.asked(bench.count // 4)
    wanted = [
        own.request(owner="out", regions=(Region(own.prompt, LEFT, "in"), Region(own.of(own.other), RIGHT, "out")))
        for own in asked
    ]
    found = []
    for strength in (0.0, 1.0):
        with compose(bench.base, Part(bench.lora, strength, "in")):
            found.append(bench.sample(f"LoRA on the left: {strength:g}", wanted, width=128))
    changes = [change(a, b) for a, b in zip(*found, strict=True)]
    middle, name = changes[0].shape[1] // 2, "a LoRA of the left region"
    inside, outside = (
        fmean(float(own[:, part].mean()) for own in changes) for part in (slice(middle), slice(middle, None))
    )
    yield Rate(name, "mean change inside, of 255", inside, len(asked))
    yield Rate(name, "mean change outside, of that inside", outside / inside, len(asked), None, 0.1)
    right = bench.right([halves(picture)[1] for picture in found[1]], [own.other for own in asked])
    yield Rate(name, "the right half shows its thing", right, len(asked), 0.8)


def courses(bench: Bench) -> Iterator[Rate]:
    """A LoRA that is switched off at a part of the steps: the longer it is on, the more of it is in the picture."""
    asked = bench.asked(bench.count // 4)
    requests, found = [own.request() for own in asked], []
    with compose(bench.base, Part(bench.lora)) as (patch,):
        for end in (0, 0.5, 0.75, 1):
            drawn = dict(stream(bench.base, requests, moves=[Move(patch, 1.0, Window(0, end))]))
            found.append([drawn[i] for i in range(len(asked))])
            bench.shown[f"on until {end}"] = found[-1]
    off, half, most, on = found
    whole = changes(off, on)
    for end, pictures in (("0.5", half), ("0.75", most)):
        name = f"--use LORA:1@0-{end}"
        between = share((changes(pictures, off) < whole) & (changes(pictures, on) < whole))
        yield Rate(name, "nearer to off and to on than they are to each other", between, len(asked), 0.8)
        yield Rate(name, "change from off, of 255", float(changes(pictures, off).mean()), len(asked))
        yield Rate(name, "change from on, of 255", float(changes(pictures, on).mean()), len(asked))
    name = "--use LORA:1@0-SHARE"
    farther = share((changes(half, off) < changes(most, off)) & (changes(most, off) < whole))
    yield Rate(name, "farther from off at 0.75 than at 0.5, and at 1 than at 0.75", farther, len(asked), 0.8)
    nearer = share((changes(half, on) > changes(most, on)) & (changes(most, on) > 0))
    yield Rate(name, "nearer to on at 0.75 than at 0.5", nearer, len(asked), 0.8)
    yield Rate(name, "change from off to on, of 255", float(whole.mean()), len(asked))


CASES: Mapping[str, Case] = {
    case.__name__: case for case in (edits, blends, reweights, sizes, regions, kept_to_regions, courses)
}
