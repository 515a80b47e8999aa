"""What a user should know of settings before a training: what is not used as given, and what seldom goes together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from ..base import Base
from ..data.examples import Examples
from ..methods import Training, WholeTraining, method_named
from ..settings import Value
from ..training.optimizers import remark
from ..training.reading import reading_of
from ..training.schedules import learning_rate
from ..units import counted

ONLY_WITH: dict[str, tuple[str, Sequence[object]]] = {  # settings that need some values of another one; (): any
    "cycles": ("schedule", ("cosine-restarts",)), "power": ("schedule", ("polynomial",)),
    "shuffle": ("vectors", range(2, 10**9)), "prior_pictures": ("prior", ("pictures",)),
    "initialisation": ("algorithm", ("lora",)), "lora_plus": ("algorithm", ("lora", "dora")),
    **dict.fromkeys(("alpha", "rslora"), ("algorithm", ("lora", "dora", "loha", "lokr"))),
    **dict.fromkeys(("text_angle", "negative"), ("text", ())),
    **dict.fromkeys(("rank", "ranks"), ("algorithm", ("lora", "dora", "loha", "lokr", "oft"))),
}  # fmt: skip


def remarks_on(
    base: Base, method: str, given: Mapping[str, Value], settings: Any, class_word: str, examples: Examples
) -> list[str]:
    """A line for each remark.

    Args:
        given: the settings that the user gave.
        settings: all settings that the training has.
    """
    found = [*_replaced(method, given, settings), *_idle(method, given, settings)]
    if not isinstance(settings, Training):
        return found
    reading = reading_of(base, method, settings, class_word, examples.templates, examples.names, examples.chunks)
    return [
        line
        for line in [
            *found,
            str(reading),
            remark(settings, given),
            _low(method, settings),
            _blind(method, settings),
            _held(base, method, settings),
        ]
        if line
    ]


def schedule_remark(method: str, settings: Any) -> str:
    """A sentence on how pictures must be sampled with the result; "" if as always."""
    if not isinstance(settings, Training) or not settings.zero_snr:
        return ""
    return (
        f"{method}: with zero_snr it is trained on a schedule that ends at pure noise, but triptych samples on the"
        " base's own; sample where that can be set, such as by rescale_betas_zero_snr in diffusers"
    )


def _idle(method: str, given: Mapping[str, Value], settings: Any) -> list[str]:
    """The given settings that do nothing, since another one has not the value they go with."""
    usual = {entry.name: entry.default for entry in fields(settings)}
    found = []
    for name, (other, values) in ONLY_WITH.items():
        changed = name in given and getattr(settings, name) != usual[name]
        value = getattr(settings, other, None)
        if changed and value is not None and not (value in values if values else value):
            found.append(f"{method}: {name} does nothing {f'with {other} {value}' if value else f'without {other}'}")
    return found


def _low(method: str, settings: Training) -> str:
    highest = max(learning_rate(settings, step) for step in range(settings.steps))
    if highest > settings.lr / 2 or not settings.lr:
        return ""
    return (
        f"{method}: the learning rate rises to {highest:.3g} at most, not to lr {settings.lr:g}: warmup"
        f" {settings.warmup} and decay {settings.decay} are long for {counted(settings.steps, 'step')}"
    )


def _blind(method: str, settings: Training) -> str:
    if settings.rescue and not settings.fixed_every:
        return f"{method}: rescue has nothing to see a collapse by, since fixed_every 0 leaves the fixed-batch loss out"
    return ""


def _held(base: Base, method: str, settings: Training) -> str:
    if isinstance(settings, WholeTraining) and settings.masters == "cpu" and base.device.type == "cpu":
        return f"{method}: masters=cpu saves nothing on a CPU, where all memory is one: the masters are further copies"
    return ""


def _replaced(method: str, given: Mapping[str, Value], settings: Any) -> list[str]:
    """The given settings that the words of the concept replace."""
    stated = method_named(method).configure(given)
    pairs = [(name, getattr(stated, name), getattr(settings, name)) for name in given]
    return [
        f"{method}: {name} is {now}, from the words for the concept, and not {then}"
        for name, then, now in pairs
        if then not in ("", now)
    ]
