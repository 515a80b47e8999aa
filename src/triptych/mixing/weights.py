"""The weight of each file, from what the user gives: shares of a whole, or strengths of changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import TriptychError
from .formulas import FORMULAS
from .request import Mix

SHARES = ("slerp", "cosine")  # read the two weights as shares, whatever their sum


def weights_of(mix: Mix, whole: bool) -> tuple[list[float], list[str]]:
    """The weight of each file, and notes on weights that are not used as given.

    Args:
        whole: the files are whole (weights, vectors), so that the weights of a sum must add up to 1; else they are
            changes, and each weight is a strength.

    Raises:
        TriptychError: too few or too many files, or weights with which nothing can be mixed.
    """
    given = [ingredient.weight for ingredient in mix.ingredients]
    formula = FORMULAS[mix.method]
    if formula.two and len(given) != 2:
        raise TriptychError(f"{mix.method} mixes two files, and {len(given)} are given")
    if len(given) < 2 and mix.method in ("add-difference", "model-stock"):
        raise TriptychError(f"{mix.method} mixes two or more files, and 1 is given")
    if mix.method in ("add-difference", "train-difference"):
        if given[0] not in (None, 1):
            raise TriptychError(
                f"{mix.method} takes all of the first file, {mix.names[0]}, so its weight is 1, not {given[0]:g}"
            )
        return [1.0, *(1.0 if weight is None else weight for weight in given[1:])], []
    if not formula.weighs:
        note = f"{mix.method} takes no weights: those given are not used"
        return [1.0] * len(given), [note] if any(weight is not None for weight in given) else []
    if mix.method in SHARES or (whole and mix.method == "weighted-sum"):
        return _shares(given, mix)
    weights = [1.0 if weight is None else weight for weight in given]
    if mix.method in ("ties", "della") and not any(weights):
        raise TriptychError(f"{mix.method} needs a weight that is not 0")
    return weights, []


def _shares(given: Sequence[float | None], mix: Mix) -> tuple[list[float], list[str]]:
    """Weights that add up to 1. Files without a weight share what the others leave."""
    free = given.count(None)
    left = (1 - sum(weight for weight in given if weight is not None)) / free if free else 0.0
    if free and left < 0:
        raise TriptychError("the weights add up to more than 1, so nothing is left for the files without one")
    weights = [left if weight is None else weight for weight in given]
    total = sum(weights)
    if abs(total) < 1e-9:
        raise TriptychError(f"the weights of {', '.join(mix.names)} add up to 0, so there is nothing to mix")
    shares = [weight / total for weight in weights]
    if abs(total - 1) < 1e-6:
        return weights, []
    said = " and ".join(f"{share:.3g}" for share in shares)
    return shares, [f"the weights add up to {total:.3g}: they are taken as {said}, so that a whole comes out"]


def by_block(weights: Sequence[float], block: str, numbers: Mapping[str, float], method: str) -> Sequence[float]:
    """The weights in a block: the second file's is the block's number."""
    if block not in numbers:
        return weights
    share = numbers[block]
    first = weights[0] if method in ("add-difference", "train-difference") else 1 - share
    return [first, share]


def blocks_of(mix: Mix) -> str:
    """The numbers for blocks as they are given; empty where the way to mix does not read them.

    Raises:
        TriptychError: numbers for blocks are given, and not two files, or a weight for the second besides.
    """
    blocks = mix.parsed.blocks
    if not blocks or "blocks" not in FORMULAS[mix.method].reads:
        return ""
    if len(mix.ingredients) != 2:
        raise TriptychError(f"weights by block are for two files, and {len(mix.ingredients)} are given")
    if any(ingredient.weight is not None for ingredient in mix.ingredients):
        raise TriptychError("give a weight for each file, or one for each block, and not both")
    return blocks
