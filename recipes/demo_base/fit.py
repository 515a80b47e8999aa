"""The one training loop: AdamW, averaged weights, a budget of time, checkpoints that a killed run resumes from."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from recipes.demo_base.fleet import Fleet

LONGEST_STEP = 5.0
"""Seconds that one step may count for: a run that was stopped for a while loses no budget."""


@dataclass(frozen=True)
class Plan:
    """How a stage is trained."""

    seconds: float
    rate: float
    hold: float = 0.0
    """Part of the budget at the full rate; then it falls to zero by a cosine."""
    warm_up: int = 100
    weight_decay: float = 0.0
    averaging: float = 0.999
    clip: float = 1.0
    checkpoint_every: float = 90.0
    log_every: int = 100


class Task(Protocol):
    """What a stage trains: modules, and a loss that draws its own batch."""

    name: str
    modules: nn.ModuleDict

    def loss(self, rng: np.random.Generator, noise: torch.Generator) -> Tensor:
        """A scalar for one batch of this process, drawn from its generators."""
        ...


class Progress:
    """Everything that a resumed run needs: weights, their running mean, optimiser, steps and seconds used."""

    def __init__(self, task: Task, plan: Plan) -> None:
        self.modules = task.modules
        self.parameters = list(task.modules.parameters())
        decayed = [p for p in self.parameters if p.ndim > 1]
        rest = [p for p in self.parameters if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": plan.weight_decay}, {"params": rest, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=plan.rate, betas=(0.9, 0.99), fused=True)
        self.mean = [p.detach().clone() for p in self.parameters]
        self.step, self.seconds = 0, 0.0

    def save(self, file: Path) -> None:
        """Write all of it, in one move."""
        state = {
            "modules": self.modules.state_dict(),
            "mean": self.mean,
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        partial = file.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(file)

    def load(self, file: Path) -> None:
        """Continue from a file that `save` wrote."""
        state: dict[str, Any] = torch.load(file, weights_only=True, map_location=self.parameters[0].device)
        self.modules.load_state_dict(state["modules"])
        self.mean = state["mean"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds = state["step"], state["seconds"]

    @torch.no_grad()
    def follow(self, averaging: float) -> None:
        """Move the running mean towards the weights, faster at the start."""
        weight = 1 - min(averaging, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self.mean, [p.detach() for p in self.parameters], weight)

    @torch.no_grad()
    def settle(self) -> None:
        """Put the running mean in the weights' place."""
        for parameter, mean in zip(self.parameters, self.mean, strict=True):
            parameter.copy_(mean)


@torch.no_grad()
def load_mean(modules: nn.ModuleDict, file: Path) -> None:
    """Fill modules with the averaged weights of a checkpoint, also of a run that is still going on."""
    mean: list[Tensor] = torch.load(file, weights_only=True, map_location="cpu")["mean"]
    for parameter, value in zip(modules.parameters(), mean, strict=True):
        parameter.copy_(value)


def rate_factor(used: float, step: int, plan: Plan) -> float:
    """The learning rate as a part of its peak, after `used` (0 to 1) of the budget."""
    falling = max(0.0, (used - plan.hold) / (1 - plan.hold))
    return min(1.0, (step + 1) / plan.warm_up) * (0.5 + 0.5 * math.cos(math.pi * min(falling, 1.0)))


def fit(task: Task, plan: Plan, fleet: Fleet, folder: Path) -> None:
    """Train until the budget is used, then leave the averaged weights in the modules."""
    progress = Progress(task, plan)
    file = folder / f"{task.name}.checkpoint"
    if file.exists():
        progress.load(file)
    saved, losses, clock = progress.seconds, [], time.perf_counter()
    while (used := fleet.agree(progress.seconds / plan.seconds)) < 1:
        if fleet.orphan:
            raise SystemExit(1)
        losses.append(step_once(task, progress, plan, fleet, used))
        now = time.perf_counter()
        progress.seconds += min(now - clock, LONGEST_STEP)
        clock = now
        if fleet.leads and progress.step % plan.log_every == 0:
            mean = float(torch.stack(losses).mean())
            print(f"{task.name} step {progress.step} {progress.seconds:.0f}s loss {mean:.4f}", flush=True)
            losses.clear()
        if fleet.leads and progress.seconds - saved > plan.checkpoint_every:
            progress.save(file)
            saved = progress.seconds
    if fleet.leads:
        progress.save(file)
    progress.settle()


def step_once(task: Task, progress: Progress, plan: Plan, fleet: Fleet, used: float) -> Tensor:
    """One step of all processes; the batch depends on step and rank alone, so that a resumed run draws the same."""
    rng = np.random.default_rng((progress.step, fleet.rank))
    noise = torch.Generator(fleet.device).manual_seed(int(rng.integers(2**31)))
    rate = plan.rate * rate_factor(used, progress.step, plan)
    for group in progress.optimiser.param_groups:
        group["lr"] = rate
    progress.optimiser.zero_grad()
    loss = task.loss(rng, noise)
    loss.backward()
    with torch.no_grad():
        fleet.average([p.grad for p in progress.parameters if p.grad is not None])
    nn.utils.clip_grad_norm_(progress.parameters, plan.clip)
    progress.optimiser.step()
    progress.step += 1
    progress.follow(plan.averaging)
    return loss.detach()
