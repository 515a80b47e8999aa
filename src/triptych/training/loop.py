"""The training loop: each step puts the rows of all jobs through the denoiser together (see `loss`).

Dimensions: J jobs, R rows of all jobs together.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path

import torch
from torch import Tensor

from ..base import Base, Conditioning, Owner
from ..data.examples import Batch
from .job import Job
from .loss import squared_errors
from .stacking import JobStacks, alike
from .state import MadeFrom, load_state, save_state
from .stopping import Stopped, deferred_interrupt

PROMPTS = 64  # in one call of the text encoder, where training does not change it
Progress = Callable[[int, int], None]  # steps done, steps in all
StopEarly = Callable[[int, Mapping[Owner, float]], Collection[Owner]]  # steps done, fixed-batch losses -> jobs to stop


class Encodings:
    """The conditioning of each step. Text that training cannot change is encoded once, other text at every step."""

    def __init__(self, base: Base, jobs: Sequence[Job]) -> None:
        self.base = base
        self.cached: dict[Owner, dict[str, Conditioning]] = {}
        asked = [(job.owner, prompt) for job in jobs if job.text_is_fixed for prompt in job.prompts]
        for some in (asked[first : first + PROMPTS] for first in range(0, len(asked), PROMPTS)):
            by_owner = {owner: [prompt for _, prompt in own] for owner, own in groupby(some, key=itemgetter(0))}
            with torch.no_grad():
                texts = base.encode_for(list(by_owner.items()))
            for (owner, prompt), text in zip(some, texts.split([1] * len(texts)), strict=True):
                self.cached.setdefault(owner, {})[prompt] = text

    def of(self, jobs: Sequence[Job], batches: Sequence[Batch]) -> Conditioning:
        """The conditioning of all rows [R, ...], in the order of the jobs."""
        trained = [
            (job.owner, batch.prompts) for job, batch in zip(jobs, batches, strict=True) if not job.text_is_fixed
        ]
        sizes = [len(prompts) for _, prompts in trained]
        encoded = iter(self.base.encode_for(trained).split(sizes)) if trained else iter(())
        return Conditioning.cat(
            Conditioning.cat(self.cached[job.owner][prompt] for prompt in batch.prompts)
            if job.text_is_fixed
            else next(encoded)
            for job, batch in zip(jobs, batches, strict=True)
        )


def losses_of(base: Base, jobs: Sequence[Job], encodings: Encodings, step: int) -> Tensor:
    """The loss of each job [J]."""
    batches = [job.draw(step, base.process) for job in jobs]
    errors = squared_errors(base, [job.owner for job in jobs], batches, encodings.of(jobs, batches))
    return torch.stack([
        job.loss(squared * base.process.weights(times, job.training.min_snr) if job.training.min_snr else squared)
        for job, (squared, times) in zip(jobs, errors, strict=True)
    ])  # fmt: skip


@torch.no_grad()
def evaluate_fixed(
    base: Base, jobs: Sequence[Job], encodings: Encodings, done: int, stop_early: StopEarly | None
) -> None:
    """Compute the fixed-batch losses that are due after `done` steps. The random draws of training do not change."""
    due = [(job, job.fixed) for job in jobs if job.fixed and job.failure is None and job.fixed.due(done)]
    if not due:
        return
    watched, batches = [job for job, _ in due], [fixed.batch for _, fixed in due]
    errors = squared_errors(base, [job.owner for job in watched], batches, encodings.of(watched, batches))
    for (_, fixed), (squared, _) in zip(due, errors, strict=True):
        fixed.note(done, float(squared.mean()))
    stopped = stop_early(done, {job.owner: fixed.curve[-1][1] for job, fixed in due}) if stop_early else ()
    for job, _ in due:
        job.stopped_early = job.owner in stopped


def train_step(
    base: Base,
    active: Sequence[Job],
    encodings: Encodings,
    stacks: JobStacks,
    scaler: torch.amp.GradScaler,
    step: int,
) -> None:
    """One step of the active jobs. If no loss is finite, no job moves and the gradient scale is not updated."""
    stacks.arrange(active)
    losses = losses_of(base, active, encodings, step)
    scaler.scale(losses.sum()).backward()
    stacks.step(losses.tolist(), step, scaler)
    if any(job.failure is None for job in active):
        scaler.update()


def train(
    base: Base,
    jobs: Sequence[Job],
    *,
    state: Path | None = None,
    made_from: MadeFrom | None = None,
    every: int = 50,
    progress: Progress | None = None,
    stop_early: StopEarly | None = None,
) -> None:
    """Train every job for its own number of steps. Jobs that have ended, failed or stopped early leave the batch.

    A resumed run ends bit for bit like an uninterrupted one (same machine, threads and precision).

    Args:
        state: a file for the training state. It is written every `every` steps and at Ctrl-C, and read if it exists.
        made_from: all that the training depends on. A state made from something else is refused.
        progress: called after every step with the steps done and the steps in all.
        stop_early: called after each evaluation of fixed-batch losses; returns the owners whose jobs stop now.

    Raises:
        TriptychError: the state cannot be resumed.
        Stopped: at Ctrl-C, after the step is done and its state is saved.
    """
    jobs = list(chain(*alike(jobs, base.changes)))  # rows of jobs that share a batched product must be adjacent
    scaler = torch.amp.GradScaler(base.device.type, enabled=base.dtype is torch.float16)
    first = load_state(state, base, jobs, scaler, made_from or {}) if state and state.is_file() else 0
    last = max(job.training.steps for job in jobs)
    encodings, stacks = Encodings(base, jobs), JobStacks(base.changes, together=not scaler.is_enabled())
    if first == 0:
        evaluate_fixed(base, jobs, encodings, 0, stop_early)
    try:
        with deferred_interrupt() if state else nullcontext(bool) as is_stopped:
            for step in range(first, last):
                active = [job for job in jobs if job.runs_at(step)]
                if not active:
                    break
                train_step(base, active, encodings, stacks, scaler, step)
                evaluate_fixed(base, active, encodings, step + 1, stop_early)
                for job in active:
                    if job.after_step and job.failure is None:
                        job.after_step(step + 1)
                stops = is_stopped()
                if state and ((step + 1) % every == 0 or stops):
                    save_state(state, base, jobs, scaler, step + 1, made_from or {})
                if progress:
                    progress(step + 1, last)
                if stops:
                    raise Stopped(step + 1, last)
    finally:
        stacks.dissolve()
