"""The controls of pictures, each judged: what it is to change, and what it is to leave as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from statistics import fmean

import numpy as np

from benchmarks.controls_bench import Asked, Bench, Rate, change, halves, overlap, share
from triptych.exchange.artifact import Part, compose
from triptych.metrics.world import mask
from triptych.prompt.courses import Window
from triptych.sampling.generate import stream
from triptych.sampling.image_to_image import Start
from triptych.sampling.moves import Move
from triptych.sampling.prompts import Markup
from triptych.sampling.request import Edit, Region, Request

LEFT, RIGHT = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)


def edits(bench: Bench) -> Iterator[Rate]:
    """A lion becomes an owl in half of the pictures; any thing any other one in the rest."""
    asked = [*bench.asked(bench.count, "lion", "owl")[::2], *bench.asked(bench.count)[1::2]]
    before = bench.sample("edit: before", [Request(one.prompt, (one.seed,)) for one in asked])
    others = [one.of(one.other) for one in asked]
    plain = bench.sample(
        "edit: other prompt", [Request(other, (one.seed,)) for one, other in zip(asked, others, strict=True)]
    )
    wanted = [Request(one.prompt, (one.seed,), edit=Edit(other)) for one, other in zip(asked, others, strict=True)]
    after = bench.sample("edit: after", wanted)
    yield Rate(
        "--edit", "the subject becomes the other one", bench.right(after, [one.other for one in asked]), len(asked), 0.8
    )
    yield Rate(
        "--edit",
        "the background stays",
        bench.grounds(after, [str(bench.ground(one)) for one in before]),
        len(asked),
        0.95,
    )
    kept = [fmean(map(overlap, before, pictures)) for pictures in (after, plain)]
    yield Rate("--edit", "overlap with the drawing before", kept[0], len(asked), kept[1])
    yield Rate("the other prompt alone", "overlap with the drawing before", kept[1], len(asked))


def blends(bench: Bench) -> Iterator[Rate]:
    """The other prompt names another background, too, and only the things may change."""
    asked = bench.asked()
    before = bench.sample("only: before", [Request(one.prompt, (one.seed,)) for one in asked])
    for only in (True, False):
        wanted = [
            Request(one.prompt, (one.seed,), edit=Edit(
                one.of(one.other, one.other_ground), only=(one.thing, one.other) if only else ()))
            for one in asked
        ]  # fmt: skip
        after = bench.sample(f"only: {only}", wanted)
        name = "--edit-only THINGS" if only else "--edit without it"
        yield Rate(
            name,
            "the subject becomes the other one",
            bench.right(after, [one.other for one in asked]),
            len(asked),
            0.8 if only else None,
        )
        yield Rate(
            name,
            "the background stays",
            bench.grounds(after, [str(bench.ground(one)) for one in before]),
            len(asked),
            0.95 if only else None,
        )


def reweights(bench: Bench) -> Iterator[Rate]:
    """Less attention to the word of the thing: the picture is less like it."""
    asked = bench.asked()
    ways: Mapping[str, Callable[[Asked, float], Request]] = {
        "--edit-weights THING": lambda one, factor: Request(
            one.prompt, (one.seed,), edit=Edit(one.prompt, weights=((one.thing, factor),))
        ),
        "(THING:weight)": lambda one, factor: Request(
            Markup().prompt(one.of(f"({one.thing}:{factor})"), 16).guides, (one.seed,)
        ),
    }
    for name, way in ways.items():
        likeness = []
        for factor in (0.1, 0.5, 1.0):
            pictures = bench.sample(f"{name} {factor}", [way(one, factor) for one in asked])
            seen = bench.things.see(pictures)
            likeness.append([-bench.things.distances(row)[one.thing] for row, one in zip(seen, asked, strict=True)])
        low, middle, full = likeness
        yield Rate(
            name,
            "0.1 is less like the thing than 1",
            share(a < b for a, b in zip(low, full, strict=True)),
            len(asked),
            0.8,
        )
        for factor, own in zip((0.1, 0.5, 1.0), (low, middle, full), strict=True):
            yield Rate(name, f"likeness to the thing at {factor:g}", fmean(own), len(asked))


def sizes(bench: Bench) -> Iterator[Rate]:
    """Less weight on "small": the drawing is larger."""
    asked = bench.asked(bench.count // 4)
    found = []
    for factor in (0.1, 1.0):
        prompts = [f"a (small:{factor}) {one.style} {one.thing} on a {one.ground} background" for one in asked]
        requests = [
            Request(Markup().prompt(prompt, 16).guides, (one.seed,))
            for prompt, one in zip(prompts, asked, strict=True)
        ]  # fmt: skip
        drawn = bench.sample(f"small {factor}", requests)
        found.append([float(mask(np.asarray(picture)).mean()) for picture in drawn])
        yield Rate(
            "(small:weight)", f"share of the picture that is drawn on at {factor:g}", fmean(found[-1]), len(asked)
        )
    larger = share(little > full for little, full in zip(*found, strict=True))
    yield Rate("(small:weight)", "at 0.1 the drawing is larger than at 1", larger, len(asked), 0.8)


def denoises(bench: Bench) -> Iterator[Rate]:
    """A picture is sampled anew by its own prompt with another seed: the more, the farther it is from the picture."""
    asked = bench.asked()
    before = bench.sample("denoise: before", [Request(one.prompt, (one.seed,)) for one in asked])
    found = []
    for amount in (0.3, 0.6, 0.9):
        starts = [Start.of(picture, picture.size) for picture in before]
        wanted = [Request(one.prompt, (one.seed + 1,), start=start) for one, start in zip(asked, starts, strict=True)]
        after = bench.sample(f"denoise: {amount}", wanted, denoise=amount)
        found.append(np.array([change(a, b).mean() for a, b in zip(before, after, strict=True)]))
        yield Rate("--denoise", f"mean change at {amount:g}, of 255", float(found[-1].mean()), len(asked))
        yield Rate("--denoise", f"distance at {amount:g}", float(bench.distances(before, after).mean()), len(asked))
    rises = share((found[0] < found[1]) & (found[1] < found[2]))
    yield Rate("--denoise", "0.3 changes less than 0.6, and 0.6 less than 0.9", rises, len(asked), 0.8)


def regions(bench: Bench) -> Iterator[Rate]:
    """A thing on the left half and another one on the right half."""
    asked = bench.asked()
    for width, places in ((128, ("", "")), (64, ("on the left", "on the right"))):
        wanted = [
            Request(f"a {one.ground} background", (one.seed,), regions=(
                Region(one.of(one.thing, place=places[0]), LEFT), Region(one.of(one.other, place=places[1]), RIGHT)))
            for one in asked
        ]  # fmt: skip
        drawn = bench.sample(f"regions of {width}", wanted, width=width)
        parts = [half for picture in drawn for half in halves(picture)]
        things = [thing for one in asked for thing in (one.thing, one.other)]
        named = "" if places == ("", "") else ", with places in the prompts"
        yield Rate(
            f"--region, {width} x 64{named}",
            "halves that show their thing",
            bench.right(parts, things),
            len(parts),
            0.8,
        )
        yield Rate(
            f"--region, {width} x 64{named}",
            "halves with the background",
            bench.grounds(parts, [one.ground for one in asked for _ in "ab"]),
            len(parts),
            0.95,
        )


def kept_to_regions(bench: Bench) -> Iterator[Rate]:
    """A LoRA that the prompt of the left half calls."""
    asked = bench.asked(bench.count // 4)
    wanted = [
        Request(
            one.prompt,
            (one.seed,),
            "out",
            regions=(Region(one.prompt, LEFT, "in"), Region(one.of(one.other), RIGHT, "out")),
        )
        for one in asked
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
    right = bench.right([halves(picture)[1] for picture in found[1]], [one.other for one in asked])
    yield Rate(name, "the right half shows its thing", right, len(asked), 0.8)


def courses(bench: Bench) -> Iterator[Rate]:
    """A LoRA that is switched off at half of the steps."""
    asked = bench.asked(bench.count // 4)
    requests = [Request(one.prompt, (one.seed,)) for one in asked]
    found = {}
    with compose(bench.base, Part(bench.lora)) as (patch,):
        for name, course in (("off", Window(0, 0)), ("half", Window(0, 0.5)), ("on", Window(0, 1))):
            drawn = dict(stream(bench.base, requests, moves=[Move(patch, 1.0, course)]))
            found[name] = bench.shown[f"LoRA {name}"] = [drawn[i] for i in range(len(asked))]
    whole = bench.distances(found["off"], found["on"])
    ends = [bench.distances(found["half"], found[name]) for name in ("off", "on")]
    yield Rate(
        "--use LORA:1@0-0.5",
        "nearer to off and to on than they are to each other",
        share((ends[0] < whole) & (ends[1] < whole)),
        len(asked),
        0.8,
    )
    for name, own in (("from off to on", whole), ("from off to half", ends[0]), ("from half to on", ends[1])):
        yield Rate("--use LORA:1@0-0.5", f"distance {name}", float(own.mean()), len(asked))


CASES: Mapping[str, Callable[[Bench], Iterator[Rate]]] = {
    case.__name__: case for case in (edits, blends, reweights, sizes, denoises, regions, kept_to_regions, courses)
}
