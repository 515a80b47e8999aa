"""What is known of each family of bases: one record, one file a family, and no torch.

A file `NAME.py` in this folder with a `FAMILY` is a family. Beside it lie `NAME.toml`, the defaults of its bases, and
where whole bases of it come in one file, `NAME/` with the configuration of each component.
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
VAE = "vae"  # the component that every family has under one name


@dataclass(frozen=True)
class TextSide:
    """A text encoder of a family.

    Attributes:
        component: its name in a base and in a diffusers folder.
        width: of its vectors and hidden states.
        embedding: what files of embeddings call the vectors that are for it.
        kohya: what the keys of its layers begin with in kohya's LoRA files.
        prefix: what its names begin with in a checkpoint of the original layout.
        openclip: a checkpoint has its parameters under OpenCLIP's names; such a tokenizer pads with "!".
        penultimate: the denoiser reads the states before its last layer.
        projected: the denoiser also reads its projected end of the prompt.
        projection: width of the CLIP features it shares with pictures; 0 where it is of no CLIP.
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
        """Its tokenizer's name in a diffusers folder."""
        return self.component.replace("text_encoder", "tokenizer")


@dataclass(frozen=True)
class Family:
    """A family of bases: what a file that is made for one of them can be attached to.

    Attributes:
        name: as descriptions and headers have it; title: for people.
        denoiser: the component that predicts.
        texts: its text encoders, in the order in which the denoiser reads them.
        context_width: of the text that cross-attention reads; 0 where text and picture share one attention.
        process: the kind of its noise process.
        prediction: what its denoiser predicts, as diffusers calls it; empty where bases of the family differ.
        pooled: the denoiser also reads one state a prompt.
        linear: the denoiser projects into its transformers by linear layers, not by 1 x 1 convolutions.
        prefix: what the denoiser's names begin with in a checkpoint of the original layout; empty: there is no such.
        original_lora: kohya's LoRA files name the denoiser's layers as the original layout does.
        architecture: ModelSpec's name of it; `by_velocity` that of its bases which predict velocity; `architectures`
            what all ModelSpec names of it begin with.
        version: kohya's name of it, `ss_base_model_version`.
        implementation: ModelSpec's, of the code its checkpoints are for.
        pipeline: the diffusers class, and the entries of `model_index.json` that only its pipelines have.
        left_out: what a checkpoint that is written lacks, as a clause.
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
        """The networks of a base, by name."""
        return (*(text.component for text in self.texts), VAE, self.denoiser)

    @property
    def folders(self) -> tuple[str, ...]:
        """What a diffusers folder of it must have."""
        tokenizers = (text.tokenizer for text in self.texts)
        return (*tokenizers, *self.components, "scheduler")

    @property
    def configurations(self) -> Path:
        """The folder with the configuration of each component."""
        return FOLDER / self.name

    @property
    def kohya_prefixes(self) -> dict[str, str]:
        """Component -> what the keys of its layers begin with in kohya's LoRA files."""
        return {self.denoiser: KOHYA_DENOISER, **{text.component: text.kohya for text in self.texts}}

    def text(self, component: str) -> TextSide:
        return next(text for text in self.texts if text.component == component)


KOHYA_DENOISER = "lora_unet_"  # also where the denoiser is a transformer


@cache
def families() -> Mapping[str, Family]:
    """All families by name."""
    modules = (importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__))
    return {module.FAMILY.name: module.FAMILY for module in modules}


def family_named(name: str) -> Family:
    """
    Raises:
        TriptychError: there is none of that name.
    """
    if name not in families():
        raise TriptychError(f"there is no family of bases {name!r}{did_you_mean(name, families())}")
    return families()[name]


def by_structure(*, pooled: bool, linear: bool) -> Family:
    """The family whose layout a denoiser with cross-attention has, whatever its sizes.

    Args:
        pooled: it also reads one state a prompt.
        linear: it projects into its transformers by linear layers.
    """
    known = (family for family in families().values() if family.context_width)
    return next(family for family in known if family.pooled == pooled and (pooled or family.linear == linear))


def by_context_width(width: int) -> Family | None:
    """The family whose cross-attention reads text of this width."""
    return next((family for family in families().values() if family.context_width == width != 0), None)


def by_text_widths(widths: Iterable[int]) -> Family | None:
    """The family whose text encoders have vectors of these widths, in any order."""
    wanted = sorted(widths)
    return next((f for f in families().values() if sorted(text.width for text in f.texts) == wanted), None)


def by_projection(width: int) -> Family | None:
    """The family with one text encoder, whose CLIP has features of this width."""
    found = (f for f in families().values() if [text.projection for text in f.texts] == [width])
    return next(found, None)


def by_metadata(metadata: Mapping[str, str]) -> Family | None:
    """The family that a header names, by kohya's entry or ModelSpec's."""
    version, named = metadata.get("ss_base_model_version", ""), metadata.get("modelspec.architecture", "")
    for family in families().values():
        if family.version and version in (family.version, f"{family.version}_v"):
            return family
    for family in families().values():
        if family.architectures and named.startswith(family.architectures):
            return family
    return None
