"""The alphas of a LoRA's layers. A change is scaled by alpha / rank; a layer without an own alpha has its file's."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import mode
from typing import TYPE_CHECKING

from ..patching.adapters import Shaped, algorithm_of, by_layer, rank_of

if TYPE_CHECKING:
    from torch import Tensor


def settled(
    layers: Mapping[str, Mapping[str, Tensor]], alphas: Mapping[str, float]
) -> tuple[dict[str, Tensor], int, float]:
    """Tensors by their canonical names, with the rank and alpha that all layers share, or an alpha for each layer.

    `alphas` are those that the file states apart from its tensors. A layer without any alpha has alpha = rank.
    """
    import torch

    known: dict[str, tuple[int, float]] = {}
    for path, leaves in layers.items():
        rank = rank_of(algorithm_of(path, leaves), leaves)
        if rank is not None:
            own = float(leaves["alpha"]) if "alpha" in leaves else alphas.get(path, 0.0)
            known[path] = rank, own or float(rank)
    common = set(known.values())
    tensors = {
        f"{path}.{leaf}": tensor
        for path, leaves in layers.items()
        for leaf, tensor in leaves.items()
        if leaf != "alpha" or path not in known
    }
    if len(common) != 1:
        tensors |= {f"{path}.alpha": torch.tensor(alpha) for path, (_, alpha) in known.items()}
    rank, alpha = max(known.values(), default=(1, 1.0))
    return tensors, rank, alpha


def usual_rank(layers: Mapping[str, Mapping[str, Shaped]]) -> int | None:
    """The most frequent rank of some layers; None if none of them has a rank."""
    ranks = [rank_of(algorithm_of(path, leaves), leaves) for path, leaves in layers.items()]
    known = [rank for rank in ranks if rank is not None]
    return mode(known) if known else None


def alphas_of(layers: Mapping[str, Mapping[str, Tensor]], alpha: float) -> dict[str, float]:
    """The alpha of each layer that has a rank. `alpha` is for layers without an own one; 0 stands for the rank."""
    found = {}
    for path, leaves in layers.items():
        rank = rank_of(algorithm_of(path, leaves), leaves)
        if rank is not None:
            found[path] = (float(leaves["alpha"]) if "alpha" in leaves else alpha) or float(rank)
    return found


def with_alphas(tensors: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """The tensors of a LoRA, by canonical names, with an alpha for each layer that has a rank; see `alphas_of`."""
    import torch

    alphas = alphas_of(by_layer(tensors), alpha)
    return {**tensors, **{f"{path}.alpha": torch.tensor(own) for path, own in alphas.items()}}
