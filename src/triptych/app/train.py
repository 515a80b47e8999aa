"""Trains one method on one concept, or on several together, and writes one file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from ..base import Base, Place
from ..data.checking import brief
from ..data.concept import Concept
from ..data.concepts import digest_of
from ..data.examples import Examples
from ..data.framing import acting
from ..data.masks import digest_of as digest_of_masks
from ..data.pictures import read_picture
from ..data.summary import count, remarks, summary
from ..errors import Remedy, TriptychError, shown
from ..exchange.artifact import Artifact
from ..exchange.saving import save
from ..files.atomic import check_place
from ..methods import Training, method_named
from ..options import PictureOptions
from ..patching.patch import Tensors
from ..settings import Value
from ..settings import line as settings_line
from ..study.progress import Progress, steps_of
from ..training.fit import Fitted, NamedExamples, Trial, fit
from ..training.loop import Stopped
from .calling import Attached, attached_by
from .presets import Preset
from .remarks import remarks_on, schedule_remark
from .repeating import ATTACHED, CLASS_PICTURES, HASHES, PREPARED, Before
from .several import named_examples, origin_of, settings_for, told, word_not_used
from .watching import Watcher, Watching


@dataclass(frozen=True)
class TrainRequest:
    """A method, the concept or concepts that it learns, and the base."""

    method: str
    concept: Concept
    place: Place
    settings: Mapping[str, Value]
    seed: int = 0
    thumbnail: Path | None = None  # a picture for the file's metadata
    watching: Watching = field(default_factory=Watching)
    on: Sequence[str] = ()  # files that are attached while it trains: FILE or FILE:STRENGTH
    before: Before | None = None  # the training that is repeated
    class_pictures: Sequence[Concept] = ()  # the user's own pictures of the classes
    memory: int | None = None  # bytes that training may take
    pictures: PictureOptions = field(default_factory=PictureOptions)
    more: Sequence[Concept] = ()  # further concepts that the same file learns
    preset: str = ""  # of the base, whose settings lie below those given here, and its size below `memory`

    @property
    def concepts(self) -> tuple[Concept, ...]:
        return (self.concept, *self.more)


@dataclass(frozen=True)
class TrainResult:
    """The result: the words for prompts, the number of parameters, the losses.

    `loss` is the mean of the last ten steps. `kept_step` is the step whose tensors were kept, `fixed_loss` the loss on
    the fixed batch at that step. `notes` list input of the folder that was not used as given. `settings` are all of the
    method's.
    """

    says: str
    parameters: int
    loss: float | None
    fixed_loss: float | None
    kept_step: int
    notes: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


def train_file(
    request: TrainRequest,
    out: Path,
    progress: Progress,
    *,
    resume: bool = False,
    overwrite: bool = False,
    opened: Callable[[Place], Base] = Place.open,
) -> TrainResult:
    """Train on all pictures of the concepts and write one file.

    The path, its suffix and the thumbnail are checked before the training. A training that is stopped leaves its state
    beside the file. `resume` continues from it; `overwrite` without `resume` discards it. `opened` gives the base of a
    place.

    Raises:
        TriptychError: bad input, the file or a state exists already, or the training failed.
        Stopped: cancelled, after the state is saved.
    """
    state = _check(request, out, resume, overwrite)
    for line in chain(*map(summary, request.concepts)):
        progress.note(line)
    progress.stage("opening", 1)
    base = opened(request.place)
    prepared = _prepare(request, base, progress.note)
    for line in _notes(prepared):
        progress.note(line)
    if resume and not state.is_file():
        progress.note(f"there is no stopped training of {out}: it begins at step 0")
    progress.stage("training", getattr(prepared.settings, "steps", 1))
    fitted = _fitted(prepared, out, state, progress)
    if fitted.failure:
        state.unlink(missing_ok=True)
        raise TriptychError(f"{request.method} did not learn: {fitted.failure}")
    artifact = prepared.artifact(fitted.tensors)
    save(artifact, out, to=method_named(request.method).exports_as[0], base=base, thumbnail=request.thumbnail)
    state.unlink(missing_ok=True)
    not_used = map(count, request.concepts)
    for line in filter(None, (*not_used, schedule_remark(request.method, prepared.settings))):
        progress.note(line)
    last = fitted.losses[-10:]
    return TrainResult(
        prepared.says, sum(t.numel() for t in fitted.tensors.values()), sum(last) / len(last) if last else None,
        dict(fitted.fixed).get(fitted.kept_step), fitted.kept_step, tuple(chain(*map(remarks, request.concepts))),
        asdict(prepared.settings),
    )  # fmt: skip


@dataclass(frozen=True)
class _Prepared:
    """A request with all that its training takes from the open base.

    Attributes:
        preset: what the request names.
        own: the base's own settings of the method, with those of the preset.
        learned: the examples of each concept, with settings that have its words.
        names: the words for prompts of each concept.
        on: the attached files.
        origin: the provenance.
    """

    request: TrainRequest
    base: Base
    preset: Preset
    own: Mapping[str, Value]
    learned: Sequence[NamedExamples]
    names: Sequence[str]
    on: Sequence[Attached]
    origin: Mapping[str, str]

    @property
    def settings(self) -> Any:
        return self.learned[0].settings

    @property
    def pictures(self) -> PictureOptions:
        return acting(self.request.pictures, self.request.concepts, self.base.resolution)

    @property
    def says(self) -> str:
        """The words for prompts."""
        return self.origin["says"]

    def artifact(self, tensors: Tensors) -> Artifact:
        return Artifact.trained(self.request.method, self.settings, tensors, self.origin)


def _prepare(request: TrainRequest, base: Base, note: Callable[[str], None]) -> _Prepared:
    method, concepts = method_named(request.method), request.concepts
    preset = Preset.of(base, request.preset)
    own = {**base.description.methods.get(request.method, {}), **preset.methods.get(request.method, {})}
    settings = settings_for(method, method.configure(own, request.settings), concepts)

    def examples(concept: Concept) -> Examples:
        return Examples.of(base, concept, range(len(concept.pictures)), request.pictures, request.seed)

    learned = named_examples(concepts, settings, examples, request.class_pictures)
    names = [method.phrase(each.settings, each.class_word) for each in learned]
    on = [attached_by(use, note) for use in request.on]
    pictures = acting(request.pictures, concepts, base.resolution)
    origin = origin_of(base, concepts, names, request.seed) | _given(request, on, pictures)
    return _Prepared(request, base, preset, own, learned, names, on, origin)


def _notes(prepared: _Prepared) -> Iterator[str]:
    """What the user should know before the training: input that is not used as given, the settings, the base."""
    request, base, settings = prepared.request, prepared.base, prepared.settings
    yield from chain(*(brief(concept, base.resolution) for concept in request.concepts))
    yield from told(request.concepts, prepared.names, prepared.learned, request.class_pictures)
    if request.before:
        yield from request.before.differences(prepared.origin)
    yield from _unused(prepared)
    if len(request.concepts) == 1 and (line := word_not_used(method_named(request.method), settings, request.concept)):
        yield line
    yield from dict.fromkeys(
        line
        for each in prepared.learned
        for line in remarks_on(base, request.method, request.settings, each.settings, each.class_word, each.examples)
    )
    if isinstance(settings, Training) and (
        line := prepared.preset.line(request.method, request.settings, request.memory)
    ):
        yield line
    yield settings_line(request.method, settings, prepared.own)
    dtype = str(base.dtype).removeprefix("torch.")
    yield f"base: {base.name}, {base.resolution} px, on {base.device} in {dtype}; seed {request.seed}"


def _unused(prepared: _Prepared) -> Iterator[str]:
    """What is given besides the settings and does nothing."""
    request, watching = prepared.request, prepared.request.watching
    if watching.prompts and not watching.sample_every:
        yield "there are prompts to sample, but no number of steps between samples: nothing is sampled"
    if request.class_pictures and not getattr(prepared.settings, "prior_weight", 1):
        yield "the pictures of the class are not used, since prior_weight is 0"
    if not isinstance(prepared.settings, Training):
        given = {
            "samples": watching.sample_every, "kept files": watching.keep_every, "TensorBoard": watching.tensorboard,
            "memory": request.memory, "preset": request.preset, "attached files": request.on,
        }  # fmt: skip
        if named := [name for name, value in given.items() if value]:
            yield f"{request.method} has no training steps, so what is asked of them is not used: {', '.join(named)}"


def _fitted(prepared: _Prepared, out: Path, state: Path, progress: Progress) -> Fitted:
    """Train, and write beside the file what is watched.

    Raises:
        TriptychError: the training cannot start.
        Stopped: cancelled, after the state is saved.
    """
    request, (first, *more) = prepared.request, prepared.learned
    trial = Trial(request.method, first.settings, first.examples, first.class_word, request.seed, more=more)
    watcher = Watcher(prepared.base, request.watching, out, request.concepts, prepared.names, prepared.artifact)
    try:
        return fit(
            prepared.base, [trial], state=state, made_from=_made_from(prepared), progress=steps_of(progress),
            watch=watcher, memory=request.memory or prepared.preset.memory, note=progress.note,
            on=[part for file in prepared.on for part in file.parts],
        )[0]  # fmt: skip
    except Stopped as stopped:
        progress.note(str(stopped))
        raise
    finally:
        watcher.close()


def _given(request: TrainRequest, on: Sequence[Attached], pictures: PictureOptions) -> dict[str, str]:
    """The provenance of what is given besides: attached files, own pictures of the class, how pictures are prepared."""
    found = {}
    if on:
        found[ATTACHED] = ", ".join(f"{file.used.file.name}:{file.used.denoiser:g}" for file in on)
        found[HASHES] = ", ".join(file.used.file.sha256 for file in on)
    if request.class_pictures:
        found[CLASS_PICTURES] = digest_of(request.class_pictures)
    if pictures.stated:
        found[PREPARED] = str(pictures)
    return found


def _check(request: TrainRequest, out: Path, resume: bool, overwrite: bool) -> Path:
    """Check everything that the training needs at its end. Returns the path of its state.

    Raises:
        TriptychError: a check fails.
    """
    if out.suffix != ".safetensors":
        raise TriptychError(f"the file must end in .safetensors, not {shown(out.suffix) or 'nothing'}: {out}")
    check_place(out)
    if out.exists() and not overwrite:
        raise TriptychError(f"{out} exists already", Remedy.OTHER_PLACE, Remedy.OVERWRITE)
    method = method_named(request.method)
    settings_for(method, method.configure(request.settings), request.concepts)
    if request.class_pictures and not method.takes_class_pictures:
        raise TriptychError(f"{request.method} does not train on pictures of the class, as dreambooth does")
    if request.thumbnail:
        read_picture(request.thumbnail)
    state = out.with_name(f".{out.stem}.state")
    if state.is_file() and not resume:
        if not overwrite:
            raise TriptychError(f"a training of {out} was stopped", Remedy.RESUME, Remedy.OVERWRITE)
        state.unlink()
    return state


def _made_from(prepared: _Prepared) -> dict[str, str]:
    """The inputs of a training. A state can be resumed only with the same ones."""
    request, base = prepared.request, prepared.base
    pictures = chain(*(concept.pictures for concept in (*request.concepts, *request.class_pictures)))
    return {
        "method": request.method, **{name: str(value) for name, value in asdict(prepared.settings).items()},
        "class word": ", ".join(concept.class_word for concept in request.concepts), "seed": str(request.seed),
        "resolution": str(base.resolution), "the base": base.identity, "the folder": digest_of(request.concepts)[:16],
        "pictures of the class": digest_of(request.class_pictures)[:16] if request.class_pictures else "",
        **{name.replace("_", " "): str(value) for name, value in prepared.pictures.stated.items()},
        **({"the masks": digest_of_masks(each.path for each in pictures)[:16]} if request.pictures.masks else {}),
        "attached files": " ".join(f"{file.used.file.sha256[:16]}:{file.used.denoiser:g}" for file in prepared.on),
    }  # fmt: skip
