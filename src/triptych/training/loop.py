"""The training loop: each step puts the rows of all jobs through the denoiser together (see `loss`).

Dimensions: J jobs, R rows of all jobs together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path

import torch
from torch import Tensor

from ..base import Base, Conditioning, Owner
from ..cancel import Cancelled, current, deferred_interrupt
from ..data.examples import Batch
from .arranging import arranged, asked_by, refuse_fused
from .job import Job
from .kept_texts import encoded
from .loss import Objective, Untrained, errors_of
from .memory import Arrangement, Plan, plan
from .passes import Passes, Piece
from .stacking import JobStacks, alike
from .state import MadeFrom, load_state, save_state

PROMPTS = 64  # in one call of the text encoder, where training does not change it
Progress = Callable[[int, int], None]  # steps done, steps in all
Watch = Callable[[int], None]  # steps done
Note = Callable[[str], None]  # shows the user a sentence


class Stopped(Cancelled):
    """A training was cancelled, by its token or by Ctrl-C. `step` of `last` steps are done.

    If it has a state, the state is written, and it can be resumed.
    """

    def __init__(self, step: int, last: int, saved: bool) -> None:
        super().__init__(f"stopped after step {step} of {last}{', which is saved' if saved else ''}")
        self.step, self.last = step, last


class Encodings:
    """The conditioning of each step. Text that training cannot change is encoded once, other text at every step.

    `untrained` has the text of rows that aim at what the base predicts, without what is trained.
    """

    def __init__(self, base: Base, jobs: Sequence[Job]) -> None:
        self.base = base
        self.cached = self._encoded([(job.owner, text) for job in jobs if job.text_is_fixed for text in job.prompts])
        with _off(jobs):
            kept = self._encoded(
                [(None, text) for text in dict.fromkeys(chain(*(job.prompts_as_base for job in jobs)))]
            )
        self.untrained = Untrained(base, kept.get(None, {}), partial(_off, jobs))

    def _encoded(self, asked: Sequence[tuple[Owner, str]]) -> dict[Owner, dict[str, Conditioning]]:
        found: dict[Owner, dict[str, Conditioning]] = {}
        for some in (asked[first : first + PROMPTS] for first in range(0, len(asked), PROMPTS)):
            by_owner = {owner: [prompt for _, prompt in own] for owner, own in groupby(some, key=itemgetter(0))}
            texts = encoded(self.base, list(by_owner.items()))
            for (owner, prompt), text in zip(some, texts.split([1] * len(texts)), strict=True):
                found.setdefault(owner, {})[prompt] = text
        return found

    @property
    def tensors(self) -> list[Tensor]:
        """All that is kept."""
        found: list[Tensor] = []
        for text in chain(self.untrained.texts.values(), *(own.values() for own in self.cached.values())):
            text.map(lambda states: found.append(states) or states)  # type: ignore[func-returns-value]
        return found

    def of(self, jobs: Sequence[Job], batches: Sequence[Batch]) -> Conditioning:
        """The conditioning of all rows [R, ...], in the order of the jobs."""
        trained = [
            (job.owner, batch.prompts) for job, batch in zip(jobs, batches, strict=True) if not job.text_is_fixed
        ]
        sizes = [len(prompts) for _, prompts in trained]
        texts = iter(self.base.encode_for(trained).split(sizes)) if trained else iter(())
        return Conditioning.cat(
            Conditioning.cat(self.cached[job.owner][prompt] for prompt in batch.prompts)
            if job.text_is_fixed
            else next(texts)
            for job, batch in zip(jobs, batches, strict=True)
        )


@contextmanager
def _off(jobs: Sequence[Job]) -> Iterator[None]:
    """Inside the block nothing that the jobs train acts."""
    with ExitStack() as stack:
        for job in jobs:
            stack.enter_context(job.off())
        yield


def losses_of(
    base: Base, pieces: Sequence[Piece], drawn: Mapping[int, Batch], encodings: Encodings
) -> list[tuple[Job, Tensor]]:
    """The jobs of a pass, and the share of each piece in the loss of its job's step.

    `drawn` are the rows of the step, by the id of their job.
    """
    jobs = [job for job, _ in pieces]
    batches = [drawn[id(job)][rows.start : rows.stop] for job, rows in pieces]
    objectives = [Objective(job.process, job.training.huber) for job in jobs]
    owners, conditioning = [job.owner for job in jobs], encodings.of(jobs, batches)
    errors = errors_of(base, owners, batches, objectives, conditioning, encodings.untrained)
    shares = zip(pieces, batches, errors, strict=True)
    return [(job, job.loss(own, batch.times, rows)) for (job, rows), batch, own in shares]


def gradients_of(
    base: Base, jobs: Sequence[Job], encodings: Encodings, passes: Passes, scaler: torch.amp.GradScaler, step: int
) -> list[float]:
    """Add the gradients of a step, pass by pass. Returns the loss of each job."""
    drawn, losses = {id(job): job.draw(step) for job in jobs}, {id(job): 0.0 for job in jobs}
    for pieces in passes.of(jobs):
        shares = losses_of(base, pieces, drawn, encodings)
        each = torch.stack([share for _, share in shares])
        if not any(job.is_fused for job in jobs) or bool(each.isfinite().all()):
            scaler.scale(each.sum()).backward()
        for (job, _), share in zip(shares, each.tolist(), strict=True):
            losses[id(job)] += share
    return list(losses.values())


@torch.no_grad()
def evaluate_fixed(base: Base, jobs: Sequence[Job], encodings: Encodings, done: int) -> None:
    """Compute the fixed-batch losses that are due after `done` steps. The random draws of training do not change."""
    due = [(job, job.fixed) for job in jobs if job.fixed and job.failure is None and job.fixed.due(done)]
    if not due:
        return
    watched, batches = [job for job, _ in due], [fixed.batch for _, fixed in due]
    objectives = [Objective(job.process) for job in watched]
    with ExitStack() as stack:
        for job in watched:
            stack.enter_context(job.as_kept())
        conditioning = encodings.of(watched, batches)
        owners = [job.owner for job in watched]
        errors = errors_of(base, owners, batches, objectives, conditioning, encodings.untrained)
        for (_, fixed), squared in zip(due, errors, strict=True):
            fixed.note(done, float(squared.mean()))
    for job, fixed in due:
        job.looked_at(done, fixed.curve[-1][1])


def train_step(
    base: Base,
    active: Sequence[Job],
    encodings: Encodings,
    stacks: JobStacks,
    passes: Passes,
    scaler: torch.amp.GradScaler,
    step: int,
) -> None:
    """One step of the active jobs. If no loss is finite, no job moves and the gradient scale is not updated."""
    stacks.arrange(active)
    with ExitStack() as stack:
        for job in active:
            stack.enter_context(job.moving(step))
        losses = passes.retried(
            active, lambda: gradients_of(base, active, encodings, passes, scaler, step), stacks.drop_gradients
        )
    stacks.step(losses, step, scaler)
    if any(job.failure is None for job in active):
        scaler.update()


def passes_for(
    base: Base,
    active: Sequence[Job],
    encodings: Encodings,
    stacks: JobStacks,
    most_rows: int | None,
    memory: int | None,
    note: Note,
) -> tuple[Passes, Arrangement]:
    """The passes of the steps, and how they take less memory: as asked, or as the memory requires.

    Raises:
        TriptychError: the memory holds not one row.
    """
    passes, arrangement = Passes(most_rows, note), asked_by(active)
    if memory and active:
        planned = plan_passes(base, active, encodings, stacks, memory, arrangement)
        note(str(planned))
        passes.most = min(planned.most_rows, most_rows or planned.most_rows)
        arrangement = planned.arrangement
    refuse_fused(active, passes, base)
    return passes, arrangement


def plan_passes(
    base: Base, active: Sequence[Job], encodings: Encodings, stacks: JobStacks, memory: int, asked: Arrangement
) -> Plan:
    """A plan for the passes of these jobs, from passes of one row and of two, whose gradients are dropped."""
    stacks.arrange(active)
    drawn = {id(job): job.draw(0) for job in active}

    def run(pieces: Sequence[Piece]) -> None:
        torch.stack([share for _, share in losses_of(base, pieces, drawn, encodings)]).sum().backward()

    data = [*encodings.tensors, *(e.latent for job in active for source in job.sources for e in source.examples)]
    return plan(base, active, run, stacks.drop_gradients, memory, asked, partial(arranged, base, active), data)


def train(
    base: Base,
    jobs: Sequence[Job],
    *,
    state: Path | None = None,
    made_from: MadeFrom | None = None,
    every: int = 50,
    progress: Progress | None = None,
    watch: Watch | None = None,
    most_rows: int | None = None,
    memory: int | None = None,
    note: Note = lambda sentence: None,
) -> None:
    """Train every job for its own number of steps. Jobs that have ended, failed or stopped early leave the batch.

    A resumed run ends bit for bit like an uninterrupted one (same machine, threads and precision).

    Args:
        state: a file for the training state. It is written every `every` steps and at a cancel, and read if it exists.
        made_from: all that the training depends on. A state made from something else is refused.
        progress: called after every step with the steps done and the steps in all.
        watch: called before the first step with 0, and after each step with the steps done, also where the run is
            resumed. It may sample pictures with the patches, and must not change them.
        most_rows: most rows of a pass. A step with more takes several passes, whose gradients are added.
        memory: bytes that training may take. The passes are planned for them.
        note: shows the user a sentence: the plan, or that memory ran out.

    Raises:
        TriptychError: the state cannot be resumed, or the memory holds not one row.
        Stopped: this call is cancelled, or Ctrl-C where there is a state; raised after the step is done and saved.
    """
    jobs = list(chain(*alike(jobs, base.changes)))  # rows of jobs that share a batched product must be adjacent
    scaler = torch.amp.GradScaler(base.device.type, enabled=base.dtype is torch.float16)
    first = load_state(state, base, jobs, scaler, made_from or {}) if state and state.is_file() else 0
    last = max(job.training.steps for job in jobs)
    encodings, stacks = Encodings(base, jobs), JobStacks(base.changes, together=not scaler.is_enabled())
    active = [job for job in jobs if job.runs_at(first)]
    try:
        passes, arrangement = passes_for(base, active, encodings, stacks, most_rows, memory, note)
        with ExitStack() as stack:
            stack.enter_context(arranged(base, jobs, arrangement))
            if first == 0:
                evaluate_fixed(base, jobs, encodings, 0)
                if watch:
                    watch(0)
            cancel = stack.enter_context(deferred_interrupt() if state else nullcontext(current()))
            for step in range(first, last):
                active = [job for job in jobs if job.runs_at(step)]
                if not active:
                    break
                train_step(base, active, encodings, stacks, passes, scaler, step)
                evaluate_fixed(base, active, encodings, step + 1)
                for sentence in chain(*(job.sentences() for job in active)):
                    note(sentence)
                if watch:
                    watch(step + 1)
                stops = cancel.is_cancelled
                if state and ((step + 1) % every == 0 or stops):
                    save_state(state, base, jobs, scaler, step + 1, made_from or {})
                if progress:
                    progress(step + 1, last)
                if stops:
                    raise Stopped(step + 1, last, bool(state))
    finally:
        stacks.dissolve()
