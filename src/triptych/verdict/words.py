"""Names and figures as a reader wants them; shared by the verdict's sentences and the report."""

import math

from ..scores import parts_of
from .intervals import Interval

TITLES = {
    "textual-inversion": "Textual inversion",
    "hypernetwork": "Hypernetwork",
    "lora": "LoRA",
    "dreambooth": "DreamBooth",
    "aesthetic-gradients": "Aesthetic gradients",
    "base": "Bare base",
}


def title(method: str) -> str:
    """A method's name; those of a combination are joined: `Textual inversion + LoRA`."""
    first, *others = parts_of(method)
    return " + ".join((_title(first), *map(inside, others)))


def _title(method: str) -> str:
    return TITLES.get(method, method.replace("-", " ").capitalize())


def inside(method: str) -> str:
    """The name within a sentence: `LoRA` and `DreamBooth` keep their capitals."""
    names = map(_title, parts_of(method))
    return " + ".join(
        name if any(letter.isupper() for letter in name[1:]) else name[0].lower() + name[1:] for name in names
    )


def listed(names: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def figure(value: float, signed: bool = False) -> str:
    """Two decimals with a true minus; `signed` adds a plus. An unknown end reads `?`."""
    if not math.isfinite(value):
        return "?"
    text = f"{abs(value):.2f}"
    if float(text) == 0:
        return text
    return ("\N{MINUS SIGN}" if value < 0 else "+" if signed else "") + text


def signed(interval: Interval) -> str:
    """A difference with its interval: `+0.12 (+0.03 to +0.21)`."""
    return f"{figure(interval.value, signed=True)} ({span(interval, signed=True)})"


def span(interval: Interval, signed: bool = False) -> str:
    """`0.61 to 0.74`."""
    return f"{figure(interval.low, signed)} to {figure(interval.high, signed)}"
