"""Sizes, times, counts and lists of names as text for people."""

from __future__ import annotations

from collections.abc import Sequence


def size(count: float) -> str:
    """Format bytes as `3 kB` or `1.2 GB` (powers of ten)."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= 0.9995 * scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count:.0f} bytes"


UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def bytes_of(text: str) -> int:
    """Parse a size such as `12GB` or `800 MB` (powers of ten), or `12GiB` (powers of two).

    Raises:
        ValueError: it is none, or not above 0.
    """
    number = text.strip().rstrip("BbGgIiKkMm").strip()
    count = float(number) * UNITS[unit] if (unit := text.strip()[len(number) :].strip().upper()) in UNITS else 0.0
    if not 1 <= count < float("inf"):
        raise ValueError(f"{text!r} is no size")
    return int(count)


def duration(seconds: float) -> str:
    """Format seconds as `8.4 s`, `2 min 5 s` or `3 h 12 min`."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def counted(count: int, what: str) -> str:
    """A number and what is counted: `no layers`, `1 layer`, `3 layers`."""
    return f"{count or 'no'} {what}{'' if count == 1 else 's'}"


def listed(names: Sequence[str], most: int = 2) -> str:
    """The first names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
