"""LoRA adds a low-rank change to the attention layers of the denoiser (arXiv:2106.09685).

A hook adds strength (alpha / rank) B A x to the layer's output W x (equation 3). Each layer has two plain tensors.
peft's layers are not used: they would be modules to remove again, and their forward pass cannot train on some rows
only. The tensor names and the metadata are those of peft and diffusers, so diffusers loads the file.

A LoRA may start from factors of W (`initialisation`), and its file is then a plain LoRA of twice the rank
(`patching/adapter_starts.py`). B can learn faster than A (`lora_plus`, arXiv:2402.12354).

Its relatives (`algorithm`) are trained by the change dW of each weight. A file may have any of them on any layer of the
denoiser and the text encoders; the tensors determine which layers change, and how (`patching/adapters.py`). Text
encoders train at a rate of their own (`text_lr`), as in kohya's trainer.

Dimensions: [rank, in] for A, [out, rank] for B, [..., in] for the layer's input x; convolutions have kernel dimensions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from statistics import mode
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from ..base import Base, Owner, generator
from ..errors import OtherBaseError, TriptychError
from ..families import by_context_width
from ..patching.adapter_changes import CHANGEABLE, change_for
from ..patching.adapter_starts import FROZEN, STARTS, UNSCALED, WEIGHT_FACTORS, from_weight
from ..patching.adapters import Leaves, by_layer, plain
from ..patching.patch import ALL, Learned, Tensors
from ..settings import setting
from ..units import counted, listed
from . import Depth, Method, Training

TEXT = "text"  # the group of the parameters of text encoders
ZERO = "zero"  # the start of a LoRA at B = 0


@dataclass(frozen=True)
class Settings(Training):
    lr: float = setting(1e-4, "learning rate of the optimiser", least=0)
    algorithm: str = setting("lora", "the form of each layer's change", choices=tuple(STARTS))
    rank: int = setting(8, "rank of each layer's change", least=1)
    alpha: float = setting(8.0, "the change is scaled by alpha / rank", least=0)
    initialisation: str = setting(
        ZERO, "where B starts: at 0, or with A at the weight's principal components (arXiv:2404.02948) or QR"
        " factors (arXiv:2406.01775), which are taken off the weight; the file then has twice the rank",
        choices=(ZERO, *WEIGHT_FACTORS),
    )  # fmt: skip
    lora_plus: float = setting(1.0, "times the learning rate at which B learns, such as 16 (arXiv:2402.12354)", least=1)
    rslora: bool = setting(False, "scale by alpha / sqrt(rank) in its place (arXiv:2312.03732)")
    ranks: str = setting("", "other ranks by layer: PATTERN=RANK or PATTERN=RANK:ALPHA, ..., such as 'mid_block=16'")
    targets: str = setting("attention", "which layers change", choices=("attention", "attention+mlp"))
    conv_rank: int = setting(0, "rank of the change of convolutions, 0: they do not change", least=0)
    blocks: str = setting("", "a pattern that the path of a layer must contain, such as 'mid_block|up_blocks.1'")
    text_lr: float = setting(0.0, "learning rate of the text encoders, 0: they do not change", least=0)
    dropout: float = setting(
        0.0, "share of each layer's input that a training step hides from the change", least=0, most=0.99
    )
    identifier: str = setting("", "a rare word before the class word, such as 'sks'")


class Lora(Method[Settings]):
    name: ClassVar[str] = "lora"
    title = "LoRA"
    settings_class = Settings
    opens_at = Depth.LAYERS
    exports_as = ("kohya-lora",)

    def with_identifier(self, settings: Settings, word: str) -> Settings:
        return replace(settings, identifier=word)

    def phrase(self, settings: Settings, class_word: str) -> str:
        return f"{settings.identifier} {class_word}".strip()

    def changes_text(self, settings: Settings) -> bool:
        return settings.text_lr > 0

    def rates(self, settings: Settings) -> Mapping[str, float]:
        text = {TEXT: settings.text_lr} if settings.text_lr else {}
        if not _has_faster(settings):
            return text
        faster = {f"{group} B": rate * settings.lora_plus for group, rate in {ALL: settings.lr, **text}.items()}
        return {**text, **faster}

    def start(self, base: Base, settings: Settings, seed: int) -> Tensors:
        """Nothing changes yet. A layer whose scale is not alpha / rank has an alpha of its own."""
        random = generator("start", seed)
        found: Tensors = {}
        for path, layer in _chosen(base, settings).items():
            rank, alpha = _rank_of(path, layer, settings)
            weight = cast(Tensor, layer.weight)
            leaves = STARTS[settings.algorithm](weight, rank, random)
            if settings.algorithm == self.name and settings.initialisation != ZERO:
                leaves = from_weight(settings.initialisation, weight, leaves, (alpha or rank) / rank, random)
            if settings.algorithm not in UNSCALED and alpha / rank != settings.alpha / settings.rank:
                leaves["alpha"] = torch.tensor(alpha)
            found |= {f"{path}.{leaf}": tensor for leaf, tensor in leaves.items()}
        return found

    def metadata(self, settings: Settings, tensors: Tensors) -> dict[str, str]:
        """peft's configuration of each component, if all layers are LoRA. Path endings are enough for peft."""
        layers: dict[str, dict[str, Leaves]] = {}
        for path, leaves in by_layer(tensors).items():
            component, _, inner = path.partition(".")
            layers.setdefault(component, {})[inner.removeprefix("text_model.")] = leaves
        if not all("lora_A.weight" in leaves for inside in layers.values() for leaves in inside.values()):
            return {}
        adapter: dict[str, object] = {}
        for component, inside in layers.items():
            ranks = {path: len(leaves["lora_A.weight"]) for path, leaves in inside.items()}
            usual = mode(ranks.values())
            config: dict[str, object] = {"r": usual, "lora_alpha": settings.alpha}
            config["target_modules"] = sorted(inside)
            config["rank_pattern"] = {path: rank for path, rank in ranks.items() if rank != usual}
            config["alpha_pattern"] = {
                path: float(layer["alpha"]) for path, layer in inside.items() if "alpha" in layer
            }
            adapter |= {f"{component}.{name}": value for name, value in config.items() if value not in ({}, None)}
        return {"lora_adapter_metadata": json.dumps(adapter)}

    def not_used(self, base: Base, tensors: Tensors) -> list[str]:
        """Layers that the base lacks are skipped, as long as all layers of its denoiser's attention are there."""
        lacking = _lacking(base, tensors, _changeable(base))
        return [f"skipped {counted(len(lacking), 'layer')} that this base lacks ({listed(lacking)})"] if lacking else []

    @contextmanager
    def patch(
        self, base: Base, settings: Settings, tensors: Tensors, strength: float = 1.0, owner: Owner = None
    ) -> Iterator[Learned]:
        kept = partial(plain, alpha=settings.alpha)
        patch, layers = Learned(tensors, strength, base.device, _group_of(settings), kept), _changeable(base)
        with ExitStack() as undo:
            try:
                lacking = _lacking(base, tensors, layers)
                for path, leaves in by_layer(patch.learned).items():
                    if path in lacking:
                        continue
                    layer = layers[path]
                    change = change_for(patch, path, layer, leaves, settings.alpha, owner, settings.dropout)
                    undo.enter_context(base.changes.on(layer, "gives", change))
            except OtherBaseError as error:
                raise OtherBaseError(f"{error.detail}{_made_for(base, tensors)}") from error
            yield patch


def _changeable(base: Base) -> dict[str, nn.Module]:
    """The base's layers that adapters can change, by names such as `text_encoder.text_model...`.

    Text encoders have the names of files, with the `text_model` that transformers 5 removed from some.
    """
    found: dict[str, nn.Module] = {}
    for part, module in base.modules().items():
        root = f"{part}.text_model" if part.startswith("text") and not hasattr(module, "text_model") else part
        found |= {f"{root}.{path}": layer for path, layer in module.named_modules() if isinstance(layer, CHANGEABLE)}
    return found


def _lacking(base: Base, tensors: Tensors, layers: Mapping[str, nn.Module]) -> list[str]:
    """The layers of a file that a base has not.

    Raises:
        OtherBaseError: they are all of the file's layers, or one of the denoiser's attention.
    """
    paths = list(by_layer(tensors))
    lacking = [path for path in paths if path not in layers]
    needed = [path for path in lacking if path.startswith(f"{base.denoiser.name}.") and ".attn" in path]
    if len(lacking) == len(paths):
        needed += lacking
    if needed:
        raise OtherBaseError(f"this one has no layer {needed[0]} to change")
    return lacking


def _made_for(base: Base, tensors: Tensors) -> str:
    """The family that the file was made for, if the text width of its layers shows it, as a clause."""
    own = base.denoiser.context_width
    widths = {t.shape[1] for name, t in tensors.items() if name.endswith("attn2.to_k.lora_A.weight")} - {own}
    made, this = next(filter(None, map(by_context_width, widths)), None), by_context_width(own)
    named = this.title if this else f"one that reads text of width {own}"
    return f" (it is for {made.title}, and this base is {named})" if made else ""


def _group_of(settings: Settings) -> Callable[[str], str]:
    """The group of a tensor: the text encoders' have a rate of their own, and so has B in LoRA+."""

    def group_of(name: str) -> str:
        if name.endswith(tuple(f".{leaf}" for leaf in FROZEN)):
            return ""
        group = TEXT if settings.text_lr and name.startswith("text_encoder") else ALL
        return f"{group} B" if _has_faster(settings) and name.endswith("lora_B.weight") else group

    return group_of


def _has_faster(settings: Settings) -> bool:
    return settings.lora_plus != 1 and settings.algorithm in ("lora", "dora")


def _chosen(base: Base, settings: Settings) -> dict[str, nn.Module]:
    """The layers that the settings choose: of the denoiser, then of the text encoders if these are trained.

    Raises:
        TriptychError: there is no such layer, none has a path with a pattern of `ranks`, or a pattern is not a regular
            expression.
    """
    kinds = [*settings.targets.split("+"), *(["convolution"] if settings.conv_rank else [])]
    layers, denoiser = _changeable(base), base.denoiser.layers
    ends = {base.denoiser.name: tuple(end for kind in kinds for end in denoiser.get(kind, ()))}
    if settings.text_lr:
        ends |= {text.name: tuple(end for kind in kinds for end in text.layers.get(kind, ())) for text in base.texts}
    if settings.conv_rank and "convolution" not in denoiser:
        raise TriptychError(f"lora: the denoiser of {base.family.title} has no convolutions for conv_rank")
    pattern = _pattern(settings.blocks)
    found = {
        path: layer
        for part, own in ends.items()
        for path, layer in layers.items()
        if path.startswith(f"{part}.") and path.endswith(own) and pattern.search(path)
    }
    for part in ends:
        if not any(path.startswith(f"{part}.") for path in found):
            raise TriptychError(f"lora: no layer of the {part} has a path that contains {settings.blocks!r}")
    for ranked, *_ in _patterns(settings.ranks):
        if not any(map(ranked.search, found)):
            raise TriptychError(f"lora: ranks: no layer that is trained has a path that contains {ranked.pattern!r}")
    return found


def _rank_of(path: str, layer: nn.Module, settings: Settings) -> tuple[int, float]:
    """The rank and the alpha of a layer. The first pattern of `ranks` that its path contains decides."""
    rank, alpha = settings.rank, settings.alpha
    if isinstance(layer, nn.Conv2d):
        rank = settings.conv_rank or rank
    for pattern, own, scale in _patterns(settings.ranks):
        if pattern.search(path):
            rank, alpha = own, alpha if scale is None else scale
            break
    return rank, alpha * rank**0.5 if settings.rslora else alpha


def _patterns(text: str) -> list[tuple[re.Pattern[str], int, float | None]]:
    """
    Raises:
        TriptychError: the text is not of the form PATTERN=RANK:ALPHA, ...
    """
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        pattern, _, numbers = part.rpartition("=")
        rank, colon, alpha = numbers.partition(":")
        try:
            found.append((_pattern(pattern), int(rank), float(alpha) if colon else None))
        except ValueError:
            found.append((_pattern(""), 0, None))
        if not pattern or found[-1][1] < 1:
            raise TriptychError(f"lora: ranks are written as PATTERN=RANK or PATTERN=RANK:ALPHA, not {part!r}")
    return found


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise TriptychError(f"lora: {text!r} is not a regular expression: {error}") from error
