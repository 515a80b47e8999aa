"""Train one method on one folder and write one file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..base import Place
from ..data.concept import Concept
from ..data.examples import Examples
from ..errors import TriptychError
from ..exchange.artifact import Artifact
from ..exchange.saving import save
from ..files.atomic import make_folder
from ..methods import method_named
from ..settings import Value
from ..study.layout import key
from ..study.progress import Progress
from ..study.training import provenance
from ..training.fit import Trial, fit


@dataclass(frozen=True)
class TrainRequest:
    """A method, the concept it shall learn, and on which base."""

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
    were taken, `kept_step` the steps done by then.
    """

    says: str
    parameters: int
    loss: float | None
    fixed_loss: float | None
    kept_step: int


def train_file(
    request: TrainRequest, out: Path, progress: Progress, *, resume: bool = False, overwrite: bool = False
) -> TrainResult:
    """Train on all pictures of the concept and write one file.

    Raises:
        TriptychError: bad input, the file exists already, or the training failed.
    """
    method, concept = method_named(request.method), request.concept
    if out.suffix != ".safetensors":
        raise TriptychError(f"the file must end in .safetensors, not {out.suffix or 'nothing'}: {out}")
    if out.exists() and not overwrite:
        raise TriptychError(f"{out} exists already: give another --out, or --overwrite")
    method.configure(request.settings)
    make_folder(out.parent)
    progress.stage("opening", 1)
    base = request.place.open()
    settings = method.for_concept(
        method.configure(base.description.methods.get(request.method, {}), request.settings), concept
    )
    examples = Examples.of(base, concept, range(len(concept.pictures)))
    progress.stage("training", getattr(settings, "steps", 1))
    made_from = key(request.method, str(settings), base.identity, concept.digest, request.seed)
    state = out.with_name(f".{out.stem}.{made_from}.state")
    if not resume:
        state.unlink(missing_ok=True)
    trial = Trial(request.method, settings, examples, concept.class_word, request.seed)
    fitted = fit(base, [trial], state=state, progress=lambda done, total: progress.advance())[0]
    if fitted.failure:
        raise TriptychError(f"{request.method} did not learn: {fitted.failure}")
    says = method.phrase(settings, concept.class_word)
    told = provenance(base, concept, says, request.seed)
    save(Artifact(request.method, settings, fitted.tensors, told), out, thumbnail=request.thumbnail)
    state.unlink(missing_ok=True)
    last = fitted.losses[-10:]
    return TrainResult(
        says, sum(t.numel() for t in fitted.tensors.values()), sum(last) / len(last) if last else None,
        dict(fitted.fixed).get(fitted.kept_step), fitted.kept_step,
    )  # fmt: skip
