"""Folders of files as A1111 and ComfyUI keep them, and the names by which prompts call them.

`<lora:name:0.8>` and `<hypernet:name>` name files by their stem; a word of the prompt that is the stem of an embedding
stands for it. Sidecars beside a file (`name.json` of A1111, `name.civitai.info`, `name.preview.png`) say how to use it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import yaml

from ..errors import TriptychError, did_you_mean
from .tensorfile import TensorFile

Kind = Literal["lora", "hypernet", "embedding", "checkpoint", "vae"]

PLACES: Mapping[Kind, tuple[str, ...]] = {
    "lora": ("models/Lora", "models/LyCORIS", "models/loras", "Lora", "loras"),
    "hypernet": ("models/hypernetworks", "hypernetworks"),
    "embedding": ("embeddings", "models/embeddings"),
    "checkpoint": ("models/Stable-diffusion", "models/checkpoints", "checkpoints"),
    "vae": ("models/VAE", "models/vae", "vae"),
}
COMFY: Mapping[str, Kind] = {
    "loras": "lora", "hypernetworks": "hypernet", "embeddings": "embedding", "checkpoints": "checkpoint", "vae": "vae",
}  # fmt: skip  # the names of extra_model_paths.yaml
SUFFIXES = (".safetensors", ".pt", ".ckpt", ".bin", ".pth")
PICTURES = (".png", ".webp")  # of embeddings that a picture carries
PREVIEWS = (".preview.png", ".preview.jpeg", ".preview.jpg", ".preview.webp", ".png", ".jpeg", ".jpg", ".webp")
CALL = re.compile(r"<(lora|lyco|hypernet):([^:>]+)((?::[^:>]+)*)>")


@dataclass(frozen=True)
class Sidecar:
    """What lies beside a file: how strongly it is used, what to say, what it is, how it looks."""

    strength: float | None = None
    triggers: tuple[str, ...] = ()
    description: str = ""
    preview: Path | None = None


@dataclass(frozen=True)
class Call:
    """A file that a prompt names, with the strengths given: of all of it, or of text encoders and denoiser apart."""

    kind: Kind
    name: str
    strengths: tuple[float, ...] = ()


def calls(prompt: str) -> tuple[str, list[Call]]:
    """The prompt without its `<lora:...>` and `<hypernet:...>`, and what they call, in their order.

    Raises:
        TriptychError: a strength is not a number.
    """
    found = []
    for match in CALL.finditer(prompt):
        kind: Kind = "hypernet" if match[1] == "hypernet" else "lora"
        try:
            strengths = tuple(float(part.rpartition("=")[2]) for part in match[3].split(":")[1:])
        except ValueError:
            raise TriptychError(f"the strength in {match[0]} is not a number: write <{match[1]}:NAME:0.8>") from None
        found.append(Call(kind, match[2].strip(), strengths))
    return " ".join(CALL.sub(" ", prompt).split()) if found else prompt, found


@dataclass(frozen=True)
class Library:
    """A folder laid out as A1111's, as ComfyUI's (also by its `extra_model_paths.yaml`), or with files side by side."""

    folder: Path

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise TriptychError(f"there is no library folder {self.folder}")

    @cached_property
    def places(self) -> dict[Kind, list[Path]]:
        """The folders of each kind; a folder without any of them holds files of all kinds side by side."""
        found: dict[Kind, list[Path]] = {kind: [] for kind in PLACES}
        for kind, names in PLACES.items():
            found[kind] += [self.folder / name for name in names if (self.folder / name).is_dir()]
        for kind, path in self._elsewhere():
            found[kind].append(path)
        return found if any(found.values()) else {kind: [self.folder] for kind in PLACES}

    def _elsewhere(self) -> Iterator[tuple[Kind, Path]]:
        """What ComfyUI's `extra_model_paths.yaml` points to: for each program a base path, and folders by kind."""
        file = self.folder / "extra_model_paths.yaml"
        if not file.is_file():
            return
        try:
            programs = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
            for program in programs.values():
                root = self.folder / str(program.get("base_path", "."))
                for name, kind in COMFY.items():
                    lines = str(program.get(name, "")).split("\n")
                    yield from ((kind, root / line.strip()) for line in lines if line.strip())
        except (yaml.YAMLError, AttributeError, UnicodeDecodeError) as error:
            raise TriptychError(f"{file} is not a list of model paths: {error!r}") from error

    def files(self, kind: Kind) -> dict[str, Path]:
        """Files of one kind by the names that prompts call them by: their stems."""
        suffixes = SUFFIXES + PICTURES * (kind == "embedding")
        found: dict[str, Path] = {}
        for place in self.places[kind]:
            for path in sorted(place.rglob("*")):
                if path.suffix.lower() in suffixes and path.is_file() and not _is_preview(path):
                    found.setdefault(path.stem, path)
        return found

    def find(self, kind: Kind, name: str) -> Path:
        """The file that `name` calls: by its stem, or by the name that its training gave it.

        Raises:
            TriptychError: there is none.
        """
        known = self.files(kind)
        if name in known:
            return known[name]
        for path in known.values():
            if path.suffix == ".safetensors" and _own_name(path) == name:
                return path
        what = {"hypernet": "hypernetwork", "lora": "LoRA"}.get(kind, kind)
        raise TriptychError(f"the library {self.folder} has no {what} called {name!r}{did_you_mean(name, known)}")

    def words(self, prompt: str) -> dict[str, Path]:
        """The embeddings that a prompt spells, by name; the longer name where one is within another."""
        found: dict[str, Path] = {}
        rest = prompt.lower()
        for name, path in sorted(self.files("embedding").items(), key=lambda one: -len(one[0])):
            word = re.compile(rf"(?<!\w){re.escape(name.lower())}(?!\w)")
            if word.search(rest):
                found[name], rest = path, word.sub(" ", rest)
        return found


def sidecar(path: Path) -> Sidecar:
    """What lies beside a file; an unreadable note counts as none."""
    own = _json(path.with_suffix(".json"))
    civitai = _json(path.with_suffix(".civitai.info"))
    trained = civitai.get("trainedWords")
    said = str(own.get("activation text") or "").strip()
    weight = own.get("preferred weight")
    preview = next((p for s in PREVIEWS if (p := path.with_name(path.stem + s)).is_file() and p != path), None)
    return Sidecar(
        float(weight) if isinstance(weight, int | float) and weight else None,
        (said,) if said else tuple(map(str, trained)) if isinstance(trained, list) else (),
        str(own.get("description") or civitai.get("description") or ""),
        preview,
    )


def _own_name(path: Path) -> str | None:
    """The name that its training gave it; a damaged file has none."""
    try:
        return TensorFile.open(path).metadata.get("ss_output_name")
    except TriptychError:
        return None


def _json(path: Path) -> dict[str, object]:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}


def _is_preview(path: Path) -> bool:
    """A picture that only shows what a file beside it is."""
    if path.suffix.lower() not in PICTURES:
        return False
    stem = path.stem.removesuffix(".preview")
    return stem != path.stem or any(path.with_name(stem + suffix).is_file() for suffix in SUFFIXES)
