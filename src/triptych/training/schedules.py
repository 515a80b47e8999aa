"""How the learning rate goes over the steps of a training."""

from __future__ import annotations

import math
from collections.abc import Callable

from ..methods import Training

Fall = Callable[[float, Training], float]  # share of the steps done, 0 to 1 -> factor of the learning rate

FALLS: dict[str, Fall] = {
    "constant": lambda done, training: 1.0,
    "linear": lambda done, training: 1 - done,
    "cosine": lambda done, training: 0.5 + 0.5 * math.cos(math.pi * done),  # arXiv:1608.03983, equation 5
    "cosine-restarts": lambda done, training: 0.5 + 0.5 * math.cos(math.pi * (done * training.cycles % 1)),
    "polynomial": lambda done, training: (1 - done) ** training.power,
    "rex": lambda done, training: (1 - done) / (1 - done / 2),  # arXiv:2107.04197, equation 4
}


def learning_rate(training: Training, step: int, rate: float | None = None) -> float:
    """The learning rate of a step: linear warm-up, times the schedule, times the decay at the end.

    `rate` is the peak; by default `training.lr`.
    """
    rise = min(1.0, (step + 1) / training.warmup) if training.warmup else 1.0
    fall = FALLS[training.schedule](step / training.steps, training)
    end = min(1.0, (training.steps - step) / (training.decay + 1)) if training.decay else 1.0
    return (training.lr if rate is None else rate) * rise * fall * end
