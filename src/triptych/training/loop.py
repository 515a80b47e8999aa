"""The one training loop: a list of jobs, one call of the UNet a step over the stacked rows of them all."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from ..base import Base, Context, Owner, generator, spans
from ..data.examples import Batch, Source
from ..methods import Training
from .fixed_loss import FixedLoss
from .state import MadeFrom, load_state, save_state
from .stopping import Stopped, deferred_interrupt

Progress = Callable[[int, int], None]  # steps done, steps in all
Leave = Callable[[int, Mapping[Owner, float]], Collection[Owner]]  # steps done, fixed-batch losses -> who leaves now


@dataclass
class Job:
    """One patch in training: its parameters, its own optimiser, its own draws, its own schedule."""

    owner: Owner
    parameters: list[Tensor]
    sources: Sequence[Source]
    training: Training
    seed: int
    text_is_fixed: bool = True  # the patch leaves the encoding of prompts alone, so each is encoded once
    fixed: FixedLoss | None = None
    losses: list[float] = field(default_factory=list)
    failure: str | None = None
    sent_away: bool = False  # by whoever watches the pass

    def __post_init__(self) -> None:
        if not self.parameters:
            raise ValueError("nothing to train: the patch has no parameters")
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            lr=self.training.lr,
            weight_decay=self.training.weight_decay,
            fused=_fused(self.parameters[0]),
        )

    @property
    def rows(self) -> int:
        return sum(source.batch for source in self.sources)

    @property
    def prompts(self) -> list[str]:
        """All it may ever show, each once."""
        fixed = self.fixed.batch.prompts if self.fixed else []
        return list(dict.fromkeys(chain(*(source.prompts for source in self.sources), fixed)))

    def runs_at(self, step: int) -> bool:
        over = self.sent_away or self.failure is not None or (self.fixed is not None and self.fixed.is_over)
        return step < self.training.steps and not over

    def draw(self, step: int, timesteps: int) -> Batch:
        """A step's rows: a function of the seed and the step, not of the method or of who else is in the pass."""
        drawn = [draw_rows(source, self.seed, step, timesteps) for source in self.sources]
        return Batch(
            torch.cat([batch.latents for batch in drawn]), torch.cat([batch.noise for batch in drawn]),
            torch.cat([batch.timesteps for batch in drawn]), list(chain(*(batch.prompts for batch in drawn))),
        )  # fmt: skip

    def loss(self, squared: Tensor) -> Tensor:
        """The sum over sources of weight x mean, of this job's squared errors [rows]."""
        parts = squared.split([source.batch for source in self.sources])
        means = [source.weight * part.mean() for source, part in zip(self.sources, parts, strict=True)]
        return torch.stack(means).sum()

    def step(self, step: int, loss: float, scaler: torch.amp.GradScaler) -> None:
        """Clip and move, unless the loss is no longer a number."""
        if math.isfinite(loss):
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(self.training, step)
            scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.parameters, self.training.clip)
            scaler.step(self.optimizer)
        else:
            self.failure = f"its loss stopped being a number at step {step + 1}; try a lower learning rate"
        self.optimizer.zero_grad(set_to_none=True)
        self.losses.append(loss)


def _fused(parameter: Tensor) -> bool:
    return parameter.device.type in ("cpu", "cuda") and parameter.is_floating_point()


def learning_rate(training: Training, step: int) -> float:
    """Linear warm-up, then constant or half a cosine down to zero (arXiv:1608.03983)."""
    rise = min(1.0, (step + 1) / training.warmup) if training.warmup else 1.0
    fall = 0.5 + 0.5 * math.cos(math.pi * step / training.steps) if training.schedule == "cosine" else 1.0
    return training.lr * rise * fall


def draw_rows(source: Source, seed: int, step: int, timesteps: int) -> Batch:
    """The rows a source gives at a step: its pictures in shuffled rounds, fresh noise, uniform timesteps."""
    count, first = len(source.latents), step * source.batch
    rounds: dict[int, list[int]] = {}
    chosen = []
    for place in range(first, first + source.batch):
        turn, position = divmod(place, count)
        if turn not in rounds:
            order = generator("order", source.purpose, seed, turn)
            rounds[turn] = torch.randperm(count, generator=order).tolist()
        chosen.append(rounds[turn][position])
    random = generator("train", source.purpose, seed, step)
    latents = source.latents[torch.tensor(chosen, device=source.latents.device)]
    noise = torch.randn(latents.shape, generator=random, dtype=latents.dtype)
    times = torch.randint(0, timesteps, (source.batch,), generator=random)
    return Batch(latents, noise.to(latents.device), times.to(latents.device), [source.prompts[i] for i in chosen])


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


def train_step(base: Base, active: Sequence[Job], contexts: Contexts, scaler: torch.amp.GradScaler, step: int) -> None:
    """One step of the jobs that still run. Where no loss is a number, none moves and there is no scale to update."""
    losses = losses_of(base, active, contexts, step)
    scaler.scale(losses.sum()).backward()
    for job, loss in zip(active, losses.tolist(), strict=True):
        job.step(step, loss, scaler)
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
    everything = [parameter for job in jobs for parameter in job.parameters]
    scaler = torch.amp.GradScaler(base.device.type, enabled=base.dtype is torch.float16)
    first = load_state(state, base, jobs, scaler, made_from or {}) if state and state.is_file() else 0
    last = max(job.training.steps for job in jobs)
    contexts = Contexts(base, jobs)
    if first == 0:
        look(base, jobs, contexts, 0, leave)
    try:
        for parameter in everything:
            parameter.requires_grad_(True)
        with deferred_interrupt() if state else nullcontext(bool) as is_stopped:
            for step in range(first, last):
                active = [job for job in jobs if job.runs_at(step)]
                if not active:
                    break
                train_step(base, active, contexts, scaler, step)
                look(base, active, contexts, step + 1, leave)
                stops = is_stopped()
                if state and ((step + 1) % every == 0 or stops):
                    save_state(state, base, jobs, scaler, step + 1, made_from or {})
                if progress:
                    progress(step + 1, last)
                if stops:
                    raise Stopped(step + 1, last)
    finally:
        for parameter in everything:
            parameter.requires_grad_(False).grad = None
