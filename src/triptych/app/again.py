"""A picture made again from the recipe in it: ours, A1111's text, or ComfyUI's graph."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ..base import EMBEDDED, Place
from ..data.prompts import Line
from ..errors import Remedy, TriptychError
from ..files.hashes import known_sha256
from ..files.library import Kind, Library
from ..options import EMPHASIS, Precision
from ..sampling.controls import Controls, size_of
from ..sampling.graph import read_graph
from ..sampling.infotext import read_infotext
from ..sampling.pictures import texts_of
from ..sampling.recipe import ModelFile, Recipe, Used
from ..sampling.samplers import sampler_named
from .asked import Made, SampleRequest
from .calling import WORD

KINDS: tuple[Kind, ...] = ("lora", "hypernet", "embedding", "aesthetic")
SHORT: Mapping[str, Precision] = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
NOISE = "the noise of another program is another: the picture will be of the same kind, and not the same"
SHARED = "the picture shares self-attention with others of its set: alone, as now, it will be another"
EMPHASIS_OF = {"No norm": "no-norm", "None": "none", "Original": "a1111", **{name: name for name in EMPHASIS}}
READ = {
    "Steps", "Sampler", "Schedule type", "CFG scale", "Seed", "Size", "Clip skip", "Variation seed", "Model",
    "Model hash", "Variation seed strength", "Seed resize from", "Emphasis", "Lora hashes", "TI hashes", "Version",
    "VAE", "VAE hash",
}  # fmt: skip  # of A1111's settings: used, or of no effect


@dataclass(frozen=True)
class Again:
    """What a picture says of how it was made.

    Attributes:
        line: its prompt with seed, steps, guidance and sampler.
        uses: the files that were attached to it beside the prompt.
        made: its base, and the files that its prompt calls.
        start: the picture that it begins with, and `mask`; without a name if there is none.
        precision: torch's name of the data type; "" where it does not say.
        notes: one sentence for each thing that it says and that is not used.
    """

    line: Line
    controls: Controls
    uses: tuple[Used, ...] = ()
    made: Made = field(default_factory=Made)
    start: ModelFile = field(default_factory=ModelFile)
    mask: ModelFile = field(default_factory=ModelFile)
    precision: str = ""
    notes: tuple[str, ...] = ()

    def files(self, given: Sequence[str], library: Library | None, beside: Path) -> list[str]:
        """The attached files as `FILE:STRENGTH`, found by their hashes, and the given ones that are none of them.

        They are looked for among the given ones, in the library, beside the picture, and here. A given strength
        overrides the picture's.

        Raises:
            TriptychError: one of them is nowhere.
        """
        places = [Path(use) if Path(use).exists() else Path(use.rpartition(":")[0]) for use in given]
        found = [
            _found(used.file, [*places, *_near(used.file, beside), *_in_library(library, used)]) for used in self.uses
        ]
        stated = {path: use for use, path in zip(given, places, strict=True) if Path(use) != path}
        own = [
            stated.get(path, f"{path}:{used.course or used.text}") for path, used in zip(found, self.uses, strict=True)
        ]
        return [*own, *(use for use, path in zip(given, places, strict=True) if path not in found)]


def _near(file: ModelFile, beside: Path) -> list[Path]:
    return [folder / file.name for folder in (beside, Path())]


def _found(file: ModelFile, places: Iterable[Path]) -> Path:
    path = next((path for path in places if path.is_file() and _is(path, file.sha256)), None)
    if path is None:
        name = f"{file.name} ({file.sha256[:10]})"
        raise TriptychError(f"the picture was made with {name}, which is not found", Remedy.ATTACH)
    return path


def _in_library(library: Library | None, used: Used) -> list[Path]:
    if library is None:
        return []
    return [path for kind in KINDS for path in library.files(kind).get(used.file.stem, ())]


def _is(path: Path, sha256: str) -> bool:
    return known_sha256(path).lower() == sha256


def read_again(path: Path) -> Again:
    """
    Raises:
        TriptychError: there is no such picture, or nothing in it says how it was made.
    """
    texts = texts_of(path)
    if "triptych" in texts:
        return _of_recipe(Recipe.read(texts["triptych"]))
    if "parameters" in texts:
        return _of_infotext(texts["parameters"])
    if "prompt" in texts:
        return _of_graph(texts["prompt"])
    raise TriptychError(f"nothing in {path} says how it was made")


def _of_recipe(recipe: Recipe) -> Again:
    sampling = recipe.sampling
    line = Line(recipe.prompt, sampling.negative, recipe.seed, sampling.steps, sampling.guidance, sampling.sampler)
    controls = recipe.controls
    if recipe.variation is not None:
        controls = replace(controls, variation_seed=recipe.variation)
    attached = tuple(used for used in recipe.uses if used.attached and (used.called or used.method != WORD))
    hashes = {used.file.name: used.file.sha256 for used in recipe.uses if not used.attached}
    made = Made(recipe.base, recipe.base_fingerprint, hashes)
    notes = (SHARED,) if recipe.shared else ()
    return Again(line, controls, attached, made, recipe.start, recipe.mask, recipe.precision, notes)


def _of_infotext(text: str) -> Again:
    read = read_infotext(text)
    told, notes = dict(read.settings), [NOISE]
    given: dict[str, Any] = {}
    _take(given, "seed", told.get("Seed"), int, notes, "Seed")
    _take(given, "steps", told.get("Steps"), int, notes, "Steps")
    _take(given, "guidance", told.get("CFG scale"), float, notes, "CFG scale")
    sampler, schedule = told.get("Sampler", ""), told.get("Schedule type", "")
    given |= _sampler([f"{sampler} {schedule}", sampler], notes)
    controls: dict[str, Any] = {}
    size = told.get("Size", "")
    readers: tuple[tuple[str, str, Callable[[str], Any]], ...] = (
        ("clip_skip", "Clip skip", int),
        ("variation_seed", "Variation seed", int),
        ("variation_strength", "Variation seed strength", float),
        ("seed_resize", "Seed resize from", _size),
        ("emphasis", "Emphasis", EMPHASIS_OF.__getitem__),
    )
    for name, key, kind in readers:
        _take(controls, name, told.get(key), kind, notes, key)
    if re.fullmatch(r"\d+x\d+", size):
        controls["width"], controls["height"] = size_of(size, "size")
    used = READ | _second_pass(controls, told, notes)
    notes += [f"{name}: {value} is not used" for name, value in told.items() if name not in used]
    return Again(
        Line(read.prompt, read.negative, **given),
        Controls(**controls),
        made=Made(told.get("Model", "")),
        notes=tuple(notes),
    )


def _second_pass(controls: dict[str, Any], told: Mapping[str, str], notes: list[str]) -> set[str]:
    """Take over A1111's second pass, which shrinks nothing. Returns the names of the settings that are used."""
    if "Hires upscale" not in told:
        return set()
    _take(controls, "hires", told["Hires upscale"], float, notes, "Hires upscale")
    _take(controls, "hires_denoise", told.get("Denoising strength"), float, notes, "Denoising strength")
    upscaler = told.get("Hires upscaler", "Latent")
    controls |= {"hires_by": "latent" if upscaler.startswith("Latent") else "pixel", "hires_shrink": 0.0}
    if upscaler not in ("Latent", "Lanczos"):
        notes.append(f"the upscaler {upscaler!r} is not known here: {controls['hires_by']}s are enlarged in its place")
    same = {"Hires steps"} if told.get("Hires steps") == told.get("Steps") else set()
    return {"Hires upscale", "Denoising strength", "Hires upscaler", *same}


def _of_graph(text: str) -> Again:
    graph = read_graph(text)
    notes, given, controls = [NOISE, *graph.notes], dict[str, Any](), dict[str, Any]()
    seed = graph.inputs.get("seed", graph.inputs.get("noise_seed"))
    for name, value, kind in (
        ("seed", seed, int),
        ("steps", graph.inputs.get("steps"), int),
        ("guidance", graph.inputs.get("cfg"), float),
    ):
        _take(given, name, value, kind, notes, name)
    sampler, schedule = str(graph.inputs.get("sampler_name", "")), str(graph.inputs.get("scheduler", ""))
    given |= _sampler([f"{sampler}_{schedule}", sampler], notes)
    for name in ("width", "height"):
        _take(controls, name, graph.inputs.get(name), int, notes, name)
    if (denoise := graph.inputs.get("denoise", 1)) != 1:
        notes.append(f"denoise: {denoise} is not used")
    tags = " ".join(f"<lora:{Path(name).stem}:{text:g}:{denoiser:g}>" for name, denoiser, text in graph.loras)
    prompt, negative = (re.sub(r"\bembedding:", "", said) for said in (graph.prompt, graph.negative))
    line = Line(f"{prompt} {tags}".strip(), negative, **given)
    return Again(
        line,
        Controls(emphasis="comfy", clip_skip=graph.clip_skip, **controls),
        made=Made(graph.checkpoint),
        notes=tuple(notes),
    )


def _take(given: dict[str, Any], name: str, value: Any, kind: Callable[[Any], Any], notes: list[str], key: str) -> None:
    """Take a value over, if there is one and it is of its kind."""
    if value is None or value == "":
        return
    try:
        given[name] = kind(value)
    except (ValueError, KeyError, TypeError):
        notes.append(f"{key}: {value} is not used, for it is not understood")


def _size(text: str) -> str:
    if not re.fullmatch(r"\d+x\d+", text):
        raise ValueError
    return text


def _sampler(spellings: Iterable[str], notes: list[str]) -> dict[str, str]:
    """The first of these samplers that is known. Where it is not the first spelling, its schedule is said."""
    first, bare = spellings
    for spelling in (first, bare):
        try:
            name = sampler_named(spelling.strip())
        except TriptychError:
            continue
        if spelling == bare and first.strip(" _") != bare:
            notes.append(f"the schedule of {first!r} is not known here: {name} has its own")
        return {"sampler": name}
    if bare:
        notes.append(f"the sampler {bare!r} is not known here: the base's own is taken")
    return {}


def again_request(
    picture: Path, request: SampleRequest, place: Place, stated: Collection[str] = ()
) -> tuple[SampleRequest, Place]:
    """The request for a picture as another one was made, and the place of its base. Its own file says how.

    What `request` has besides overrides what the picture says: settings, controls that are not the default, a seed, a
    count, a picture to begin with, further files. Of `place`, the base is taken, unless both it and the picture's are
    embedded ones.

    Args:
        stated: names of controls, and of the fields `source` and `precision` of `place`, that override what the picture
            says even where they are the default.

    Raises:
        TriptychError: the picture does not say how it was made, or was made with files that are not there.
    """
    again = read_again(picture)
    library = Library(request.library) if request.library else None
    if "source" not in stated and place.source in EMBEDDED and again.made.base in EMBEDDED:
        place = replace(place, source=again.made.base)
    if again.precision and "precision" not in stated:
        place = replace(place, precision=SHORT[again.precision])
    begun = [
        given or (_found(file, _near(file, picture.parent)) if file.name else None)
        for file, given in ((again.start, request.start), (again.mask, request.mask))
    ]
    changes: dict[str, Any] = {**request.changes, "seed": request.seed}
    line = replace(again.line, **{name: value for name, value in changes.items() if value is not None})
    made = replace(
        request, prompts=[line], uses=again.files(request.uses, library, picture.parent), changes={},
        controls=replace(again.controls, **_given(request.controls, stated)), notes=again.notes, made=again.made,
        start=begun[0], mask=begun[1],
    )  # fmt: skip
    return made, place


def _given(controls: Controls, stated: Collection[str]) -> dict[str, Any]:
    """The controls that are stated, or not the default."""
    return {
        control.name: value
        for control in fields(controls)
        if (value := getattr(controls, control.name)) != control.default or control.name in stated
    }
