"""Mixes checkpoints tensor by tensor, from file to file. At no time is more in memory than one tensor of each.

Files are checked by their headers before anything is read: family, kind, prediction type, names and shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ..base import generator
from ..errors import TriptychError, shown
from ..exchange.export import TYPES
from ..exchange.metadata import architecture
from ..families import Family, families
from ..files.checkpoint import EMA, NESTED, Contents, contents_of
from ..files.layout import Layout
from ..files.streaming import Entry, write_entries
from ..files.tensorfile import TensorFile
from ..units import counted, listed
from .blocks import block_of, block_weights
from .formulas import FORMULAS, Formula, Given
from .request import Mix
from .settings import Settings
from .weights import blocks_of, by_block, weights_of


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint by its header. `names`: key in the original layout -> the name in the file."""

    file: TensorFile
    contents: Contents
    names: Mapping[str, str]

    @classmethod
    def of(cls, file: TensorFile, contents: Contents) -> Checkpoint:
        root = contents.root or (NESTED if any(name.startswith(NESTED) for name in file.layouts) else "")
        names = {name.removeprefix(root): name for name in file.layouts if name.startswith(root)}
        return cls(file, contents, names)

    @classmethod
    def open(cls, path: Path) -> Checkpoint:
        """
        Raises:
            TriptychError: the file is missing, damaged, or no checkpoint.
        """
        file = TensorFile.open(path)
        contents = contents_of(file)
        if contents is None or contents.kind == "vae":
            raise TriptychError(f"{path} is no checkpoint in the original layout")
        return cls.of(file, contents)

    @property
    def title(self) -> str:
        return self.file.path.name

    def layout(self, key: str) -> Layout:
        return self.file.layouts[self.names[key]]

    def read(self, key: str) -> Tensor:
        """The tensor, in a mapping of its own, so that its pages are given back when it is no longer used."""
        name = self.names[key]
        return replace(self.file).tensors([name])[name]


def mix_checkpoints(
    mix: Mix, files: Sequence[Checkpoint], base: Checkpoint | None, vae: Mapping[str, Entry], out: Path,
    dtype: torch.dtype | None, metadata: Mapping[str, str],
) -> list[str]:  # fmt: skip
    """Write the mix of checkpoints as one file.

    Args:
        base: what differences are taken from.
        vae: entries by key that replace those of the autoencoder.
        dtype: of all weights; by default that of each tensor in the first file.

    Returns:
        One sentence for each thing that is not used, and on rounding.

    Raises:
        TriptychError: the files do not match, or the mix cannot be written.
    """
    plan, notes = _planned(mix, files, base)
    for key in plan.keys:
        plan.check(key)
    entries = {key: plan.entry(key, dtype, notes) for key in plan.keys} | dict(vae)
    rounded = str(write_entries(out, entries, metadata))
    return [note for note in (*notes, rounded) if note]


@dataclass(frozen=True)
class _Plan:
    """What is mixed: the files, the base, the formula, and weights by block."""

    files: Sequence[Checkpoint]
    base: Checkpoint | None
    formula: Formula
    method: str
    settings: Settings
    weights: Sequence[float]
    numbers: Mapping[str, float]
    family: Family

    @property
    def all(self) -> list[Checkpoint]:
        return [*self.files, *([self.base] if self.base else [])]

    @property
    def keys(self) -> list[str]:
        return [key for key in self.files[0].names if not key.startswith(EMA)]

    def everywhere(self, key: str) -> bool:
        return all(key in file.names for file in self.all)

    def check(self, key: str) -> None:
        """
        Raises:
            TriptychError: the tensor has different shapes.
        """
        if not self.everywhere(key):
            return
        first = self.files[0]
        for other in self.all[1:]:
            if other.layout(key).shape != first.layout(key).shape:
                raise TriptychError(
                    f"{other.title} does not match {first.title}: {shown(key)} is {other.layout(key).shape} in it, and"
                    f" {first.layout(key).shape} in the first"
                )

    def entry(self, key: str, dtype: torch.dtype | None, notes: list[str]) -> Entry:
        first, layout = self.files[0], self.files[0].layout(key)
        own = TYPES[layout.dtype]
        if not own.is_floating_point:
            return Entry(own, layout.shape, self._kept(key, notes))
        make = self._mixed(key) if self.everywhere(key) else partial(first.read, key)
        return Entry(dtype or own, layout.shape, make)

    def _kept(self, key: str, notes: list[str]) -> Callable[[], Tensor]:
        """Whole numbers, such as the positions of tokens, are never interpolated: the first file's are kept."""

        def make() -> Tensor:
            kept = self.files[0].read(key)
            others = [file for file in self.files[1:] if key in file.names]
            different = [file.title for file in others if not torch.equal(file.read(key), kept)]
            if different:
                notes.append(f"{shown(key)} holds whole numbers, which differ in {listed(different)}: the first's stay")
            return kept

        return make

    def _mixed(self, key: str) -> Callable[[], Iterator[Tensor]]:
        weights = by_block(self.weights, block_of(key, self.family), self.numbers, self.method)

        def make() -> Iterator[Tensor]:
            base = self.base.read(key) if self.base else None
            tensors = [file.read(key) for file in self.files]
            return self.formula.parts(
                Given(tensors, weights, base, self.settings, partial(generator, "mix", self.settings.seed, key))
            )

        return make


def _planned(mix: Mix, files: Sequence[Checkpoint], base: Checkpoint | None) -> tuple[_Plan, list[str]]:
    formula = FORMULAS[mix.method]
    if formula.base and base is None:
        raise TriptychError(f"{mix.method} works on differences, so it needs the base they were made from")
    check_same_kind([*files, *([base] if base else [])])
    settings, family = mix.parsed, families()[str(files[0].contents.family)]
    weights, notes = weights_of(mix, whole=True)
    numbers = block_weights(blocks_of(mix), family)
    plan = _Plan(files, base, formula, mix.method, settings, weights, numbers, family)
    return plan, [*notes, *mix.unread(formula.reads), *_only_in_some(plan)]


def check_same_kind(files: Sequence[Checkpoint]) -> None:
    """
    Raises:
        TriptychError: the files are of several families, kinds, layouts, or prediction types.
    """
    first = files[0]
    for other in files[1:]:
        for what, ours, theirs in (
            ("family", first.contents.family, other.contents.family),
            ("kind", first.contents.variant or "plain", other.contents.variant or "plain"),
            ("layout", *("diffusers" if file.contents.diffusers else "original" for file in (first, other))),
        ):
            if ours != theirs:
                raise TriptychError(
                    f"{other.title} does not match {first.title}: its {what} is {theirs}, and the first's is {ours}"
                )
        said = {file.contents.prediction for file in (first, other)} - {None}
        if len(said) > 1:
            raise TriptychError(
                f"{other.title} does not match {first.title}: it predicts {other.contents.prediction}, and the first"
                f" {first.contents.prediction}"
            )


def _only_in_some(plan: _Plan) -> Iterator[str]:
    """Notes on tensors that only some of the files have."""
    first, keys = plan.files[0], plan.keys
    averaged = [key for key in first.names if key.startswith(EMA)]
    if averaged:
        yield f"{first.title}: left out its averaged copy of {counted(len(averaged), 'weight')}, which is not mixed"
    for other in plan.all[1:]:
        lacking = [key for key in keys if key not in other.names]
        if lacking:
            yield f"{other.title} lacks {counted(len(lacking), 'tensor')} ({listed(lacking)}): the first file's stay"
        more = [key for key in other.names if key not in first.names and not key.startswith(EMA)]
        if more and other is not plan.base:
            yield f"{other.title}: left out {counted(len(more), 'tensor')} that the first file lacks ({listed(more)})"


def described(first: Checkpoint, title: str) -> dict[str, str]:
    """ModelSpec's entries of a mix of checkpoints of the first one's family."""
    stated = first.file.metadata.get("modelspec.resolution", "")
    spec = architecture(str(first.contents.family), first.contents.prediction or "", original=True)
    return {**spec, "modelspec.title": title, **({"modelspec.resolution": stated} if stated else {})}
