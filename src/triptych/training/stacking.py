"""Batches jobs of equal shapes: their parameters share one storage, so one product and one AdamW step serve them all.

Each parameter of a job is a view of its row in a stack [J, ...]. Autograd sees the stack, so no tensor is copied and no
gradient is gathered. Each job keeps its own optimiser (whose state are views too), schedule, gradient clipping and
random draws. If the learning rates of the jobs differ, each job steps by itself on its views. Only jobs of AdamW are
stacked.

Dimensions: J jobs of a stack.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence

import torch
from torch import Tensor

from ..base import Changes
from .job import Job
from .optimizers import STACKABLE, adamw


class StackedJobs:
    """Jobs with parameters of equal shapes and equally many rows.

    Attributes:
        stacks: for each parameter, the stack of all jobs [J, ...]. Gradients go to the stacks.
        alike: whether all jobs have the same learning rates, so that one AdamW step on the stacks moves them all.
    """

    def __init__(self, jobs: Sequence[Job], together: bool = True) -> None:
        self.jobs = jobs
        columns = list(zip(*(job.parameters for job in jobs), strict=True))
        self.stacks = [torch.stack([tensor.detach() for tensor in column]) for column in columns]
        self.alike = together and len({_pace(job) for job in jobs}) == 1
        names = [name for name, group in jobs[0].groups.items() for _ in group]
        groups = {name: [s for s, of in zip(self.stacks, names, strict=True) if of == name] for name in jobs[0].groups}
        self.optimizer = adamw(groups, jobs[0].training)
        for stack, column in zip(self.stacks, columns, strict=True):
            self._stack_state(stack, column)
            for tensor, row in zip(column, stack, strict=True):
                tensor.data = row
            stack.requires_grad_(True)

    def _stack_state(self, stack: Tensor, column: Sequence[Tensor]) -> None:
        """Stack AdamW's state of one parameter; each job's state are views of its rows.

        Jobs that are alike share one step count. Other jobs need their own, since AdamW counts in place.
        """
        states = [job.optimizer.state[tensor] for job, tensor in zip(self.jobs, column, strict=True)]
        first = {"step": torch.zeros((), device=stack.device), "exp_avg": None, "exp_avg_sq": None}
        whole = self.optimizer.state[stack]
        for name in ("exp_avg", "exp_avg_sq"):
            whole[name] = torch.stack([state[name] if state else torch.zeros_like(stack[0]) for state in states])
        steps = [state.get("step", first["step"]) for state in states]
        whole["step"] = steps[0].clone()
        for index, state in enumerate(states):
            state["step"] = whole["step"] if self.alike else steps[index].clone()
            state["exp_avg"], state["exp_avg_sq"] = whole["exp_avg"][index], whole["exp_avg_sq"][index]

    def step(self, losses: Sequence[float], step: int, scaler: torch.amp.GradScaler) -> None:
        """Do `Job.step` for each job with its loss; in one AdamW step if the jobs are alike and all losses finite."""
        if self.alike and all(map(math.isfinite, losses)):
            clip_rows([stack.grad for stack in self.stacks if stack.grad is not None], self.jobs)
            self.jobs[0].set_rates(self.optimizer, step)
            self.optimizer.step()
            for job, loss in zip(self.jobs, losses, strict=True):
                job.stepped(loss)
        else:
            self._separate()
            for job, loss in zip(self.jobs, losses, strict=True):
                job.step(step, loss, scaler)
        self.optimizer.zero_grad(set_to_none=True)

    def _separate(self) -> None:
        """Give each job its gradients and, from now on, its own step count."""
        for index, job in enumerate(self.jobs):
            for tensor, stack in zip(job.parameters, self.stacks, strict=True):
                tensor.grad = None if stack.grad is None else stack.grad[index]
                if self.alike:
                    job.optimizer.state[tensor]["step"] = job.optimizer.state[tensor]["step"].clone()
        self.alike = False

    def dissolve(self) -> None:
        """Give each job its own storage again."""
        for job in self.jobs:
            for tensor in job.parameters:
                tensor.data = tensor.data.clone()
                state = job.optimizer.state[tensor]
                job.optimizer.state[tensor] = {name: value.clone() for name, value in state.items()}


class JobStacks:
    """The active jobs of a pass, stacked where possible. They are arranged again when a job ends."""

    def __init__(self, changes: Changes, together: bool) -> None:
        """`together`: false if every job must step by itself, as a gradient scaler requires."""
        self.changes, self.together = changes, together
        self.jobs: list[Job] = []
        self.arranged: list[tuple[int, int]] = []  # the jobs by their ids, and how often each was rescued
        self.stacked: list[StackedJobs] = []

    def arrange(self, jobs: Sequence[Job]) -> None:
        """Require gradients for the parameters of these jobs, and of no others."""
        arranged = [(id(job), job.rescue.count) for job in jobs]
        if arranged == self.arranged:
            return
        self.dissolve()
        self.jobs, self.arranged = list(jobs), arranged
        for group in alike(self.jobs, self.changes):
            if len(group) > 1:
                stacked = StackedJobs(group, self.together)
                self.stacked.append(stacked)
                columns = zip(*(job.parameters for job in group), strict=True)
                for column, stack in zip(columns, stacked.stacks, strict=True):
                    self.changes.stacks |= {id(tensor): (stack, index) for index, tensor in enumerate(column)}
            else:
                group[0].leaves.attach()

    def step(self, losses: Sequence[float], step: int, scaler: torch.amp.GradScaler) -> None:
        """Do a step of every job. `losses` are in the order of `arrange`."""
        by_job = dict(zip(map(id, self.jobs), losses, strict=True))
        for stacked in self.stacked:
            stacked.step([by_job.pop(id(job)) for job in stacked.jobs], step, scaler)
        for job in self.jobs:
            if id(job) in by_job:
                job.step(step, by_job[id(job)], scaler)

    def drop_gradients(self) -> None:
        for stacked in self.stacked:
            stacked.optimizer.zero_grad(set_to_none=True)
        for job in self.jobs:
            job.optimizer.zero_grad(set_to_none=True)

    def dissolve(self) -> None:
        """Give every parameter its own storage again, without a gradient."""
        for stacked in self.stacked:
            stacked.dissolve()
        for job in self.jobs:
            job.leaves.detach()
        self.jobs, self.stacked, self.arranged = [], [], []
        self.changes.stacks.clear()


def alike(jobs: Sequence[Job], changes: Changes) -> Iterator[list[Job]]:
    """Group the jobs whose parameters can be stacked, in the order of each group's first job."""
    kinds, groups = changes.kinds(), dict[Hashable, list[Job]]()
    for job in jobs:
        tensors = job.parameters
        if job.training.optimizer == STACKABLE and all(id(tensor) in kinds for tensor in tensors):
            shapes = tuple((kinds[id(tensor)], tensor.shape) for tensor in tensors)
            rows = (job.rows, job.training.accumulate)
            groups.setdefault((rows, tuple(job.groups), shapes), []).append(job)
        else:
            groups[id(job)] = [job]
    yield from groups.values()


def clip_rows(gradients: Sequence[Tensor], jobs: Sequence[Job]) -> None:
    """Scale the gradients [J, ...] of each job in place, so that their norm is at most that job's greatest."""
    norms = torch.stack([torch.linalg.vector_norm(gradient.flatten(1), dim=1) for gradient in gradients])
    most = torch.tensor([job.training.greatest_norm for job in jobs], dtype=norms.dtype, device=norms.device)
    scales = (most / (torch.linalg.vector_norm(norms, dim=0) + 1e-6)).clamp(max=1)
    if not bool((scales == 1).all()):
        for gradient in gradients:
            gradient.mul_(scales.reshape(-1, *[1] * (gradient.dim() - 1)))


def _pace(job: Job) -> Hashable:
    """All that a job's learning rates and step count depend on."""
    counts = {float(state["step"]) for state in job.optimizer.state.values()}
    training = job.training
    schedule = (training.schedule, training.warmup, training.decay, training.cycles, training.power, training.steps)
    return (
        training.lr * job.rescue.slower,
        training.weight_decay,
        *schedule,
        tuple(sorted(job.rates.items())),
        *sorted(counts),
    )
