"""The recipe in a picture: triptych's own JSON, and the text that A1111 and Civitai read.

Files are identified by name and hash. A picture contains no path of the user's machine.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__
from ..base import Base, Drawing
from ..files.atomic import write_bytes
from ..files.hashes import known_hashes
from ..shell import writable
from .samplers import SAMPLERS, sampler_named

if TYPE_CHECKING:
    from PIL.Image import Image

TAGS = {"lora": "lora", "hypernetwork": "hypernet"}  # method -> tag in A1111's prompts
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
    """

    file: ModelFile
    method: str = ""
    text: float = 1.0
    denoiser: float = 1.0
    called: bool = True

    @classmethod
    def of(
        cls, path: Path, method: str, text: float | None = None, denoiser: float | None = None, called: bool = True
    ) -> Used:
        text = 1.0 if text is None else text
        return cls(ModelFile.of(path), method, text, text if denoiser is None else denoiser, called)

    @classmethod
    def named(cls, name: str, strength: float = 1.0) -> Used:
        """A file with a name only, as in studies."""
        return cls(ModelFile(name), text=strength, denoiser=strength)

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
    drawing: Drawing
    base: str
    base_fingerprint: str
    size: int
    precision: str
    uses: Sequence[Used] = field(default_factory=list)
    model: ModelFile = field(default_factory=ModelFile)  # of the base, if it is one file
    vae: ModelFile = field(default_factory=ModelFile)  # if it is not the base's own

    @classmethod
    def of(
        cls, base: Base, prompt: str, seed: int, uses: Iterable[Used] = (), drawing: Drawing | None = None,
        model: ModelFile | None = None, vae: ModelFile | None = None,
    ) -> Recipe:  # fmt: skip
        drawing, precision = drawing or base.description.drawing, str(base.dtype).removeprefix("torch.")
        name = Path(base.name).name if Path(base.name).exists() else base.name
        return cls(
            prompt, seed, drawing, name, base.identity, base.resolution, precision, list(uses),
            model or ModelFile(), vae or ModelFile(),
        )  # fmt: skip

    def infotext(self) -> str:
        """A1111's "parameters" text: the prompt, the negative prompt, and a line of settings."""
        drawing, sampler = self.drawing, SAMPLERS[sampler_named(self.drawing.sampler)]
        prompt = " ".join([self.prompt, *(use.tag for use in self.uses if use.tag)])
        settings = {
            "Steps": drawing.steps, "Sampler": sampler.a1111, "Schedule type": sampler.schedule,
            "CFG scale": drawing.guidance, "Seed": self.seed, "Size": f"{self.size}x{self.size}",
            "Model hash": self.model.sha256[:10], "Model": self.model.stem or Path(self.base).name,
            "VAE hash": self.vae.sha256[:10], "VAE": self.vae.name,
            "Lora hashes": _pairs((use.file.stem, use.file.autov3 or use.file.sha256[:12]) for use in self._of("lora")),
            "TI hashes": _pairs((use.file.stem, use.file.sha256[:12]) for use in self._of("textual-inversion")),
            "Version": f"triptych {__version__}",
        }  # fmt: skip
        line = [f"{name}: {_quoted(value)}" for name, value in settings.items() if value != ""]
        hashes = self._hashes()
        line += [f"Hashes: {json.dumps(hashes)}"] if hashes else []
        negative = [f"Negative prompt: {drawing.negative}"] if drawing.negative else []
        return writable("\n".join([prompt, *negative, ", ".join(line)]))

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


def save_png(path: Path, picture: Image, recipe: Recipe) -> None:
    """Write a picture with its recipe, atomically.

    Raises:
        TriptychError: the file cannot be written.
    """
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("parameters", recipe.infotext())
    info.add_text("triptych", json.dumps(asdict(recipe)))
    buffer = io.BytesIO()
    picture.save(buffer, "png", pnginfo=info)
    write_bytes(path, buffer.getvalue())
