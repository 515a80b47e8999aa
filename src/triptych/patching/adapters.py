"""LoRA and related adapters. Each is a function of a layer's adapter tensors and its weight W.

All functions return the change dW = W' - W in the shape of W. Strength multiplies dW, also if W' is not a sum (DoRA,
IA3, OFT), as in A1111, ComfyUI and LyCORIS. Tensor names are LyCORIS's; LoRA's own are peft's. Functions that need only
names and shapes do not need torch, so that headers can be read without it.

`leaves` are the tensors of one layer by the end of their names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from math import prod
from typing import TYPE_CHECKING, Protocol, TypeVar

from ..errors import OtherBaseError, TriptychError

if TYPE_CHECKING:
    from torch import Tensor

Leaves = Mapping[str, "Tensor"]


class Shaped(Protocol):
    """A tensor, or a header's entry for one."""

    @property
    def shape(self) -> tuple[int, ...]: ...


T = TypeVar("T")
FIRST = ("lora_A.first", "lora_B.first")  # the A0 and B0 that a LoRA in training started from, if B0 is not zero


def lora(leaves: Leaves, weight: Tensor) -> Tensor:
    """dW = B A (arXiv:2106.09685, equation 3); for convolutions also with a core between them (LoCon with Tucker
    decomposition)."""
    import torch

    a, b = pair_of(leaves)
    if "lora_mid.weight" in leaves:
        return torch.einsum("pi,ij...,jq->pq...", b.flatten(1), leaves["lora_mid.weight"], a.flatten(1))
    return (b.flatten(1) @ a.flatten(1)).reshape(weight.shape)


def pair_of(leaves: Leaves) -> tuple[Tensor, Tensor]:
    """A and B of a layer. If it started from B0 A0 (`FIRST`), those of B A - B0 A0, of twice the rank."""
    a, b, *first = (leaves[leaf] for leaf in ("lora_A.weight", "lora_B.weight", *FIRST) if leaf in leaves)
    return since(a, b, *first) if first else (a, b)


def since(a: Tensor, b: Tensor, first_a: Tensor, first_b: Tensor) -> tuple[Tensor, Tensor]:
    """A and B of the change B A - B0 A0 = [B - B0, B0] [A; A - A0]: no two large products cancel in it.

    Args:
        a: [rank, in, ...]; for several owners [owners, rank, in]. So is `first_a`.
        b: [out, rank, ...]; for several owners [owners, out, rank]. So is `first_b`.
    """
    import torch

    axis = int(a.dim() == 3)
    return torch.cat([a, a - first_a], dim=axis), torch.cat([b - first_b, first_b], dim=axis + 1)


def plain(tensors: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """The tensors as files have them: LoRA that started from B0 A0 as one of twice the rank, to the same effect.

    `alpha` is for layers without their own, and stays: B is twice as large, since alpha / rank is half.
    """
    found = dict(tensors)
    for path, leaves in by_layer(tensors).items():
        if FIRST[0] in leaves:
            a, b = pair_of(leaves)
            own = float(leaves.get("alpha", alpha))
            found |= {f"{path}.lora_A.weight": a, f"{path}.lora_B.weight": 2 * b if own else b}
    return {name: tensor for name, tensor in found.items() if not name.endswith(FIRST)}


def loha(leaves: Leaves, weight: Tensor) -> Tensor:
    """dW = (A1 B1) * (A2 B2), elementwise (FedPara, arXiv:2108.06098)."""
    import torch

    halves = []
    for half in "12":
        a, b, core = leaves[f"hada_w{half}_a"], leaves[f"hada_w{half}_b"], leaves.get(f"hada_t{half}")
        halves.append(a @ b if core is None else torch.einsum("ip,ij...,jq->pq...", a, core, b))
    return (halves[0] * halves[1]).reshape(weight.shape)


def lokr(leaves: Leaves, weight: Tensor) -> Tensor:
    """dW is the Kronecker product of two matrices, each whole or of low rank (KronA, arXiv:2212.10650)."""
    import torch

    first, second = _factor(leaves, "1"), _factor(leaves, "2")
    while first.dim() < second.dim():
        first = first.unsqueeze(-1)
    return torch.kron(first, second.contiguous()).reshape(weight.shape)


def _factor(leaves: Leaves, half: str) -> Tensor:
    import torch

    whole = leaves.get(f"lokr_w{half}")
    if whole is not None:
        return whole
    a, b, core = leaves[f"lokr_w{half}_a"], leaves[f"lokr_w{half}_b"], leaves.get(f"lokr_t{half}")
    if core is not None:
        return torch.einsum("ip,ij...,jq->pq...", a, core, b)
    return (a @ b.flatten(1)).reshape(-1, *b.shape[1:])


def ia3(leaves: Leaves, weight: Tensor) -> Tensor:
    """IA3: W' rescales the inputs or outputs of the layer (arXiv:2205.05638)."""
    axis = 1 if bool(leaves["on_input"]) else 0
    scale = leaves["weight"].flatten()
    return weight * scale.reshape([-1 if i == axis else 1 for i in range(weight.dim())])


def oft(leaves: Leaves, weight: Tensor) -> Tensor:
    """W' rotates blocks of outputs (OFT, arXiv:2306.07280), or butterflies of blocks (BOFT, arXiv:2311.06243)."""
    import torch

    blocks = leaves["oft_blocks"]
    rotations = _cayley(blocks, float(leaves["alpha"]) * len(weight) if "alpha" in leaves else 0.0)
    if blocks.dim() == 3:
        turned = torch.einsum("knm,kn...->km...", rotations, weight.unflatten(0, (len(blocks), -1)))
        turned = turned.flatten(0, 1)
    else:
        turned = weight
        for stage, rotation in enumerate(rotations):
            turned = _butterfly(turned, rotation, 2**stage * blocks.shape[-1] // 2)
    return turned * leaves.get("rescale", torch.ones((), device=weight.device)) - weight


def _cayley(blocks: Tensor, most: float) -> Tensor:
    """The Cayley transform (I + Q)(I - Q)^-1 of skew-symmetric Q. If `most` is positive, it bounds the norm of Q."""
    import torch

    q = blocks - blocks.mT
    norm = q.norm()
    if 0 < most < norm:
        q = q * (most / norm)
    eye = torch.eye(q.shape[-1], device=q.device, dtype=q.dtype)
    rotation: Tensor = torch.linalg.solve(eye - q, eye + q, left=False)
    return rotation


def _butterfly(weight: Tensor, rotation: Tensor, apart: int) -> Tensor:
    """One butterfly stage: gather rows with distance `apart`, rotate them in blocks, and scatter them back."""
    import torch

    gathered = weight.unflatten(0, (-1, 2, apart)).transpose(1, 2).flatten(0, 2)
    turned = torch.einsum("bij,bj...->bi...", rotation, gathered.unflatten(0, (len(rotation), -1))).flatten(0, 1)
    back: Tensor = turned.unflatten(0, (-1, apart, 2)).transpose(1, 2).flatten(0, 2)
    return back


def glora(leaves: Leaves, weight: Tensor) -> Tensor:
    """dW = B1 B2 + W A1 A2 (GLoRA, arXiv:2306.07967), in LyCORIS's order: A2 and B2 read the layer's input."""
    import torch

    a, b = (leaves[f"{half}1.weight"].flatten(1) @ leaves[f"{half}2.weight"].flatten(1) for half in "ab")
    return b.reshape(weight.shape) + torch.einsum("oi...,ij->oj...", weight, a)


def full(leaves: Leaves, weight: Tensor) -> Tensor:
    """dW is stored itself, and is zero where only the bias changes."""
    import torch

    return leaves["diff"].reshape(weight.shape) if "diff" in leaves else torch.zeros_like(weight)


def norm(leaves: Leaves, weight: Tensor) -> Tensor:
    """dW of a norm's weight."""
    return leaves["w_norm"]


def svdiff(leaves: Leaves, weight: Tensor) -> Tensor:
    """W' shifts the singular values of W (SVDiff, arXiv:2303.11305, equations 2 and 3): W' = U max(S + delta, 0) V."""
    import torch

    u, s, v = (leaves[name] for name in FACTORS)
    shifts = torch.relu(s + leaves["delta"]) - s
    return ((u * shifts) @ v).reshape(weight.shape)


def singular(weight: Tensor) -> Leaves:
    """The singular value decomposition of a weight, as the factors that `svdiff` needs. A vector counts as one row."""
    import torch

    u, s, v = torch.linalg.svd(weight.flatten(1) if weight.dim() > 1 else weight.unsqueeze(0), full_matrices=False)
    return {"u": u, "s": s, "v": v}


@dataclass(frozen=True)
class Algorithm:
    """A kind of adapter.

    Attributes:
        change: the function that returns dW.
        needs: groups of leaves; a layer must have at least one leaf of each group.
        may: optional leaves.
        ranked: leaves with the axis whose size is the rank. Without a ranked leaf, alpha does not scale the change.
        factors: what `change` needs of the weight besides, if that is slow to compute. It depends on the weight alone.
    """

    name: str
    change: Callable[[Leaves, Tensor], Tensor]
    needs: tuple[tuple[str, ...], ...]
    may: tuple[str, ...] = ()
    ranked: tuple[tuple[str, int], ...] = ()
    factors: Callable[[Tensor], Leaves] | None = None


ALGORITHMS = (
    Algorithm(
        "LoRA", lora, (("lora_A.weight",), ("lora_B.weight",)), ("lora_mid.weight", "diff_b", *FIRST),
        (("lora_A.weight", 0),),
    ),
    Algorithm(
        "LoHa", loha, (("hada_w1_a",), ("hada_w1_b",), ("hada_w2_a",), ("hada_w2_b",)),
        ("hada_t1", "hada_t2", "diff_b"), (("hada_w1_b", 0),),
    ),
    Algorithm(
        "LoKr", lokr, (("lokr_w1", "lokr_w1_a"), ("lokr_w2", "lokr_w2_a")),
        ("lokr_w1_b", "lokr_w2_b", "lokr_t1", "lokr_t2", "diff_b"), (("lokr_w1_b", 0), ("lokr_w2_b", 0)),
    ),
    Algorithm(
        "GLoRA", glora, (("a1.weight",), ("a2.weight",), ("b1.weight",), ("b2.weight",)),
        ranked=(("a2.weight", 0),),
    ),
    Algorithm("IA3", ia3, (("weight",), ("on_input",))),
    Algorithm("OFT", oft, (("oft_blocks",),), ("rescale",)),
    Algorithm("full", full, (("diff", "diff_b"),)),
    Algorithm("norm", norm, (("w_norm",),), ("b_norm",)),
    Algorithm("SVDiff", svdiff, (("delta",),), factors=singular),
)  # fmt: skip
FACTORS = ("u", "s", "v")  # of the singular value decomposition of a weight
SHARED = ("alpha", "dora_scale")  # leaves that all kinds may have
BIASES = ("diff_b", "b_norm")
LEAVES = sorted(
    {*SHARED, *(leaf for kind in ALGORITHMS for leaf in (*kind.may, *chain(*kind.needs)))},
    key=lambda leaf: -len(leaf),
)


def by_layer(tensors: Mapping[str, T]) -> dict[str, dict[str, T]]:
    """Group tensors by the path of their layer, then by leaf.

    Raises:
        TriptychError: a name does not end with a known leaf.
    """
    found: dict[str, dict[str, T]] = {}
    for name, tensor in tensors.items():
        leaf = next((leaf for leaf in LEAVES if name.endswith(f".{leaf}")), None)
        if leaf is None:
            raise TriptychError(f"the tensor {name} is of no kind of LoRA that triptych knows")
        found.setdefault(name.removesuffix(f".{leaf}"), {})[leaf] = tensor
    return found


def algorithm_of(path: str, leaves: Mapping[str, object]) -> Algorithm:
    """The kind of adapter that a layer's tensors are of.

    Raises:
        TriptychError: a tensor is missing or does not belong to that kind, or alpha is not one number.
    """
    if prod(getattr(leaves.get("alpha"), "shape", ())) != 1:
        raise TriptychError(f"the layer {path} has an alpha that is not one number")
    for kind in ALGORITHMS:
        given = [group for group in kind.needs if any(leaf in leaves for leaf in group)]
        if not given:
            continue
        if len(given) < len(kind.needs):
            missing = next(group[0] for group in kind.needs if group not in given)
            raise TriptychError(f"the layer {path} has {given[0][0]} without {missing}")
        allowed = {*SHARED, *kind.may, *chain(*kind.needs)}
        extra = [leaf for leaf in leaves if leaf not in allowed]
        if extra:
            raise TriptychError(f"the layer {path} has {extra[0]}, which does not go with its {given[0][0]}")
        for leaf in leaves:
            partner = leaf[:-1] + {"a": "b", "b": "a"}.get(leaf[-1], leaf[-1])
            if leaf.startswith("lokr_w") and partner not in leaves:
                raise TriptychError(f"the layer {path} has {leaf} without {partner}")
        return kind
    raise TriptychError(f"the layer {path} has only {', '.join(leaves)}, which is no kind of LoRA")


def rank_of(algorithm: Algorithm, leaves: Mapping[str, Shaped]) -> int | None:
    """The rank of a layer's change; None if it has no rank."""
    shapes = ((leaves[leaf].shape, axis) for leaf, axis in algorithm.ranked if leaf in leaves)
    return next((shape[axis] or None for shape, axis in shapes if len(shape) > axis), None)


def scale_of(algorithm: Algorithm, leaves: Leaves, alpha: float | None) -> float:
    """alpha / rank, with the layer's own alpha, else `alpha`, else the rank. It is 1 for kinds without a rank."""
    rank = rank_of(algorithm, leaves)
    if rank is None:
        return 1.0
    own = float(leaves["alpha"]) if "alpha" in leaves else alpha
    return (own or rank) / rank  # alpha 0 means the rank


def factors_of(path: str, leaves: Leaves, weight: Tensor) -> Leaves:
    """What a layer's adapter needs of its weight besides, in the precision of its tensors; empty for most kinds."""
    factors = algorithm_of(path, leaves).factors
    return factors(weight.detach().to(next(iter(leaves.values())).dtype)) if factors else {}


def change_of(path: str, leaves: Leaves, weight: Tensor, alpha: float | None, factors: Leaves | None = None) -> Tensor:
    """The change dW of a layer's weight, in the precision of its tensors and with the weight's shape.

    Gradients reach those of the tensors that require them. `factors` are those of the weight, where they are known.

    Raises:
        TriptychError: the tensors do not fit the weight's shape.
    """
    algorithm = algorithm_of(path, leaves)
    weight = weight.detach().to(next(iter(leaves.values())).dtype)
    if algorithm.change is lora and "lora_mid.weight" not in leaves:
        check_low_rank(path, leaves, weight)
    magnitude = leaves.get("dora_scale")
    if magnitude is not None and magnitude.numel() not in weight.shape[:2]:
        raise misfit(path, "dora_scale", leaves, weight)
    try:
        known = factors_of(path, leaves, weight) if factors is None else factors
        change = algorithm.change({**leaves, **known}, weight) * scale_of(algorithm, leaves, alpha)
        if change.shape != weight.shape:
            raise ValueError
        return change if magnitude is None else _decomposed(weight, change, magnitude)
    except (RuntimeError, ValueError, IndexError) as error:
        leaf = next(leaf for leaf in algorithm.needs[0] if leaf in leaves)
        raise misfit(path, leaf, leaves, weight) from error


def check_low_rank(path: str, leaves: Leaves, weight: Tensor) -> None:
    """Check that A and B fit the weight. A 1 x 1 kernel may be left out of their shapes.

    Raises:
        TriptychError: one of them does not fit; the message names it.
    """
    a, b = leaves["lora_A.weight"], leaves["lora_B.weight"]
    if _bare(a)[1:] != _bare(weight)[1:]:
        raise misfit(path, "lora_A.weight", leaves, weight)
    if _bare(b) != (len(weight), len(a)):
        raise misfit(path, "lora_B.weight", leaves, weight)


def _bare(tensor: Tensor) -> tuple[int, ...]:
    """The shape, without the kernel if that is 1 x 1."""
    shape = tuple(tensor.shape)
    return shape[:2] if prod(shape[2:]) == 1 else shape


def misfit(path: str, leaf: str, leaves: Leaves, weight: Tensor) -> OtherBaseError:
    shape = tuple(leaves[leaf].shape)
    return OtherBaseError(f"{path}.{leaf} is {shape}, which does not fit that layer's weight of {tuple(weight.shape)}")


def _decomposed(weight: Tensor, change: Tensor, magnitude: Tensor) -> Tensor:
    """DoRA (arXiv:2402.09353, equation 5): W' is W + dW with the norm of each output (or input) set to `magnitude`."""
    import torch

    changed = weight + change
    axis = 0 if magnitude.shape[0] == len(weight) else 1
    others = [i for i in range(weight.dim()) if i != axis]
    size = torch.linalg.vector_norm(changed.detach(), dim=others, keepdim=True)  # a constant to gradients, section 4.3
    moved: Tensor = changed * (magnitude.reshape(size.shape) / size) - weight
    return moved
