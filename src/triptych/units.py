"""Sizes and times as a reader wants them."""

HARD = "\N{NO-BREAK SPACE}"


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
