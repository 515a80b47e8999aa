"""Names and figures as a reader wants them; shared by the verdict's sentences and the report."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from ..scores import parts_of
from .intervals import Interval

TITLES = {
    "textual-inversion": "Textual inversion",
    "hypernetwork": "Hypernetwork",
    "lora": "LoRA",
    "dreambooth": "DreamBooth",
    "aesthetic-gradients": "Aesthetic gradients",
    "base": "Bare base",
    "reseeded": "Bare base, other seeds",
    "dreambooth-lora": "DreamBooth-LoRA",
    "pivotal": "Pivotal tuning",
    "custom-diffusion": "Custom Diffusion",
    "p-plus": "P+",
    "svdiff": "SVDiff",
    "layernorm": "LayerNorm tuning",
    "fine-tune": "Fine-tuning",
}


_TITLES: ContextVar[Mapping[str, str]] = ContextVar("titles", default=TITLES)


@contextmanager
def titled(titles: Mapping[str, str]) -> Iterator[None]:
    """Methods of other packages are called by their own titles (method -> title) for as long as the block lasts."""
    token = _TITLES.set({**titles, **TITLES})
    try:
        yield
    finally:
        _TITLES.reset(token)


def title(method: str) -> str:
    """A method's name; those of a combination are joined: `Textual inversion + LoRA`."""
    first, *others = parts_of(method)
    return " + ".join((_title(first), *map(inside, others)))


def _title(method: str) -> str:
    return _TITLES.get().get(method, method.replace("-", " ").capitalize())


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


def percent(chance: float) -> str:
    """`6 %`; what is nearly never or nearly always so reads `under 1 %` and `over 99 %`."""
    if chance < 0.005:
        return "under 1 %"
    return "over 99 %" if chance > 0.995 else f"{round(100 * chance)} %"


def signed(interval: Interval) -> str:
    """A difference with its interval: `+0.12 (+0.03 to +0.21)`."""
    return f"{figure(interval.value, signed=True)} ({span(interval, signed=True)})"


def span(interval: Interval, signed: bool = False) -> str:
    """`0.61 to 0.74`."""
    return f"{figure(interval.low, signed)} to {figure(interval.high, signed)}"
