"""Mixes embeddings: the weighted mean of their vectors, or all vectors after each other.

One word then stands for all. The mean needs as many vectors in each; after each other, a word takes the sum of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..errors import TriptychError
from ..exchange.artifact import Artifact
from ..methods import method_named
from ..units import listed
from .adapters import check_one_family
from .request import Mix
from .weights import weights_of

CONCATENATE = "concatenate"
AVERAGE = "weighted-sum"


def mix_words(mix: Mix, artifacts: Sequence[Artifact], token: str) -> tuple[Artifact, list[str]]:
    """The mix of embeddings as one, called `token`, and notes.

    Raises:
        TriptychError: they are for several families, or have different numbers of vectors and are to be averaged.
    """
    check_one_family(mix.names, [artifact.provenance.get("family", "") for artifact in artifacts])
    first = artifacts[0]
    for artifact, name in zip(artifacts, mix.names, strict=True):
        for side, rows in first.tensors.items():
            if side not in artifact.tensors or artifact.tensors[side].shape[1:] != rows.shape[1:]:
                raise TriptychError(f"{name} does not match {mix.names[0]}: it is for other text encoders")
    counts = [len(next(iter(artifact.tensors.values()))) for artifact in artifacts]
    notes: list[str] = []
    if mix.method == CONCATENATE:
        if any(ingredient.weight is not None for ingredient in mix.ingredients):
            notes.append("vectors after each other take no weights: those given are not used")
        tensors = {side: torch.cat([a.tensors[side].float() for a in artifacts]) for side in first.tensors}
    else:
        if len(set(counts)) > 1:
            said = ", ".join(f"{name} {count}" for name, count in zip(mix.names, counts, strict=True))
            raise TriptychError(
                f"a mean needs the same number of vectors in each ({said}): mix them with {CONCATENATE} instead"
            )
        weights, notes = weights_of(mix, whole=True)
        tensors = {
            side: torch.stack([w * a.tensors[side].float() for w, a in zip(weights, artifacts, strict=True)]).sum(0)
            for side in first.tensors
        }
    vectors = sum(counts) if mix.method == CONCATENATE else counts[0]
    settings = method_named("textual-inversion").configure({"token": token, "vectors": vectors})
    return Artifact("textual-inversion", settings, tensors), [*notes, *mix.unread(())]


def bundled(artifacts: Sequence[Artifact]) -> tuple[dict[str, Artifact], list[str]]:
    """The words that the files of mixed LoRAs bundle, and a sentence for each that several have."""
    words, notes, first = dict[str, Artifact](), list[str](), dict[str, str]()
    for artifact in artifacts:
        for token, word in artifact.beside.words.items():
            if token in words:
                notes.append(
                    f"{first[token]} and {artifact.beside.file} bundle the word {token!r}: that of the first is kept"
                )
                continue
            words[token], first[token] = word, artifact.beside.file
    return words, notes


def without_words(artifacts: Sequence[Artifact]) -> list[str]:
    """A sentence for each file whose words a checkpoint has no place for."""
    return [
        f"{artifact.beside.file}: left out the embeddings within ({listed(list(artifact.beside.words))}), for which a "
        "checkpoint has no place; convert the file to a layout of embeddings to have them beside it"
        for artifact in artifacts
        if artifact.beside.words
    ]
