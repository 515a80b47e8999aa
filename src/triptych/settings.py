"""Settings: frozen dataclasses. The command line, the study file and the report derive from their fields."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, TypeVar, get_type_hints

from .errors import TriptychError, did_you_mean

S = TypeVar("S")
Value = str | int | float | bool


def setting(
    default: Any,
    explanation: str,
    *,
    least: float | None = None,
    most: float = math.inf,
    choices: tuple[str, ...] = (),
    name: str = "",
    unset: str = "",
) -> Any:
    """A dataclass field with its explanation, its least and greatest value, and its allowed values.

    Args:
        name: the name by which users state it, if it is not the field's own.
        unset: what the default stands for, if the default itself says nothing, such as 0 for "the budget's own".
    """
    metadata = {
        "explanation": explanation, "least": least, "most": most, "choices": choices, "name": name, "unset": unset,
    }  # fmt: skip
    factory = {"default_factory": default} if isinstance(default, type) else {"default": default}
    return field(**factory, metadata=metadata)


@dataclass(frozen=True)
class Described:
    """One setting, for display."""

    name: str
    kind: str
    default: Value
    explanation: str
    choices: tuple[str, ...]


def describe(kind: type) -> list[Described]:
    hints = get_type_hints(kind)
    return [
        Described(
            f.name, hints[f.name].__name__, f.default, f.metadata.get("explanation", ""), f.metadata.get("choices", ())
        )
        for f in fields(kind)
        if f.default is not MISSING
    ]


def line(name: str, settings: Any, own: Mapping[str, Value] | None = None) -> str:
    """The settings of a method in one line, without what is empty or off (0 or false) by default.

    `own` are the base's own settings. What the user changes of them is shown even if it is off.
    """
    usual = {f.name: f.default for f in fields(settings)}
    values = {name: getattr(settings, name) for name in usual}
    changed = {name for name, value in (own or {}).items() if value != values[name]}
    shown = [name for name, value in values.items() if value or value != usual[name] or name in changed]
    return f"{name}: {', '.join(f'{each} {values[each]}' if values[each] != '' else f'no {each}' for each in shown)}"


def parse(kind: type[S], given: Mapping[str, Value], of: str) -> S:
    """Settings of `kind` from values or their texts. Others keep their defaults. `of` names the method in errors.

    Raises:
        TriptychError: a name is unknown, or a value does not fit.
    """
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    hints = get_type_hints(kind)
    for name in given:
        if name not in known:
            raise TriptychError(f"{of} has no setting {name!r}{did_you_mean(name, known)}")
    return kind(**{name: _value(known[name], hints[name], value, of) for name, value in given.items()})


def _value(known: Field[Any], kind: type, value: Value, of: str) -> Value:
    try:
        parsed = _BOOLEANS[str(value).lower()] if kind is bool else kind(value)
        if not isinstance(value, str | int | float) or (isinstance(value, float) and parsed != value and kind is int):
            raise ValueError
    except (ValueError, KeyError, TypeError, OverflowError):
        article = {int: "a whole number", float: "a number", bool: "true or false"}.get(kind, "a text")
        raise TriptychError(f"{of}: {known.name} must be {article}, not {value!r}") from None
    least, choices = known.metadata.get("least"), known.metadata.get("choices")
    if least is not None and not least <= parsed < float("inf"):
        raise TriptychError(f"{of}: {known.name} must be at least {least:g}, not {value}")
    most = known.metadata.get("most", math.inf)
    if most < math.inf and parsed > most:
        raise TriptychError(f"{of}: {known.name} must be at most {most:g}, not {value}")
    if choices and parsed not in choices:
        raise TriptychError(f"{of}: {known.name} cannot be {value!r}{did_you_mean(str(value), choices)}")
    return parsed


_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
