"""Adds LoRAs and differences to a checkpoint, and takes a LoRA out of the difference of two checkpoints.

Each layer's change is computed when its weight is written, so that never more than one is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from ..base import Base
from ..errors import TriptychError
from ..exchange.alphas import settled
from ..exchange.artifact import Artifact
from ..exchange.export import Change, weights_of_base
from ..exchange.extract import can_hold, in_files
from ..methods import method_named, refuse
from ..patching.adapters import by_layer
from ..units import counted
from .adapters import Changes
from .low_rank import Ranks, Retained, nearest


def layer_name(base: Base, path: str) -> str:
    """The path of a layer in the base, for one as LoRA files have it: some text encoders have no `text_model`."""
    part, _, inner = path.partition(".")
    module: nn.Module | None = base.modules().get(part)
    if module is not None and part.startswith("text") and not hasattr(module, "text_model"):
        inner = inner.removeprefix("text_model.")
    return f"{part}.{inner}"


def layer_weights(base: Base, artifacts: Sequence[Artifact]) -> dict[str, Tensor]:
    """The base's weights of the layers that LoRAs change, by the paths of their files."""
    known = weights_of_base(base)
    paths = {path for artifact in artifacts for path in by_layer(artifact.tensors)}
    names = {path: f"{layer_name(base, path)}.weight" for path in paths}
    return {path: known[name] for path, name in names.items() if name in known}


@dataclass(frozen=True)
class _Part:
    """One change of one parameter: a whole difference, or a layer of a LoRA ("weight" or "bias")."""

    changes: Changes | Mapping[str, Tensor]
    name: str
    strength: float

    def value(self, leaf: str) -> Tensor:
        if isinstance(self.changes, Changes):
            found = self.changes.dense(self.name) if leaf == "weight" else None
            bias = self.changes.bias(self.name) if leaf == "bias" else None
            tensor = found if bias is None else bias[1]
            assert tensor is not None, self.name
            return tensor * self.strength
        return self.changes[self.name].float() * self.strength


class Lazy(Mapping[str, Tensor]):
    """Differences by "component.parameter", each computed when it is asked for."""

    def __init__(self, parts: Mapping[str, Sequence[_Part]], shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.parts, self.shapes = parts, shapes

    def __getitem__(self, name: str) -> Tensor:
        first, *others = (part.value(name.rpartition(".")[2]) for part in self.parts[name])
        return sum((other.reshape(self.shapes[name]) for other in others), first.reshape(self.shapes[name]))

    def __iter__(self) -> Iterator[str]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)


class LazyChange(Change):
    """A change whose differences were checked when it was made."""

    def check(self, weights: Mapping[str, Tensor]) -> None:
        """Nothing is left to check."""


def baked(base: Base, artifacts: Sequence[Artifact], strengths: Sequence[float]) -> tuple[Change, list[str]]:
    """The change of a base's weights by several LoRAs and differences, and notes on what the base has no place for.

    Raises:
        TriptychError: one of them is for another kind of base.
    """
    known, notes = weights_of_base(base), list[str]()
    parts: dict[str, list[_Part]] = {}
    for artifact, strength in zip(artifacts, strengths, strict=True):
        refuse(artifact.kind, base)
        notes += artifact.not_used(base)
        if artifact.kind.moves_weights:
            _check(base, artifact)
            for name in artifact.tensors:
                parts.setdefault(name, []).append(_Part(artifact.tensors, name, strength))
            continue
        changes = Changes.of(artifact, artifact.beside.file, layer_weights(base, [artifact]))
        for path, leaves in changes.layers.items():
            root = layer_name(base, path)
            if f"{root}.weight" not in known:
                continue  # `not_used` has told it
            if leaves.keys() - {"alpha", "diff_b", "b_norm"}:
                parts.setdefault(f"{root}.weight", []).append(_Part(changes, path, strength))
            if changes.bias(path):
                parts.setdefault(f"{root}.bias", []).append(_Part(changes, path, strength))
    return LazyChange(Lazy(parts, {name: tuple(known[name].shape) for name in parts})), notes


def _check(base: Base, artifact: Artifact) -> None:
    """Open and close it at strength 0: the method itself checks names and shapes."""
    with artifact.apply(base, 0.0):
        pass


def difference(base: Base, before: Base) -> Mapping[str, Tensor]:
    """The difference of two bases' weights, without their autoencoders, each computed when it is asked for.

    Raises:
        TriptychError: the bases have different weights.
    """
    after, old = weights_of_base(base), weights_of_base(before)
    for name in after.keys() | old.keys():
        if name not in after or name not in old or after[name].shape != old[name].shape:
            raise TriptychError(f"{base.name} and {before.name} do not match: they differ in the shape of {name}")
    return _Difference({name: w for name, w in after.items() if not name.startswith("vae.")}, old)


class _Difference(Mapping[str, Tensor]):
    def __init__(self, after: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> None:
        self.after, self.before = after, before

    def __getitem__(self, name: str) -> Tensor:
        after, before = self.after[name], self.before[name]
        if not after.is_floating_point():
            return (after != before).float()
        return after.float() - before.float()

    def __iter__(self) -> Iterator[str]:
        return iter(self.after)

    def __len__(self) -> int:
        return len(self.after)


def whole(changes: Mapping[str, Tensor], what: str) -> tuple[Artifact, list[str]]:
    """A difference as DreamBooth's artifact in half precision, without the tensors that do not change.

    Raises:
        TriptychError: nothing changes.
    """
    found = {name: change.half() for name, change in changes.items() if bool(change.any())}
    if not found:
        raise TriptychError(f"{what} is nothing: both have the same weights")
    size = sum(change.numel() for change in found.values())
    note = f"{counted(len(found), 'tensor')} with {size / 1e6:.1f} million values are {what}"
    return Artifact("dreambooth", method_named("dreambooth").configure(), found), [note]


def extracted(changes: Mapping[str, Tensor], ranks: Ranks, what: str) -> tuple[Artifact, list[str]]:
    """The LoRA nearest to a difference with names "component.parameter", one layer at a time, and what it keeps.

    Norms, biases and embeddings, which a LoRA cannot hold, count as lost.

    Raises:
        TriptychError: no linear or convolution layer changes.
    """
    retained, layers, lost = Retained(), dict[str, dict[str, Tensor]](), list[str]()
    for name in changes:
        change = changes[name]
        if not bool(change.any()):
            continue
        if not can_hold(name, change):
            retained.add(0.0, float(change.double().square().sum()))
            lost.append(name)
            continue
        found = nearest(change, ranks)
        retained.add(found.retained, found.whole)
        layers[in_files(name.removesuffix(".weight"))] = found.leaves()
    if not layers:
        raise TriptychError(f"{what} changes no linear or convolution layer, so there is no LoRA to take from it")
    used = [len(leaves["lora_A.weight"]) for leaves in layers.values()]
    notes = [retained.sentence(used, what)]
    if lost:
        notes.append(
            f"left out changes of {counted(len(lost), 'tensor')} (norms, biases, embeddings), for which a LoRA has no"
            " place"
        )
    tensors, rank, alpha = settled(layers, {path: float(r) for path, r in zip(layers, used, strict=True)})
    return Artifact("lora", method_named("lora").configure({"rank": rank, "alpha": alpha}), tensors), notes
