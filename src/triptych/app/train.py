"""Train one method on one folder and write one file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..base import Base, Place
from ..data.concept import Concept
from ..data.examples import Examples
from ..data.pictures import read_picture
from ..data.summary import count, remarks, summary
from ..errors import Remedy, TriptychError, shown
from ..exchange.artifact import Artifact
from ..exchange.saving import save
from ..files.atomic import check_place
from ..methods import Training, method_named
from ..settings import Value
from ..settings import line as settings_line
from ..study.progress import Progress, steps_of
from ..study.training import provenance
from ..training.fit import Trial, fit
from ..training.reading import reading_of
from ..training.stopping import Stopped


@dataclass(frozen=True)
class TrainRequest:
    """A method, the concept that it learns, and the base."""

    method: str
    concept: Concept
    place: Place
    settings: Mapping[str, Value]
    seed: int = 0
    thumbnail: Path | None = None  # a picture for the file's metadata


@dataclass(frozen=True)
class TrainResult:
    """What came of it: the words that name the concept, the parameters learned, the losses.

    `loss` is the mean of the last ten, `fixed_loss` the one on the fixed batch of training pictures when the tensors
    were taken, `kept_step` the steps done by then. `notes` are what the folder has that was not used as given.
    """

    says: str
    parameters: int
    loss: float | None
    fixed_loss: float | None
    kept_step: int
    notes: tuple[str, ...] = ()


def train_file(
    request: TrainRequest, out: Path, progress: Progress, *, resume: bool = False, overwrite: bool = False
) -> TrainResult:
    """Train on all pictures of the concept and write one file.

    What is needed last is checked first: the place of the file, its name, the thumbnail. A training that is stopped
    leaves its state beside the file, one at most; `resume` goes on from it, `overwrite` without `resume` discards it.

    Raises:
        TriptychError: bad input, the file or a state exists already, or the training failed.
        Stopped: at Ctrl-C, when the state is saved.
    """
    method, concept = method_named(request.method), request.concept
    state = _check(request, out, resume, overwrite)
    for line in summary(concept):
        progress.note(line)
    progress.stage("opening", 1)
    base = request.place.open()
    settings = method.for_concept(
        method.configure(base.description.methods.get(request.method, {}), request.settings), concept
    )
    examples = Examples.of(base, concept, range(len(concept.pictures)))
    _tell_training(request, base, settings, examples, progress)
    if resume and not state.is_file():
        progress.note(f"there is no stopped training of {out}: it begins at step 0")
    progress.stage("training", getattr(settings, "steps", 1))
    trial = Trial(request.method, settings, examples, concept.class_word, request.seed)
    try:
        fitted = fit(
            base, [trial], state=state, made_from=_made_from(request, base, settings), progress=steps_of(progress)
        )[0]
    except Stopped as stopped:
        progress.note(str(stopped))
        raise
    if fitted.failure:
        state.unlink(missing_ok=True)
        raise TriptychError(f"{request.method} did not learn: {fitted.failure}")
    says = method.phrase(settings, concept.class_word)
    told = provenance(base, concept, says, request.seed)
    artifact = Artifact(request.method, settings, fitted.tensors, told)
    save(artifact, out, to=method.exports_as[0], base=base, thumbnail=request.thumbnail)
    state.unlink(missing_ok=True)
    if not_used := count(concept):
        progress.note(not_used)
    last = fitted.losses[-10:]
    return TrainResult(
        says, sum(t.numel() for t in fitted.tensors.values()), sum(last) / len(last) if last else None,
        dict(fitted.fixed).get(fitted.kept_step), fitted.kept_step, tuple(remarks(concept)),
    )  # fmt: skip


def _check(request: TrainRequest, out: Path, resume: bool, overwrite: bool) -> Path:
    """Where the state of the training lies, when everything that it needs at its end is there.

    Raises:
        TriptychError: it is not.
    """
    if out.suffix != ".safetensors":
        raise TriptychError(f"the file must end in .safetensors, not {shown(out.suffix) or 'nothing'}: {out}")
    check_place(out)
    if out.exists() and not overwrite:
        raise TriptychError(f"{out} exists already", Remedy.OTHER_PLACE, Remedy.OVERWRITE)
    method_named(request.method).configure(request.settings)
    if request.thumbnail:
        read_picture(request.thumbnail)
    state = out.with_name(f".{out.stem}.state")
    if state.is_file() and not resume:
        if not overwrite:
            raise TriptychError(f"a training of {out} was stopped", Remedy.RESUME, Remedy.OVERWRITE)
        state.unlink()
    return state


def _tell_training(request: TrainRequest, base: Base, settings: Any, examples: Examples, progress: Progress) -> None:
    """Note what the training is made of, and how much of the captions is read."""
    if isinstance(settings, Training):
        cut = str(
            reading_of(base, request.method, settings, request.concept.class_word, examples.templates, examples.names)
        )
        if cut:
            progress.note(cut)
    progress.note(settings_line(request.method, settings))
    dtype = str(base.dtype).removeprefix("torch.")
    progress.note(f"base: {base.name}, {base.resolution} px, on {base.device} in {dtype}; seed {request.seed}")


def _made_from(request: TrainRequest, base: Base, settings: Any) -> dict[str, str]:
    """What a state must have been made from to be gone on with."""
    return {
        "method": request.method, **{name: str(value) for name, value in asdict(settings).items()},
        "class word": request.concept.class_word, "seed": str(request.seed), "resolution": str(base.resolution),
        "the base": base.identity, "the folder": request.concept.digest[:16],
    }  # fmt: skip
