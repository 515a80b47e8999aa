"""Parts of tables that several pages of figures have."""

from __future__ import annotations

from collections.abc import Iterator


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def curve(bins: list[dict[str, float]]) -> Iterator[str]:
    """What was stated and how often it came true, by bins."""
    yield "| stated | came true | of how many |"
    yield "|---|---|---|"
    for row in bins:
        yield f"| {percent(row['predicted'])} | {percent(row['true'])} | {row['count']:.0f} |"
