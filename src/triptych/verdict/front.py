"""The Pareto front: who is beaten by nobody in both of two things at once."""

from collections.abc import Mapping


def front(points: Mapping[str, tuple[float, float]]) -> tuple[str, ...]:
    """Of points whose two values are both better when larger, those that no other reaches in both; the first's order.

    Equal points do not beat each other.
    """
    best = [
        name
        for name, point in points.items()
        if not any(other != point and other[0] >= point[0] and other[1] >= point[1] for other in points.values())
    ]
    return tuple(sorted(best, key=lambda name: -points[name][0]))
