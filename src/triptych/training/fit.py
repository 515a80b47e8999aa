"""Trains trials. Each starts from its own seed, and all that share a frozen base train in one pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from ..base import Base, Owner
from ..base.text import reading_chunks
from ..data.examples import Examples, Source
from ..data.layouts import whole_repeats
from ..errors import TriptychError
from ..exchange.artifact import Artifact, Part, compose
from ..methods import Method, method_named, refuse
from ..patching.patch import Patch, Tensors
from ..patching.weights import Moved
from .arranging import asked_by
from .fixed_loss import FixedLoss, check, fixed_batch
from .job import Job
from .leaves import check_steps
from .loop import Encodings, Progress, plan_passes, train
from .moments import Moment, Watch, kept
from .reading import refuse_cut_words
from .stacking import JobStacks
from .state import MadeFrom


@dataclass(frozen=True)
class NamedExamples:
    """The examples of a concept, its class word, and the settings with the words that name it."""

    settings: Any
    examples: Examples
    class_word: str
    held_out: Examples | None = None


@dataclass(frozen=True)
class Trial:
    """One training of one method on one concept, or on several, which one set of tensors learns together.

    `more` are the further concepts; their settings differ from the trial's in words alone. The fixed-batch loss is
    computed on the pictures in `held_out`, or on the training pictures if there are none. On training pictures it shows
    when the loss has settled, but not when the method begins to memorise them.
    """

    method: str
    settings: Any
    examples: Examples
    class_word: str
    seed: int = 0
    owner: Owner = None
    held_out: Examples | None = None
    more: Sequence[NamedExamples] = ()

    @property
    def kind(self) -> Method[Any]:
        return method_named(self.method)

    @property
    def concepts(self) -> tuple[NamedExamples, ...]:
        """All its concepts."""
        return (NamedExamples(self.settings, self.examples, self.class_word, self.held_out), *self.more)


@dataclass(frozen=True)
class Fitted:
    """The result of a trial: its tensors, or the reason why it failed."""

    tensors: Tensors
    losses: list[float] = field(default_factory=list)  # of each step
    fixed: list[tuple[int, float]] = field(default_factory=list)  # steps done, fixed-batch loss
    kept_step: int = 0  # steps done when the tensors were taken
    seconds: float = 0.0  # of the whole pass that it was trained in
    failure: str | None = None


def fit(
    base: Base,
    trials: Sequence[Trial],
    *,
    state: Path | None = None,
    made_from: MadeFrom | None = None,
    every: int = 50,
    progress: Progress | None = None,
    watch: Watch | None = None,
    most_rows: int | None = None,
    memory: int | None = None,
    note: Callable[[str], None] = lambda sentence: None,
    on: Sequence[Part] = (),
) -> list[Fitted]:
    """Train all trials in one pass. The result of each is as if it had been trained alone.

    `watch` is called with every moment of the training, while the patches are open. `on` are artifacts that stay
    attached. For the others see `train`.

    Raises:
        TriptychError: a trial cannot start (a bad setting, a word that the base already has, no class pictures), or the
            base is for inpainting.
    """
    if base.denoiser.reads_mask:
        raise TriptychError(
            f"{base.name} is a base for inpainting: train on the plain base of its family, and attach the file to it"
        )
    for trial in trials:
        refuse(trial.kind, base)
    began = time.perf_counter()
    computed = {}
    for i, trial in enumerate(trials):
        with _reading(base, [trial]):
            tensors = trial.kind.compute(base, trial.settings, trial.examples)
        if tensors is not None:
            computed[i] = Fitted(tensors, seconds=time.perf_counter() - began)
    others = [trial for i, trial in enumerate(trials) if i not in computed]
    options: dict[str, Any] = {
        "state": state, "made_from": made_from, "every": every, "progress": progress, "most_rows": most_rows,
        "memory": memory, "note": note,
    }  # fmt: skip
    trained = iter(_train(base, others, on, watch, options) if others else ())
    return [computed[i] if i in computed else next(trained) for i in range(len(trials))]


def fits(base: Base, trials: Sequence[Trial], memory: int) -> bool:
    """Whether a joint step of these trials takes one pass within so many bytes. Nothing of the trial stays."""
    with _reading(base, trials), _opened(base, trials, ()) as pairs:
        jobs, stacks = [job for job, _ in pairs], JobStacks(base.changes, together=True)
        try:
            planned = plan_passes(base, jobs, Encodings(base, jobs), stacks, memory, asked_by(jobs))
        except TriptychError:
            return False
        finally:
            stacks.dissolve()
        return planned.most_rows == planned.rows and planned.arrangement == asked_by(jobs)


def _train(
    base: Base, trials: Sequence[Trial], on: Sequence[Part], watch: Watch | None, options: Mapping[str, Any]
) -> list[Fitted]:
    began = time.perf_counter()
    with _reading(base, trials), _opened(base, trials, on) as pairs:
        jobs = [job for job, _ in pairs]
        train(base, jobs, watch=watch and (lambda done: watch(Moment(done, pairs))), **options)
        seconds = time.perf_counter() - began
        return [_fitted(job, patch, seconds) for job, patch in pairs]


def _reading(base: Base, trials: Sequence[Trial]) -> AbstractContextManager[None]:
    """Captions are read in as many chunks as any of the trials asks for, inside the `with` block."""
    return reading_chunks(base.texts, max(each.examples.chunks for trial in trials for each in trial.concepts))


@contextmanager
def _opened(base: Base, trials: Sequence[Trial], on: Sequence[Part]) -> Iterator[list[tuple[Job, Patch]]]:
    """The job of each trial, with its patch, which is open inside the block."""
    for trial in trials:
        check(trial.settings, trial.method)
        check_steps(trial.settings, trial.method)
        for each in trial.concepts:
            refuse_cut_words(base, trial.method, each.settings, each.class_word, each.examples)
    sources = [_sources(base, trial) for trial in trials]
    starts = [
        Artifact(trial.method, trial.settings, trial.kind.start(base, trial.settings, trial.seed)) for trial in trials
    ]
    parts = [Part(start, owner=trial.owner) for start, trial in zip(starts, trials, strict=True)]
    with compose(base, *on, *parts) as opened:
        patches = opened[len(on) :]
        jobs = [_job(base, *args) for args in zip(trials, patches, sources, strict=True)]
        yield list(zip(jobs, patches, strict=True))


def _sources(base: Base, trial: Trial) -> list[Source]:
    """The sources of all its concepts. Those of the same kind are one source, so that rows are drawn from all.

    Each concept has the same share of the rows of every kind, namely that of its examples. So a class is kept as much
    as its concept is trained, however many pictures of the class there are.
    """
    every = [trial.kind.sources(base, each.settings, each.examples, each.class_word) for each in trial.concepts]
    counts = [len(each.examples) for each in trial.concepts]
    return [_joined(alike, counts) for alike in zip(*every, strict=True)]


def _joined(alike: Sequence[Source], counts: Sequence[int]) -> Source:
    """One source of several, whose examples are repeated so often that each has a share in proportion to `counts`."""
    weights = [Fraction(count, len(source.examples)) for source, count in zip(alike, counts, strict=True)]
    repeats = whole_repeats([weight / min(weights) for weight in weights])
    pairs = [*zip(alike, repeats, strict=True)]
    return replace(
        alike[0],
        examples=[*chain(*([*source.examples] * times for source, times in pairs))],
        prompts=[*chain(*([*source.prompts] * times for source, times in pairs))],
    )


def _job(base: Base, trial: Trial, patch: Patch, sources: Sequence[Source]) -> Job:
    process = base.process.zero_terminal() if trial.settings.zero_snr else base.process
    return Job(
        trial.owner, patch.parameters(), sources, process, trial.settings, trial.seed, patch.begin, patch.off,
        text_is_fixed=not (trial.kind.changes_text(trial.settings) or _is_in_text(base, patch)),
        fixed=_fixed_loss(base, trial, patch),
        rates=trial.kind.rates(trial.settings),
        ends=trial.kind.ends(trial.settings),
        masters=patch.masters if isinstance(patch, Moved) else {},
    )  # fmt: skip


def _is_in_text(base: Base, patch: Patch) -> bool:
    """Whether the patch trains tensors on layers of a text encoder, whatever its method says."""
    inside = base.changes.tensors_in(*(text.encoder for text in base.texts))
    return any(id(tensor) in inside for group in patch.parameters().values() for tensor in group)


def _fixed_loss(base: Base, trial: Trial, patch: Patch) -> FixedLoss | None:
    if not trial.settings.fixed_every:
        return None
    batch = fixed_batch(
        [
            (each.held_out or each.examples, trial.kind.phrase(each.settings, each.class_word))
            for each in trial.concepts
        ],
        base.process,
    )
    return FixedLoss(batch, trial.settings, partial(kept, patch))


def _fitted(job: Job, patch: Patch, seconds: float) -> Fitted:
    curve = job.fixed.curve if job.fixed else []
    if job.fixed and job.fixed.best:
        return Fitted(job.fixed.best, job.losses, curve, job.fixed.best_step, seconds, job.failure)
    with job.as_kept():
        return Fitted(kept(patch), job.losses, curve, len(job.losses), seconds, job.failure)
