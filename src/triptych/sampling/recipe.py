"""Pictures that carry their recipe: a JSON text of our own, and the text that A1111 and Civitai read.

Files are told by name and hash; no path of the user's machine is in a picture.
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

TAGS = {"lora": "lora", "hypernetwork": "hypernet"}  # method -> what A1111's prompts call it by
CIVITAI = {"lora": "lora", "textual-inversion": "embed", "hypernetwork": "hypernet"}  # method -> prefix in "Hashes"


@dataclass(frozen=True)
class ModelFile:
    """A file of a model: its name, and its hashes in lower case. Both are "" where it is not one file."""

    name: str = ""
    sha256: str = ""
    autov3: str = ""  # of a safetensors file: the first 12 digits over its tensors

    @classmethod
    def of(cls, path: Path) -> ModelFile:
        """
        Raises:
            TriptychError: it cannot be read.
        """
        hashes = known_hashes(path)
        return cls(path.name, hashes.sha256.lower(), hashes.autov3.lower())

    @property
    def stem(self) -> str:
        """What A1111 calls it by."""
        return Path(self.name).stem


@dataclass(frozen=True)
class Used:
    """A file that a picture uses: what it is, and its strength on the text encoders and on the denoiser.

    `called`: whether the prompt calls it, by a tag or by its word; else it was attached to all pictures.
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
    def named(cls, name: str) -> Used:
        """A file that has only its name, as those of a study."""
        return cls(ModelFile(name))

    @property
    def tag(self) -> str:
        """How A1111's prompt would attach it; "" where the prompt does so already, or no prompt can."""
        if self.called or self.method not in TAGS:
            return ""
        strengths = f"{self.text:g}" if self.text == self.denoiser else f"{self.text:g}:{self.denoiser:g}"
        return f"<{TAGS[self.method]}:{self.file.stem}:{strengths}>"


@dataclass(frozen=True)
class Recipe:
    """Everything a picture depends on."""

    prompt: str
    seed: int
    drawing: Drawing
    base: str
    base_fingerprint: str
    size: int
    precision: str
    uses: Sequence[Used] = field(default_factory=list)
    model: ModelFile = field(default_factory=ModelFile)  # of the base, where it is one file
    vae: ModelFile = field(default_factory=ModelFile)  # where it is not the base's own

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
        """The "parameters" text: the prompt, the negative prompt, and a line of settings as A1111 writes it."""
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
        told = [f"{name}: {_quoted(value)}" for name, value in settings.items() if value != ""]
        hashes = self._hashes()
        told += [f"Hashes: {json.dumps(hashes)}"] if hashes else []
        negative = [f"Negative prompt: {drawing.negative}"] if drawing.negative else []
        return writable("\n".join([prompt, *negative, ", ".join(told)]))

    def _of(self, method: str) -> list[Used]:
        """What there is of one method, of embeddings those that the prompts spell."""
        kept = (use for use in self.uses if use.called or use.method != "textual-inversion")
        return [use for use in kept if use.method == method and use.file.sha256]

    def _hashes(self) -> Mapping[str, str]:
        """What Civitai links a picture's resources by: the first 10 digits of each file's SHA-256."""
        named = {"model": self.model, "vae": self.vae}
        for method, prefix in CIVITAI.items():
            named |= {f"{prefix}:{use.file.stem}": use.file for use in self._of(method)}
        return {name: file.sha256[:10] for name, file in named.items() if file.sha256}


def _pairs(hashes: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{name}: {digest}" for name, digest in dict(hashes).items())


def _quoted(value: object) -> str:
    """A value as A1111 writes it: in quotation marks where it has what ends a value."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(sign in text for sign in ",:\n") else text


def save_png(path: Path, picture: Image, recipe: Recipe) -> None:
    """Write it whole or not at all.

    Raises:
        TriptychError: the place cannot be written.
    """
    from PIL.PngImagePlugin import PngInfo

    told = PngInfo()
    told.add_text("parameters", recipe.infotext())
    told.add_text("triptych", json.dumps(asdict(recipe)))
    buffer = io.BytesIO()
    picture.save(buffer, "png", pnginfo=told)
    write_bytes(path, buffer.getvalue())
