"""Mixes LoRAs and their relatives: each formula acts on the changes of weights, never on their factors.

A sum of plain LoRAs is exact, with ranks added up. Everything else is computed on dW, layer by layer, and kept as the
nearest LoRA, or whole where no rank is asked for. A file without a layer changes nothing there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from ..base import generator
from ..errors import Remedy, TriptychError
from ..exchange.alphas import settled
from ..exchange.artifact import Artifact
from ..exchange.lora_files import original_names
from ..families import Family, families
from ..methods import method_named
from ..patching.adapters import BIASES, Leaves, algorithm_of, by_layer, change_of, rank_of, scale_of
from ..units import counted
from .blocks import block_of, block_weights
from .formulas import FORMULAS, Given
from .low_rank import Factors, Ranks, Retained, nearest, reduced, summed
from .request import Mix
from .weights import blocks_of, by_block, weights_of

Weights = Mapping[str, Tensor]  # of a base, by the path of their layer
BY_WEIGHT = ("IA3", "OFT", "GLoRA", "LoHa", "LoKr", "SVDiff")  # kinds whose dW needs the layer's weight, or its shape


@dataclass(frozen=True)
class Changes:
    """The layers of one artifact, and the alpha of those without an own."""

    name: str
    layers: Mapping[str, Leaves]
    alpha: float
    weights: Weights | None = None

    @classmethod
    def of(cls, artifact: Artifact, name: str, weights: Weights | None = None) -> Changes:
        return cls(name, by_layer(artifact.tensors), artifact.settings.alpha, weights)

    def plain(self, path: str) -> bool:
        """Whether the layer is B A alone, or nothing."""
        leaves = self.layers.get(path, {})
        return not leaves or {"lora_A.weight", "lora_B.weight", "alpha"} >= leaves.keys()

    def factors(self, path: str) -> tuple[Tensor, Tensor, float]:
        """A, B, and alpha / rank of a plain layer."""
        leaves = self.layers[path]
        scale = scale_of(algorithm_of(path, leaves), leaves, self.alpha)
        return leaves["lora_A.weight"], leaves["lora_B.weight"], scale

    def dense(self, path: str) -> Tensor | None:
        """dW of a layer in float32; None where the file has none.

        Raises:
            TriptychError: it depends on the weight of a base, and none is given or the base lacks it.
        """
        leaves = self.layers.get(path)
        if leaves is None or not leaves.keys() - {"alpha", *BIASES}:
            return None
        if self.weights is not None and path in self.weights:
            return change_of(path, leaves, self.weights[path], self.alpha).float()
        if what := _by_weight(path, leaves):
            if self.weights is not None:
                raise TriptychError(f"{self.name} changes {path}, which the base has not")
            raise TriptychError(f"{self.name} holds {what}, whose change needs the weights of a base", Remedy.NAME_BASE)
        return change_of(path, leaves, torch.zeros(_shape(leaves)), self.alpha).float()

    def bias(self, path: str) -> tuple[str, Tensor] | None:
        leaves = self.layers.get(path, {})
        return next(((leaf, leaves[leaf].float()) for leaf in BIASES if leaf in leaves), None)

    def rank(self, path: str) -> int:
        leaves = self.layers.get(path)
        return (rank_of(algorithm_of(path, leaves), leaves) or 0) if leaves else 0


def _by_weight(path: str, leaves: Leaves) -> str:
    """The kind of a layer whose dW depends on the weight of the base, or on its shape; else empty."""
    kind = algorithm_of(path, leaves).name
    return "DoRA" if "dora_scale" in leaves else kind if kind in BY_WEIGHT else ""


def needs_base(artifact: Artifact) -> bool:
    """Whether the changes of an artifact are known only with the weights of a base, as those of some LoRAs are."""
    if artifact.method != "lora":
        return False
    layers = by_layer(artifact.tensors).items()
    return any(_by_weight(path, leaves) for path, leaves in layers if leaves.keys() - {"alpha", *BIASES})


def _shape(leaves: Leaves) -> tuple[int, ...]:
    """The shape of dW by the tensors alone."""
    for leaf in ("diff", "w_norm"):
        if leaf in leaves:
            return tuple(leaves[leaf].shape)
    kernel = leaves.get("lora_mid.weight", leaves["lora_A.weight"]).shape[2:]
    return len(leaves["lora_B.weight"]), leaves["lora_A.weight"].shape[1], *kernel


def mix_adapters(mix: Mix, artifacts: Sequence[Artifact], weights: Weights | None) -> tuple[Artifact, list[str]]:
    """The mix of LoRAs as one LoRA, and one sentence for each thing that is lost or not used.

    A single file is resized.

    Args:
        weights: of the base, by layer; for kinds whose change depends on them.

    Raises:
        TriptychError: the files do not match, or the way to mix has no meaning for LoRAs.
    """
    check_one_family(mix.names, [artifact.provenance.get("family", "") for artifact in artifacts])
    formula, settings = FORMULAS[mix.method], mix.parsed
    if not formula.changes:
        raise TriptychError(f"{mix.method} mixes whole weights: it has no meaning for LoRAs, which are changes")
    shares, notes = weights_of(mix, whole=False)
    files = [Changes.of(a, name, weights) for a, name in zip(artifacts, mix.names, strict=True)]
    numbers = block_numbers(blocks_of(mix), artifacts)
    ranks = Ranks(mix.rank, settings.energy, settings.ratio)
    mixer = _Mixer(mix, files, shares, numbers, ranks)
    paths = dict.fromkeys(path for file in files for path in file.layers)
    layers = {path: mixer.layer(path) for path in paths}
    layers = {path: leaves for path, leaves in layers.items() if leaves}
    notes += [*mix.unread((*formula.reads, "energy", "ratio")), *_lonely(files)]
    if mixer.cut and mixer.ranks_used:
        notes.append(mixer.retained.sentence(mixer.ranks_used, "the mix"))
    if mixer.whole:
        notes.append(f"{counted(mixer.whole, 'layer')} of no low rank are kept whole: give a rank for a smaller file")
    alphas = {path: float(len(leaves["lora_A.weight"])) for path, leaves in layers.items() if "lora_A.weight" in leaves}
    tensors, rank, alpha = settled(layers, alphas)
    method = method_named("lora")
    return Artifact("lora", method.configure({"rank": rank, "alpha": alpha}), tensors), notes


def _lonely(files: Sequence[Changes]) -> list[str]:
    """Notes on layers that only some of the files change."""
    shared = set.intersection(*(set(file.layers) for file in files))
    return [
        f"{file.name} changes {counted(len(more), 'layer')} that not all the others change"
        for file in files
        if (more := file.layers.keys() - shared)
    ]


@dataclass
class _Mixer:
    """Mixes layer after layer, and counts what is kept."""

    mix: Mix
    files: Sequence[Changes]
    weights: Sequence[float]
    numbers: Callable[[str], tuple[str, Mapping[str, float]]]
    ranks: Ranks
    retained: Retained = field(default_factory=Retained)
    ranks_used: list[int] = field(default_factory=list)
    cut: bool = False
    whole: int = 0

    def layer(self, path: str) -> dict[str, Tensor]:
        weights = by_block(self.weights, *self.numbers(path), self.mix.method)
        exact = self.mix.method == "weighted-sum"
        if exact and all(file.plain(path) for file in self.files):
            parts = []
            for file, weight in zip(self.files, weights, strict=True):
                if path in file.layers:
                    a, b, scale = file.factors(path)
                    parts.append((a, b, scale * weight))
            return self._low_rank(summed(parts))
        return self._dense(path, weights) | self._bias(path, weights)

    def _low_rank(self, found: Factors) -> dict[str, Tensor]:
        if self.ranks.limits:
            found, self.cut = reduced(found, self.ranks), True
            self.retained.add(found.retained, found.whole)
        self.ranks_used.append(found.rank)
        return found.leaves()

    def _dense(self, path: str, weights: Sequence[float]) -> dict[str, Tensor]:
        changes = [file.dense(path) for file in self.files]
        shape = next((change.shape for change in changes if change is not None), None)
        if shape is None:
            return {}
        change = self._mixed(path, [_or_zero(change, shape) for change in changes], weights)
        if any("w_norm" in file.layers.get(path, {}) for file in self.files):
            return {"w_norm": change}
        ranks = self.ranks
        if not ranks.limits and self.mix.method != "weighted-sum":
            ranks = Ranks(sum(file.rank(path) for file in self.files))
        if change.dim() < 2 or not ranks.limits:
            self.whole += change.dim() > 1
            return {"diff": change}
        found, self.cut = nearest(change, ranks), True
        self.retained.add(found.retained, found.whole)
        self.ranks_used.append(found.rank)
        return found.leaves()

    def _bias(self, path: str, weights: Sequence[float]) -> dict[str, Tensor]:
        found = [file.bias(path) for file in self.files]
        first = next((bias for bias in found if bias), None)
        if first is None:
            return {}
        leaf, shape = first[0], first[1].shape
        return {leaf: self._mixed(f"{path}.{leaf}", [_or_zero(bias and bias[1], shape) for bias in found], weights)}

    def _mixed(self, name: str, changes: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
        settings = self.mix.parsed
        given = Given(changes, weights, None, settings, partial(generator, "mix", settings.seed, name))
        return FORMULAS[self.mix.method].apply(given)


def _or_zero(change: Tensor | None, shape: torch.Size) -> Tensor:
    if change is None:
        return torch.zeros(shape)
    if change.shape != shape and change.numel() != shape.numel():
        raise TriptychError(
            f"the files change a layer of {tuple(shape)} and of {tuple(change.shape)}: they do not match"
        )
    return change.reshape(shape)


def check_one_family(names: Sequence[str], found: Sequence[str]) -> None:
    """
    Raises:
        TriptychError: the files are for several families.
    """
    stated = [(name, family) for name, family in zip(names, found, strict=True) if family]
    for name, family in stated[1:]:
        if family != stated[0][1]:
            raise TriptychError(
                f"{name} does not match {stated[0][0]}: it is for {family}, and the first for {stated[0][1]}"
            )


def block_numbers(text: str, artifacts: Sequence[Artifact]) -> Callable[[str], tuple[str, Mapping[str, float]]]:
    """A function from the path of a layer to its block and the number of each block; without numbers, to nothing.

    Raises:
        TriptychError: the family is not known, or the numbers do not fit it.
    """
    if not text:
        return lambda path: ("", {})
    name = next((a.provenance["family"] for a in artifacts if a.provenance.get("family")), "")
    family = families().get(name)
    if family is None or not family.prefix:
        what = f"these files are for {family.title}" if family else "the family of these files is not known"
        raise TriptychError(f"weights by block are for Stable Diffusion, and {what}")
    numbers = block_weights(text, family)
    original = {ours: theirs for theirs, ours in original_names(name).items()}

    def place(path: str) -> tuple[str, Mapping[str, float]]:
        return _block(path, family, original), numbers

    return place


def _block(path: str, family: Family, original: Mapping[str, str]) -> str:
    part, _, module = path.partition(".")
    if part != family.denoiser:
        return "BASE"
    if module not in original:
        raise TriptychError(f"the layer {path} has no place among the blocks of {family.title}")
    return block_of(f"{family.prefix}{original[module]}.weight", family)
