"""The colour and mark of a method, the same throughout the page."""

from ..scores import BASE
from ..verdict.words import TITLES

GREY = 9  # the slot of the bare base


def slot(method: str) -> int:
    """Its number in the page's CSS (`m0`, `m1`, ...). All strengths of a judged file have the same."""
    if method == BASE:
        return GREY
    return _known(method) if method in TITLES else 5 + sum(map(ord, method.partition("@")[0])) % 3


def order(method: str) -> tuple[int, str]:
    """The sort key of methods on the page: from the smallest change of a base to the largest, then by name."""
    return _known(method), method


def _known(method: str) -> int:
    names = list(TITLES)
    return names.index(method) if method in names else len(names)
