"""Names and figures as a reader wants them; shared by the verdict's sentences and the report."""

import math

from ..intervals import Interval
from ..scores import parts_of

HARD = "\N{NO-BREAK SPACE}"

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


def span(interval: Interval, signed: bool = False) -> str:
    """`0.61 to 0.74`."""
    return f"{figure(interval.low, signed)} to {figure(interval.high, signed)}"


def size(count: float) -> str:
    """Bytes, as `3 kB` or `1.2 GB` (powers of ten)."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= 0.9995 * scale:
            return f"{count / scale:.3g}{HARD}{unit}"
    return f"{count:.0f}{HARD}bytes"


def duration(seconds: float) -> str:
    """Seconds, as `8.4 s`, `2 min 5 s` or `3 h 12 min`."""
    if seconds < 59.5:
        return f"{seconds:.1f}{HARD}s" if seconds < 9.95 else f"{seconds:.0f}{HARD}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{HARD}min {rest}{HARD}s" if rest else f"{minutes}{HARD}min"
    return f"{minutes // 60}{HARD}h {minutes % 60}{HARD}min"
