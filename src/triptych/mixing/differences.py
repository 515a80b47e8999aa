"""Mixes differences of a base's weights (DreamBooth): each formula acts on them, tensor by tensor."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ..base import generator
from ..errors import TriptychError
from ..exchange.artifact import Artifact
from .adapters import block_numbers, check_one_family
from .formulas import FORMULAS, Given
from .request import Mix
from .weights import blocks_of, by_block, weights_of


def mix_differences(mix: Mix, artifacts: Sequence[Artifact]) -> tuple[Artifact, list[str]]:
    """The mix of differences as one, and notes.

    Raises:
        TriptychError: the files do not match, or the way to mix has no meaning for differences.
    """
    check_one_family(mix.names, [artifact.provenance.get("family", "") for artifact in artifacts])
    formula, settings, first = FORMULAS[mix.method], mix.parsed, artifacts[0]
    if not formula.changes:
        raise TriptychError(f"{mix.method} mixes whole weights: it has no meaning for differences")
    for artifact, name in zip(artifacts[1:], mix.names[1:], strict=True):
        shapes = [{key: tensor.shape for key, tensor in difference.tensors.items()} for difference in (first, artifact)]
        wrong = [key for key in shapes[0] | shapes[1] if shapes[0].get(key) != shapes[1].get(key)]
        if wrong:
            raise TriptychError(f"{name} does not match {mix.names[0]}: they differ in the shape of {wrong[0]}")
    weights, notes = weights_of(mix, whole=False)
    place = block_numbers(blocks_of(mix), artifacts)
    tensors = {}
    for key, tensor in first.tensors.items():
        here = by_block(weights, *place(key.rpartition(".")[0]), mix.method)
        changes = [artifact.tensors[key] for artifact in artifacts]
        given = Given(changes, here, None, settings, partial(generator, "mix", settings.seed, key))
        tensors[key] = formula.apply(given).to(tensor.dtype)
    return Artifact(first.method, first.kind.configure(), tensors), [*notes, *mix.unread(formula.reads)]
