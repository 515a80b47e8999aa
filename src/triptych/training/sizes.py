"""Bytes that a training holds without being tried: weights, states of optimisers, and what a step takes for itself."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from math import prod

import torch
from torch import Tensor

from ..base import Base
from ..methods import WholeTraining
from ..patching.aside import is_aside
from ..units import size
from .apart import FACTORED, Apart
from .job import Job

NUMBER = 4  # bytes of a float32
MOMENTS = {  # numbers that an optimiser keeps for each number it trains, besides what it factors
    "adamw": 2.0, "adamw8bit": 0.5, "adafactor": 0.0, "prodigy": 4.0, "lion": 1.0, "came": 1.0, "schedule-free": 2.0,
}  # fmt: skip
SUMS = {"adafactor": 1, "came": 2}  # squares that an optimiser factors
WORKING = {  # numbers that a step takes for each number, gradient apart
    "adamw": 0.0, "adamw8bit": 0.0, "adafactor": 2.0, "prodigy": 2.0, "lion": 1.0, "came": 2.0, "schedule-free": 1.0,
}  # fmt: skip
ROUNDING = 3.25  # numbers that random rounding takes for each, after the step
COPIES = 2.5  # of a weight in bfloat16 and its gradient, in float32, while it is stepped


def held(tensors: Iterable[Tensor], device: torch.device) -> int:
    """Bytes of the storages of some tensors on a device. Those in files do not count, and a storage counts once."""
    storages = {
        storage._cdata: storage.nbytes()
        for tensor in tensors
        if tensor.device == device and not is_aside(tensor)
        for storage in (tensor.untyped_storage(),)
    }
    return sum(storages.values())


def state_of(job: Job, device: torch.device) -> int:
    """Bytes of the optimiser's state of a job on a device."""
    apart = isinstance(job.optimizer, Apart)
    return sum(_state(job.training.optimizer, p, apart) for p in job.parameters if p.device == device)


def _state(optimizer: str, parameter: Tensor, apart: bool) -> int:
    numbers = MOMENTS[optimizer] * parameter.numel()
    if optimizer in FACTORED and parameter.dim() > 1:
        *rows, columns = (len(parameter), parameter[0].numel()) if apart else parameter.shape
        *others, width = parameter.shape
        down = columns if apart else prod(others[:-1]) * width
        numbers += SUMS[optimizer] * (prod(rows) + down)
    elif optimizer in FACTORED:
        numbers += parameter.numel()
    return round(NUMBER * numbers)


def stepping(job: Job, device: torch.device) -> int:
    """Bytes on a device that the step of a job takes after the last pass, with its gradients."""
    own = [parameter for parameter in job.parameters if parameter.device == device]
    if not own:
        return 0
    working, largest = WORKING[job.training.optimizer], max(parameter.numel() for parameter in own)
    gradients = 0 if job.is_fused else sum(parameter.nbytes for parameter in own)
    if not isinstance(job.optimizer, Apart):
        return gradients + round(NUMBER * working * sum(parameter.numel() for parameter in own))
    one = 1 + working if own[0].dtype is torch.float32 else COPIES + max(working, ROUNDING)
    return gradients + round(NUMBER * one * largest)


def starts(base: Base, jobs: Iterable[Job]) -> int:
    """Bytes of the initial tensors of patches beside the base, which stay on the CPU beside what is trained of them."""
    own = {id(parameter) for module in base.modules().values() for parameter in module.parameters()}
    trained = [parameter for job in jobs for parameter in job.parameters if id(parameter) not in own]
    return sum(p.nbytes for p in trained) if base.device.type == "cpu" and not base.pile else 0


def differences(base: Base) -> int:
    """Bytes on the device of what the base's own weights have learned, which is computed at the end, on the CPU."""
    if base.device.type != "cpu":
        return 0
    return sum(2 * below.numel() for patch in base.pile if not patch.difference for below in patch.below.values())


def savings(base: Base, jobs: Iterable[Job]) -> str:
    """Settings that would take less memory and change what is trained, with the bytes; "" if there are none.

    Those that store the weights below otherwise are not among them: a plan has them in files before it gives up.
    """
    found: dict[str, float] = {}
    for job in jobs:
        for words, count in _savings_of(base, job).items():
            found[words] = found.get(words, 0) + count
    best = sorted(((count, words) for words, count in found.items() if count > 0), reverse=True)
    named = ", ".join(f"{words} ({size(count)} less)" for count, words in best)
    return f", or one of these: {named}" if named else ""


def _savings_of(base: Base, job: Job) -> dict[str, float]:
    training, own = job.training, job.parameters
    now = state_of(job, base.device)
    smaller = ["adafactor", "adamw8bit"] if find_spec("bitsandbytes") else ["adafactor"]
    apart = isinstance(job.optimizer, Apart)
    found: dict[str, float] = {f"optimizer={name}": now - sum(_state(name, p, apart) for p in own) for name in smaller}
    if isinstance(training, WholeTraining):
        if not training.fused:
            found["fused=true with clip=0"] = sum(p.nbytes for p in own)
        if training.masters == "fp32" and base.dtype is torch.bfloat16:
            found["masters=bf16"] = sum(4 * p.numel() for p in own)
    return found
