"""The families of bases: one record and one file per family. This package needs no torch.

A file `NAME.py` in this folder defines `FAMILY`. `NAME.toml` has the defaults of its bases. If checkpoints of the
family come in one file, the folder `NAME/` has the configuration of each component.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from ..errors import TriptychError, did_you_mean

FOLDER = Path(__file__).parent
VAE = "vae"  # the autoencoder's component name in every family


@dataclass(frozen=True)
class TextSide:
    """A text encoder of a family.

    Attributes:
        component: its name in a base and in a diffusers folder.
        width: of its token vectors and hidden states.
        embedding: the name of its vectors in embedding files.
        kohya: the prefix of its layers in kohya's LoRA files.
        prefix: of its names in a checkpoint of the original layout.
        openclip: checkpoints use OpenCLIP's names for its parameters; its tokenizer pads with "!".
        penultimate: the denoiser reads the states before its last layer.
        projected: the denoiser also reads its projected end state.
        projection: width of the CLIP features that it shares with pictures; 0 if it is not of a CLIP.
    """

    component: str
    width: int
    embedding: str
    kohya: str
    prefix: str = ""
    openclip: bool = False
    penultimate: bool = False
    projected: bool = False
    projection: int = 0

    @property
    def tokenizer(self) -> str:
        """The name of its tokenizer in a diffusers folder."""
        return self.component.replace("text_encoder", "tokenizer")


@dataclass(frozen=True)
class Family:
    """A family of bases. A file made for one base of a family fits its other bases.

    Attributes:
        name: in descriptions and headers.
        title: in sentences and tables.
        denoiser: the component that predicts.
        texts: the text encoders, in the order in which the denoiser reads them.
        context_width: of the hidden states that cross-attention reads; 0 if text and picture share one attention.
        process: the noise process.
        prediction: the prediction type, as diffusers calls it; empty if bases of the family differ.
        resolution: side of the square pictures that it was trained on, in pixels.
        pooled: the denoiser also reads one pooled state per prompt.
        linear: the denoiser's transformers have linear input projections, not 1 x 1 convolutions.
        prefix: of the denoiser's names in a checkpoint of the original layout; empty if there is no such layout.
        original_lora: kohya's LoRA files use the original layout's names for the denoiser's layers.
        architecture: ModelSpec's name.
        by_velocity: ModelSpec's name of its bases that predict velocity.
        architectures: the prefix of all its ModelSpec names.
        version: kohya's name, `ss_base_model_version`.
        implementation: ModelSpec's name of the code that its checkpoints are for.
        pipeline: the diffusers pipeline class.
        pipeline_entries: entries of `model_index.json` that only its pipelines have.
        left_out: what an exported checkpoint lacks, as a clause.
    """

    name: str
    title: str
    denoiser: str
    texts: tuple[TextSide, ...]
    context_width: int
    process: Literal["ddpm", "flow"]
    prediction: str
    pooled: bool = False
    linear: bool = False
    prefix: str = ""
    original_lora: bool = False
    architecture: str = ""
    by_velocity: str = ""
    architectures: str = ""
    version: str = ""
    implementation: str = "diffusers"
    pipeline: str = ""
    pipeline_entries: tuple[tuple[str, object], ...] = ()
    left_out: str = ""

    @property
    def components(self) -> tuple[str, ...]:
        """The component names of a base's networks."""
        return (*(text.component for text in self.texts), VAE, self.denoiser)

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders that a diffusers folder of this family must have."""
        tokenizers = (text.tokenizer for text in self.texts)
        return (*tokenizers, *self.components, "scheduler")

    @property
    def configurations(self) -> Path:
        """The folder with the configuration of each component."""
        return FOLDER / self.name

    @property
    def kohya_prefixes(self) -> dict[str, str]:
        """Component -> prefix of its layers in kohya's LoRA files."""
        return {self.denoiser: KOHYA_DENOISER, **{text.component: text.kohya for text in self.texts}}

    def text(self, component: str) -> TextSide:
        return next(text for text in self.texts if text.component == component)


KOHYA_DENOISER = "lora_unet_"  # kohya's prefix, also for transformer denoisers
KOHYA_OFT = "oft_unet_"  # the same in the files of kohya's OFT


@cache
def families() -> Mapping[str, Family]:
    """All families by name."""
    modules = (importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__))
    return {module.FAMILY.name: module.FAMILY for module in modules}


def family_named(name: str) -> Family:
    """The family called `name`.

    Raises:
        TriptychError: there is no such family.
    """
    if name not in families():
        raise TriptychError(f"there is no family of bases {name!r}{did_you_mean(name, families())}")
    return families()[name]


def by_structure(*, pooled: bool, linear: bool) -> Family:
    """The family whose layout a denoiser with cross-attention has, whatever its sizes.

    Args:
        pooled: the denoiser also reads one pooled state per prompt.
        linear: its transformers have linear input projections.
    """
    known = (family for family in families().values() if family.context_width)
    return next(family for family in known if family.pooled == pooled and (pooled or family.linear == linear))


def by_context_width(width: int) -> Family | None:
    """The family whose cross-attention reads hidden states of this width."""
    return next((family for family in families().values() if family.context_width == width != 0), None)


def by_text_widths(widths: Iterable[int]) -> Family | None:
    """The family whose text encoders have vectors of these widths, in any order."""
    wanted = sorted(widths)
    return next((f for f in families().values() if sorted(text.width for text in f.texts) == wanted), None)


def by_projection(width: int) -> Family | None:
    """The family with one text encoder whose CLIP features have this width."""
    found = (f for f in families().values() if [text.projection for text in f.texts] == [width])
    return next(found, None)


def by_metadata(metadata: Mapping[str, str]) -> Family | None:
    """The family that a file's metadata name, by kohya's entry or ModelSpec's."""
    version, named = metadata.get("ss_base_model_version", ""), metadata.get("modelspec.architecture", "")
    for family in families().values():
        if family.version and version in (family.version, f"{family.version}_v"):
            return family
    for family in families().values():
        if family.architectures and named.startswith(family.architectures):
            return family
    return None
