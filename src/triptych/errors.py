"""What can go wrong for a user: one sentence that says what, where and what to do, and exit code 2."""

from collections.abc import Iterable
from difflib import get_close_matches


class TriptychError(Exception):
    """Bad input or a place that cannot be used; the text is one sentence, which the command line prints, exiting 2."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The near miss, as a clause to end an error with: `; did you mean 'lora'?`, or all there is if none is near."""
    names = sorted(known)
    near = get_close_matches(word, names, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; there are: {', '.join(names)}"
