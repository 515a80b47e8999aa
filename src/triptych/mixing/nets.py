"""Chains hypernetworks into one file: the second receives what the first gives, as when both are attached.

With n(x) = M x + c, attaching two gives x + n1(x) + n2(x + n1(x)), which is x + (M1 + M2 + M2 M1) x + c1 + c2 + M2 c1:
again one linear net. Nets with an activation or a LayerNorm have no such form; both files can still be attached.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from torch import Tensor

from ..errors import Remedy, TriptychError
from ..exchange.artifact import Artifact
from ..methods import method_named
from .request import Mix

CHAIN = "chain"
Net = tuple[Tensor, Tensor]  # M [W, W] and c [W]


def mix_nets(mix: Mix, artifacts: Sequence[Artifact]) -> tuple[Artifact, list[str]]:
    """The chain of hypernetworks as one of the structure 1,1, in the order given. Weights are strengths.

    Raises:
        TriptychError: a net is not linear, or the files have nets of different widths.
    """
    for artifact, name in zip(artifacts, mix.names, strict=True):
        settings = artifact.settings
        if settings.activation != "linear" or settings.layer_norm:
            what = "a LayerNorm" if settings.layer_norm else f"the activation {settings.activation}"
            raise TriptychError(
                f"{name} has {what}, and a chain with it is no single net that the format holds: attach both files"
                " instead, which chains them",
                Remedy.ATTACH,
            )
    nets = [_nets(artifact) for artifact in artifacts]
    for found, name in zip(nets[1:], mix.names[1:], strict=True):
        if found.keys() != nets[0].keys():
            raise TriptychError(
                f"{name} does not match {mix.names[0]}: it has nets of the widths {_widths(found)}, and the first of"
                f" {_widths(nets[0])}"
            )
    strengths = [1.0 if ingredient.weight is None else ingredient.weight for ingredient in mix.ingredients]
    tensors = dict[str, Tensor]()
    for net in nets[0]:
        parts = [(s * found[net][0], s * found[net][1]) for s, found in zip(strengths, nets, strict=True)]
        matrix, offset = reduce(_after, parts)
        tensors |= {f"{net}.linear.0.weight": matrix.float(), f"{net}.linear.0.bias": offset.float()}
    widths = ",".join(_widths(nets[0]))
    settings = method_named("hypernetwork").configure({"layers": "1,1", "widths": widths})
    return Artifact("hypernetwork", settings, tensors), mix.unread(())


def _after(first: Net, second: Net) -> Net:
    (m1, c1), (m2, c2) = first, second
    return m1 + m2 + m2 @ m1, c1 + c2 + m2 @ c1


def _nets(artifact: Artifact) -> dict[str, Net]:
    """ "WIDTH.k" or "WIDTH.v" -> the product of the Linears of that net."""
    found: dict[str, Net] = {}
    places: dict[str, list[int]] = {}
    for name in artifact.tensors:
        width, letter, _, place, leaf = name.split(".")
        if leaf == "weight":
            places.setdefault(f"{width}.{letter}", []).append(int(place))
    for net, members in places.items():
        layers = ((f"{net}.linear.{place}.weight", f"{net}.linear.{place}.bias") for place in sorted(members))
        pairs = [(artifact.tensors[weight].double(), artifact.tensors[bias].double()) for weight, bias in layers]
        found[net] = reduce(lambda first, second: (second[0] @ first[0], second[0] @ first[1] + second[1]), pairs)
    return found


def _widths(nets: dict[str, Net]) -> list[str]:
    return sorted({net.partition(".")[0] for net in nets}, key=int)
