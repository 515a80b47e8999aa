"""The optimisers by name: torch's AdamW, those of pytorch-optimizer, and bitsandbytes where it is installed."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from ..errors import TriptychError
from ..methods import Training, WholeTraining
from .apart import Apart

# Name -> module, class, and the arguments by which it follows our learning rates.
KNOWN: dict[str, tuple[str, str, dict[str, Any]]] = {
    "adamw8bit": ("bitsandbytes.optim", "AdamW8bit", {}),
    "adafactor": (  # arXiv:1804.04235, without momentum
        "pytorch_optimizer", "AdaFactor",
        {"relative_step": False, "scale_parameter": False, "betas": (None, 0.999)},
    ),
    "prodigy": ("pytorch_optimizer", "Prodigy", {"bias_correction": True, "safeguard_warmup": True}),  # 2306.06101
    "lion": ("pytorch_optimizer", "Lion", {}),  # arXiv:2302.06675
    "came": ("pytorch_optimizer", "CAME", {}),  # arXiv:2307.02047
    "schedule-free": ("pytorch_optimizer", "ScheduleFreeAdamW", {}),  # arXiv:2405.15682
}  # fmt: skip
LOWER = ("lion", "came")  # whose steps at one rate are larger than AdamW's: came's since its means begin at 0
STACKABLE = "adamw"  # whose state of several jobs can be rows of one storage


def optimizer_for(groups: Mapping[str, Sequence[Tensor]], training: Training, seed: int) -> torch.optim.Optimizer:
    """The optimiser that the settings name, over named groups of parameters. `seed` is that of random rounding.

    Raises:
        TriptychError: its library is not installed, or it cannot step one parameter at a time and must.
    """
    if isinstance(training, WholeTraining) and (training.fused or training.masters == "bf16"):
        return Apart(groups, training, seed, _together)
    return _together(groups, training)


def _together(groups: Mapping[str, Sequence[Tensor]], training: Training) -> torch.optim.Optimizer:
    if training.optimizer == STACKABLE:
        return adamw(groups, training)
    library, name, options = KNOWN[training.optimizer]
    try:
        kind = getattr(importlib.import_module(library), name)
    except (ImportError, RuntimeError) as error:
        package = library.partition(".")[0].replace("_", "-")
        raise TriptychError(f"the optimiser {training.optimizer} needs {package}: install it by pip") from error
    made: torch.optim.Optimizer = kind(_named(groups), lr=training.lr, weight_decay=training.weight_decay, **options)
    return made


def adamw(groups: Mapping[str, Sequence[Tensor]], training: Training) -> torch.optim.AdamW:
    """AdamW over named groups of parameters, fused if the device supports it."""
    first = next(iter(chain(*groups.values())))
    return torch.optim.AdamW(
        _named(groups),
        lr=training.lr,
        weight_decay=training.weight_decay,
        fused=first.device.type in ("cpu", "cuda") and first.is_floating_point(),
    )


def _named(groups: Mapping[str, Sequence[Tensor]]) -> list[dict[str, Any]]:
    return [{"params": list(group), "name": name} for name, group in groups.items()]


def remark(training: Training, given: Collection[str]) -> str:
    """A sentence on settings that seldom go with the optimiser; "" if there is none. given: those of the user."""
    if training.optimizer in LOWER and "optimizer" in given and "lr" not in given:
        return f"lr {training.lr:g} is one for adamw; {training.optimizer} wants a third to a tenth of it: give lr"
    if training.optimizer == "prodigy" and training.lr < 0.1:
        return f"prodigy finds the learning rate itself, lr is a factor of it: 1 is usual, not {training.lr:g}"
    if training.optimizer == "schedule-free" and training.schedule != "constant":
        return f"schedule-free is made for schedule=constant; {training.schedule} slows it down towards the end"
    return ""


@contextmanager
def kept_in_place(
    optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor], averages: Sequence[Tensor]
) -> Iterator[None]:
    """Inside the block the parameters have the values that an artifact keeps: their averages, if there are any.

    A schedule-free optimiser has averages of its own. Afterwards the parameters are what they were, bit for bit.
    """
    is_free = hasattr(optimizer, "eval") and hasattr(optimizer, "train")
    if not averages and not is_free:
        yield
        return
    data = [parameter.data for parameter in parameters]
    before = [values.clone() for values in data]
    if is_free:
        optimizer.eval()  # type: ignore[attr-defined]
    for values, average in zip(data, averages, strict=False):
        values.copy_(average)
    try:
        yield
    finally:
        if is_free:
            optimizer.train()  # type: ignore[attr-defined]
        for values, own in zip(data, before, strict=True):
            values.copy_(own)
