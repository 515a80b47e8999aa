"""The recipe in a picture: triptych's own JSON, and the text that A1111 and Civitai read.

Files are identified by name and hash. A picture contains no path of the user's machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import __version__
from ..base import Base, Sampling
from ..errors import TriptychError
from ..files.hashes import known_hashes
from ..shell import writable
from .controls import Controls
from .samplers import SAMPLERS, sampler_named

TAGS = {"lora": "lora", "hypernetwork": "hypernet"}  # method -> tag in A1111's prompts
FILLED = {"original": "original", "blur": "fill", "noise": "latent noise", "nothing": "latent nothing"}  # A1111's names
CIVITAI = {"lora": "lora", "textual-inversion": "embed", "hypernetwork": "hypernet"}  # method -> prefix in "Hashes"


@dataclass(frozen=True)
class ModelFile:
    """A model file: its name, and its hashes in lower case. Both are "" if the model is not one file."""

    name: str = ""
    sha256: str = ""
    autov3: str = ""  # the first 12 digits of the hash over a safetensors file's tensors

    @classmethod
    def of(cls, path: Path) -> ModelFile:
        """The name and the hashes of a file.

        Raises:
            TriptychError: the file cannot be read.
        """
        hashes = known_hashes(path)
        return cls(path.name, hashes.sha256.lower(), hashes.autov3.lower())

    @property
    def stem(self) -> str:
        """The name that A1111 uses."""
        return Path(self.name).stem


@dataclass(frozen=True)
class Used:
    """A file that a picture uses: its method, and its strength on the text encoders and on the denoiser.

    `called`: whether the prompt calls it by a tag or by its word. Otherwise it was attached to all pictures.
    `blocks`: the weights of its blocks, and `course`: how its strength goes over the steps, as they were written.
    `attached`: it was given beside the prompt.
    """

    file: ModelFile
    method: str = ""
    text: float = 1.0
    denoiser: float = 1.0
    called: bool = True
    blocks: str = ""
    course: str = ""
    attached: bool = False

    @classmethod
    def of(
        cls, path: Path, method: str, text: float | None = None, denoiser: float | None = None, called: bool = True,
        blocks: str = "", course: str = "", attached: bool = False,
    ) -> Used:  # fmt: skip
        text = 1.0 if text is None else text
        denoiser = text if denoiser is None else denoiser
        return cls(ModelFile.of(path), method, text, denoiser, called, blocks, course, attached)

    @classmethod
    def named(cls, name: str, strength: float = 1.0, course: str = "") -> Used:
        """A file with a name only, as in studies."""
        return cls(ModelFile(name), text=strength, denoiser=strength, course=course)

    @property
    def tag(self) -> str:
        """The tag that attaches it in an A1111 prompt; "" if the prompt has it already or there is no such tag."""
        if self.called or self.method not in TAGS:
            return ""
        strengths = f"{self.text:g}" if self.text == self.denoiser else f"{self.text:g}:{self.denoiser:g}"
        return f"<{TAGS[self.method]}:{self.file.stem}:{strengths}>"


@dataclass(frozen=True)
class Recipe:
    """Everything that a picture depends on."""

    prompt: str
    seed: int
    sampling: Sampling
    base: str
    base_fingerprint: str
    size: tuple[int, int]  # width and height in pixels
    precision: str
    uses: Sequence[Used] = field(default_factory=list)
    model: ModelFile = field(default_factory=ModelFile)  # of the base, if it is one file
    vae: ModelFile = field(default_factory=ModelFile)  # if it is not the base's own
    controls: Controls = field(default_factory=Controls)
    variation: int | None = None  # the seed of the noise that is mixed in
    start: ModelFile = field(default_factory=ModelFile)  # the picture that it begins with
    mask: ModelFile = field(default_factory=ModelFile)
    shared: str = ""  # how it shares self-attention with the other pictures of its set

    @classmethod
    def of(
        cls, base: Base, prompt: str, seed: int, uses: Iterable[Used] = (), sampling: Sampling | None = None,
        model: ModelFile | None = None, vae: ModelFile | None = None, controls: Controls | None = None,
        variations: Sequence[int] = (), start: ModelFile | None = None, mask: ModelFile | None = None,
        shared: str = "",
    ) -> Recipe:  # fmt: skip
        sampling, precision = sampling or base.description.sampling, str(base.dtype).removeprefix("torch.")
        width, height = (controls or Controls()).size(base)
        controls = replace(controls or Controls(), width=width, height=height)
        name = Path(base.name).name if Path(base.name).exists() else base.name
        return cls(
            prompt, seed, sampling, name, base.identity, (width, height), precision, list(uses),
            model or ModelFile(), vae or ModelFile(), controls, next(iter(variations), None), start or ModelFile(),
            mask or ModelFile(), shared,
        )  # fmt: skip

    @classmethod
    def read(cls, text: str) -> Recipe:
        """The recipe from its JSON.

        Raises:
            TriptychError: it is none, or of another version of triptych.
        """
        try:
            told: dict[str, Any] = json.loads(text)
            uses = [Used(**{**use, "file": ModelFile(**use["file"])}) for use in told["uses"]]
            parts = {"model": ModelFile(**told["model"]), "vae": ModelFile(**told["vae"])}
            parts |= {"start": ModelFile(**told["start"]), "mask": ModelFile(**told["mask"])}
            known = {"sampling": Sampling(**told["sampling"]), "controls": Controls(**told["controls"])}
            width, height = told["size"]
            return cls(**{**told, **parts, **known, "uses": uses, "size": (width, height)})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise TriptychError(f"the recipe in the picture is of another version of triptych: {error!r}") from error

    def infotext(self) -> str:
        """A1111's "parameters" text: the prompt, the negative prompt, and a line of settings."""
        sampling, sampler = self.sampling, SAMPLERS[sampler_named(self.sampling.sampler)]
        prompt = " ".join([self.prompt, *(use.tag for use in self.uses if use.tag)])
        settings = {
            "Steps": sampling.steps, "Sampler": sampler.a1111, "Schedule type": sampler.schedule,
            "CFG scale": sampling.guidance, "Seed": self.seed, "Size": "x".join(map(str, self.size)),
            "Model hash": self.model.sha256[:10], "Model": self.model.stem or Path(self.base).name,
            "VAE hash": self.vae.sha256[:10], "VAE": self.vae.name, **self._controlled(),
            "Lora hashes": _pairs((use.file.stem, use.file.autov3 or use.file.sha256[:12]) for use in self._of("lora")),
            "TI hashes": _pairs((use.file.stem, use.file.sha256[:12]) for use in self._of("textual-inversion")),
            "Version": f"triptych {__version__}",
        }  # fmt: skip
        line = [f"{name}: {_quoted(value)}" for name, value in settings.items() if value != ""]
        hashes = self._hashes()
        line += [f"Hashes: {json.dumps(hashes)}"] if hashes else []
        negative = [f"Negative prompt: {sampling.negative}"] if sampling.negative else []
        return writable("\n".join([prompt, *negative, ", ".join(line)]))

    def _controlled(self) -> dict[str, object]:
        """The controls that were used, under A1111's names where it has them."""
        controls, width_height = self.controls, self.controls.seed_resize
        masked = bool(self.mask.name or controls.extend)
        varied = self.variation is not None and controls.variation_strength
        return {
            "Variation seed": self.variation if varied else "",
            "Variation seed strength": controls.variation_strength if varied else "",
            "Seed resize from": width_height.lower(),
            "Clip skip": controls.clip_skip if controls.clip_skip > 1 else "",
            "Emphasis": {"a1111": "", "no-norm": "No norm", "none": "None"}.get(controls.emphasis, controls.emphasis),
            "Denoising strength": self._denoise(),
            "Mask blur": controls.mask_blur if masked else "",
            "Inpaint area": "Only masked" if masked and controls.only_masked else "",
            "Masked area padding": controls.mask_padding if masked and controls.only_masked else "",
            "Masked content": FILLED[controls.fill] if masked else "", "Extended by": controls.extend,
            "Hires upscale": controls.hires or "", "Hires steps": self.sampling.steps if controls.hires else "",
            "Hires upscaler": {"latent": "Latent", "pixel": "Lanczos"}[controls.hires_by] if controls.hires else "",
            "Shrink": controls.shrink or "",
            "Hires shrink": controls.hires_shrink if controls.hires else "",
            "CFG rescale": controls.cfg_rescale or "", "FreeU": controls.freeu, "PAG scale": controls.pag or "",
            "Original size": controls.original_size, "Crop": controls.crop,
            "Regions": "; ".join(controls.regions),
            "Regions alone": controls.region_alone if controls.regions else "", "Edit": controls.edit,
            "Edit keep": controls.edit_keep if controls.edit else "",
            "Edit layout": controls.edit_layout if controls.edit else "",
            "Edit weights": controls.edit_weights, "Edit only": controls.edit_only,
            "VAE tiles": controls.vae_tiles if controls.tiled is not None else "",
            "Late steps": controls.late_steps or "", "Shared attention": self.shared,
            "Strength courses": ", ".join(f"{use.file.stem}: {use.course}" for use in self.uses if use.course),
        }  # fmt: skip

    def _denoise(self) -> float | str:
        """A1111's denoising strength: of the picture that this one begins with, else of the second pass."""
        if self.start.name:
            return self.controls.denoise
        return self.controls.hires_denoise if self.controls.hires else ""

    def _of(self, method: str) -> list[Used]:
        """The files of one method; embeddings only if a prompt contains their word."""
        kept = (use for use in self.uses if use.called or use.method != "textual-inversion")
        return [use for use in kept if use.method == method and use.file.sha256]

    def _hashes(self) -> Mapping[str, str]:
        """The hashes by which Civitai links a picture's resources: the first 10 digits of each file's SHA-256."""
        named = {"model": self.model, "vae": self.vae}
        for method, prefix in CIVITAI.items():
            named |= {f"{prefix}:{use.file.stem}": use.file for use in self._of(method)}
        return {name: file.sha256[:10] for name, file in named.items() if file.sha256}


def _pairs(hashes: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{name}: {digest}" for name, digest in dict(hashes).items())


def _quoted(value: object) -> str:
    """A value as A1111 writes it: in quotation marks if it contains a separator."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(sign in text for sign in ",:\n") else text
