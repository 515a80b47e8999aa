"""The one training loop: a list of jobs, one call of the UNet a step over the stacked rows of them all."""

from __future__ import annotations

import os
import platform
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..base import Base, Context, Owner, spans
from ..data.examples import Batch
from ..errors import TriptychError
from ..files.atomic import replacing
from .crews import Crews, alike
from .job import Job

Progress = Callable[[int, int], None]  # steps done, steps in all
Leave = Callable[[int, Mapping[Owner, float]], Collection[Owner]]  # steps done, fixed-batch losses -> who leaves now


class Contexts:
    """The text of each step: encoded once where training cannot change it, anew at each step where it can."""

    def __init__(self, base: Base, jobs: Sequence[Job]) -> None:
        fixed = [(job, job.prompts) for job in jobs if job.text_is_fixed]
        self.base = base
        self.cached: dict[Owner, dict[str, Context]] = {}
        if fixed:
            with torch.no_grad():
                texts = base.encode_for([(job.owner, prompts) for job, prompts in fixed])
            single = iter(texts.split([1] * len(texts)))
            self.cached = {job.owner: {prompt: next(single) for prompt in prompts} for job, prompts in fixed}

    def of(self, jobs: Sequence[Job], batches: Sequence[Batch]) -> Context:
        """The text of all rows, in the order of the jobs."""
        moving = [(job.owner, batch.prompts) for job, batch in zip(jobs, batches, strict=True) if not job.text_is_fixed]
        live = iter(self.base.encode_for(moving).split([len(prompts) for _, prompts in moving])) if moving else iter(())
        return Context.cat(
            Context.cat(self.cached[job.owner][prompt] for prompt in batch.prompts) if job.text_is_fixed else next(live)
            for job, batch in zip(jobs, batches, strict=True)
        )


def min_snr_weights(base: Base, timesteps: Tensor, gamma: float) -> Tensor:
    """min(SNR, gamma) / SNR for noise, min(SNR, gamma) / (SNR + 1) for velocity (arXiv:2303.09556) [rows]."""
    alphas = base.schedule.alphas_cumprod.to(timesteps.device)[timesteps]
    snr = alphas / (1 - alphas)
    by_velocity = base.schedule.config.prediction_type == "v_prediction"
    weights: Tensor = snr.clamp(max=gamma) / (snr + 1 if by_velocity else snr)
    return weights


def squared_errors(
    base: Base, jobs: Sequence[Job], batches: Sequence[Batch], contexts: Contexts
) -> list[tuple[Tensor, Tensor]]:
    """Of each job, its rows' mean squared errors and timesteps [rows], all of them from one call of the UNet."""
    latents, noise, timesteps = (
        torch.cat([getattr(batch, part) for batch in batches]) for part in ("latents", "noise", "timesteps")
    )
    context = contexts.of(jobs, batches)
    stated = spans((job.owner, len(batch.latents)) for job, batch in zip(jobs, batches, strict=True))
    with base.rows(stated):
        predicted = base.denoise(base.schedule.add_noise(latents, noise, timesteps), timesteps, context)
    squared = (predicted - base.target(latents, noise, timesteps)).square().mean(dim=(1, 2, 3))
    return [(squared[rows], timesteps[rows]) for rows in stated.values()]


def losses_of(base: Base, jobs: Sequence[Job], contexts: Contexts, step: int) -> Tensor:
    """The loss of each job [jobs]."""
    batches = [job.draw(step, base.schedule.config.num_train_timesteps) for job in jobs]
    errors = squared_errors(base, jobs, batches, contexts)
    return torch.stack([
        job.loss(squared * min_snr_weights(base, timesteps, job.training.min_snr) if job.training.min_snr else squared)
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


def train(
    base: Base,
    jobs: Sequence[Job],
    *,
    state: Path | None = None,
    every: int = 50,
    progress: Progress | None = None,
    leave: Leave | None = None,
) -> None:
    """Runs every job to the end of its own steps; a job that has ended, failed or stopped early leaves the batch.

    With `state`, everything needed to go on is written there every `every` steps, and read from there if it exists, so
    that a run that was stopped ends bit for bit as one that was not (same machine, threads and precision). `leave` is
    told of every look at fixed-batch losses, and says whose training is not worth going on with.
    """
    jobs = list(chain(*alike(jobs, base.changes)))  # the rows of jobs that can be one product lie side by side
    scaler = torch.amp.GradScaler(base.device.type, enabled=base.dtype is torch.float16)
    first = _resume(base, jobs, scaler, state) if state and state.is_file() else 0
    last = max(job.training.steps for job in jobs)
    contexts, crews = Contexts(base, jobs), Crews(base.changes, together=not scaler.is_enabled())
    if first == 0:
        look(base, jobs, contexts, 0, leave)
    try:
        for step in range(first, last):
            active = [job for job in jobs if job.runs_at(step)]
            if not active:
                break
            crews.arrange(active)
            losses = losses_of(base, active, contexts, step)
            scaler.scale(losses.sum()).backward()
            crews.step(losses.tolist(), step, scaler)
            scaler.update()
            look(base, active, contexts, step + 1, leave)
            if state and (step + 1) % every == 0:
                _keep(base, jobs, scaler, state, step + 1)
            if progress:
                progress(step + 1, last)
    finally:
        crews.dissolve()


def environment(base: Base) -> dict[str, str]:
    """What exact equality between two runs depends on."""
    return {
        "device": str(base.device), "dtype": str(base.dtype), "threads": str(torch.get_num_threads()),
        "torch": str(torch.__version__), "machine": platform.machine() + " " + str(os.cpu_count()),
    }  # fmt: skip


def _keep(base: Base, jobs: Sequence[Job], scaler: torch.amp.GradScaler, state: Path, step: int) -> None:
    kept: dict[str, Any] = {
        "step": step,
        "environment": environment(base),
        "scaler": scaler.state_dict(),
        "jobs": [
            {
                "parameters": [parameter.detach() for parameter in job.parameters],
                "optimizer": job.optimizer.state_dict(), "losses": job.losses, "failure": job.failure,
                "sent_away": job.sent_away,
                "curve": job.fixed.curve if job.fixed else [], "best": job.fixed.best if job.fixed else {},
            }
            for job in jobs
        ],
    }  # fmt: skip
    with replacing(state) as temporary:
        torch.save(kept, temporary)


def _resume(base: Base, jobs: Sequence[Job], scaler: torch.amp.GradScaler, state: Path) -> int:
    """The step to go on at."""
    try:
        kept = torch.load(state, map_location=base.device, weights_only=True)
        for job, own in zip(jobs, kept["jobs"], strict=True):
            for parameter, value in zip(job.parameters, own["parameters"], strict=True):
                parameter.data.copy_(value)
            job.optimizer.load_state_dict(own["optimizer"])
            job.losses, job.failure, job.sent_away = list(own["losses"]), own["failure"], own["sent_away"]
            if job.fixed:
                job.fixed.curve, job.fixed.best = [(done, loss) for done, loss in own["curve"]], dict(own["best"])
        scaler.load_state_dict(kept["scaler"])
    except Exception as error:  # whatever a damaged or foreign file makes torch raise
        raise TriptychError(
            f"{state} cannot be resumed from; delete it to start again ({type(error).__name__})"
        ) from error
    if kept["environment"] != environment(base):
        warnings.warn(
            f"resuming with {environment(base)}, begun with {kept['environment']}: near, not equal", stacklevel=3
        )
    return int(kept["step"])
