"""The one training loop: a list of jobs, one call of the denoiser a step over the stacked rows of them all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path

import torch
from torch import Tensor

from ..base import Base, Context, Owner, spans
from ..data.examples import Batch
from .crews import Crews, alike
from .job import Job
from .state import MadeFrom, load_state, save_state
from .stopping import Stopped, deferred_interrupt

PROMPTS = 64  # in one call of the text encoder, where training does not change it
Progress = Callable[[int, int], None]  # steps done, steps in all
Leave = Callable[[int, Mapping[Owner, float]], Collection[Owner]]  # steps done, fixed-batch losses -> who leaves now


class Contexts:
    """The text of each step: encoded once where training cannot change it, anew at each step where it can."""

    def __init__(self, base: Base, jobs: Sequence[Job]) -> None:
        self.base = base
        self.cached: dict[Owner, dict[str, Context]] = {}
        asked = [(job.owner, prompt) for job in jobs if job.text_is_fixed for prompt in job.prompts]
        for some in (asked[first : first + PROMPTS] for first in range(0, len(asked), PROMPTS)):
            by_owner = {owner: [prompt for _, prompt in own] for owner, own in groupby(some, key=itemgetter(0))}
            with torch.no_grad():
                texts = base.encode_for(list(by_owner.items()))
            for (owner, prompt), text in zip(some, texts.split([1] * len(texts)), strict=True):
                self.cached.setdefault(owner, {})[prompt] = text

    def of(self, jobs: Sequence[Job], batches: Sequence[Batch]) -> Context:
        """The text of all rows, in the order of the jobs."""
        moving = [(job.owner, batch.prompts) for job, batch in zip(jobs, batches, strict=True) if not job.text_is_fixed]
        live = iter(self.base.encode_for(moving).split([len(prompts) for _, prompts in moving])) if moving else iter(())
        return Context.cat(
            Context.cat(self.cached[job.owner][prompt] for prompt in batch.prompts) if job.text_is_fixed else next(live)
            for job, batch in zip(jobs, batches, strict=True)
        )


def squared_errors(
    base: Base, jobs: Sequence[Job], batches: Sequence[Batch], contexts: Contexts
) -> list[tuple[Tensor, Tensor]]:
    """Of each job, its rows' mean squared errors and timesteps [rows], all of them from one call of the denoiser."""
    latents, noise, timesteps = (
        torch.cat([getattr(batch, part) for batch in batches]) for part in ("latents", "noise", "timesteps")
    )
    context = contexts.of(jobs, batches)
    stated = spans((job.owner, len(batch.latents)) for job, batch in zip(jobs, batches, strict=True))
    with base.rows(stated):
        predicted = base.denoise(base.process.noised(latents, noise, timesteps), timesteps, context)
    squared = (predicted - base.process.target(latents, noise, timesteps)).square().mean(dim=(1, 2, 3))
    return [(squared[rows], timesteps[rows]) for rows in stated.values()]


def losses_of(base: Base, jobs: Sequence[Job], contexts: Contexts, step: int) -> Tensor:
    """The loss of each job [jobs]."""
    batches = [job.draw(step, base.process) for job in jobs]
    errors = squared_errors(base, jobs, batches, contexts)
    return torch.stack([
        job.loss(squared * base.process.weights(timesteps, job.training.min_snr) if job.training.min_snr else squared)
        for job, (squared, timesteps) in zip(jobs, errors, strict=True)
    ])  # fmt: skip


@torch.no_grad()
def look(base: Base, jobs: Sequence[Job], contexts: Contexts, done: int, leave: Leave | None) -> None:
    """The fixed-batch losses of the jobs for which it is time after so many steps; training draws nothing from it."""
    due = [(job, job.fixed) for job in jobs if job.fixed and job.failure is None and job.fixed.due(done)]
    if not due:
        return
    errors = squared_errors(base, [job for job, _ in due], [fixed.batch for _, fixed in due], contexts)
    for (_, fixed), (squared, _) in zip(due, errors, strict=True):
        fixed.note(done, float(squared.mean()))
    gone = leave(done, {job.owner: fixed.curve[-1][1] for job, fixed in due}) if leave else ()
    for job, _ in due:
        job.sent_away = job.owner in gone


def train_step(
    base: Base, active: Sequence[Job], contexts: Contexts, crews: Crews, scaler: torch.amp.GradScaler, step: int
) -> None:
    """One step of the jobs that still run. Where no loss is a number, none moves and there is no scale to update."""
    crews.arrange(active)
    losses = losses_of(base, active, contexts, step)
    scaler.scale(losses.sum()).backward()
    crews.step(losses.tolist(), step, scaler)
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
    leave: Leave | None = None,
) -> None:
    """Runs every job to the end of its own steps; a job that has ended, failed or stopped early leaves the batch.

    With `state`, everything needed to go on is written there every `every` steps and at Ctrl-C, and read from there if
    it exists, so that a run that was stopped ends bit for bit as one that was not (same machine, threads and
    precision). A state whose `made_from` is another is refused. `leave` is called with every look at fixed-batch
    losses, and returns whose training is not worth going on with.

    Raises:
        TriptychError: the state cannot be gone on from.
        Stopped: at Ctrl-C, when the step is done and its state is saved.
    """
    jobs = list(chain(*alike(jobs, base.changes)))  # the rows of jobs that can be one product lie side by side
    scaler = torch.amp.GradScaler(base.device.type, enabled=base.dtype is torch.float16)
    first = load_state(state, base, jobs, scaler, made_from or {}) if state and state.is_file() else 0
    last = max(job.training.steps for job in jobs)
    contexts, crews = Contexts(base, jobs), Crews(base.changes, together=not scaler.is_enabled())
    if first == 0:
        look(base, jobs, contexts, 0, leave)
    try:
        with deferred_interrupt() if state else nullcontext(bool) as is_stopped:
            for step in range(first, last):
                active = [job for job in jobs if job.runs_at(step)]
                if not active:
                    break
                train_step(base, active, contexts, crews, scaler, step)
                look(base, active, contexts, step + 1, leave)
                stops = is_stopped()
                if state and ((step + 1) % every == 0 or stops):
                    save_state(state, base, jobs, scaler, step + 1, made_from or {})
                if progress:
                    progress(step + 1, last)
                if stops:
                    raise Stopped(step + 1, last)
    finally:
        crews.dissolve()
