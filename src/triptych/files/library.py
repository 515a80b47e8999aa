"""Library folders in the layouts of A1111 and ComfyUI. Prompts call a file by its stem.

A sidecar beside a file (`name.json` of A1111, `name.civitai.info`, `name.preview.png`) says how to use it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import yaml

from ..errors import TriptychError, did_you_mean
from ..prompt.words import whole_word
from .atomic import write_text
from .tensorfile import TensorFile

Kind = Literal["lora", "hypernet", "aesthetic", "embedding", "checkpoint", "vae"]

PLACES: Mapping[Kind, tuple[str, ...]] = {
    "lora": ("models/Lora", "models/LyCORIS", "models/loras", "Lora", "loras"),
    "hypernet": ("models/hypernetworks", "hypernetworks"),
    "aesthetic": (
        "extensions/stable-diffusion-webui-aesthetic-gradients/aesthetic_embeddings",
        "models/aesthetic_embeddings", "aesthetic_embeddings",
    ),
    "embedding": ("embeddings", "models/embeddings"),
    "checkpoint": ("models/Stable-diffusion", "models/checkpoints", "checkpoints"),
    "vae": ("models/VAE", "models/vae", "vae"),
}  # fmt: skip
COMFY: Mapping[str, Kind] = {
    "loras": "lora", "hypernetworks": "hypernet", "embeddings": "embedding", "checkpoints": "checkpoint", "vae": "vae",
}  # fmt: skip  # the names of extra_model_paths.yaml
SUFFIXES = (".safetensors", ".pt", ".ckpt", ".bin", ".pth")
PICTURES = (".png", ".webp")  # suffixes of pictures that carry an embedding
PREVIEWS = (".preview.png", ".preview.jpeg", ".preview.jpg", ".preview.webp", ".png", ".jpeg", ".jpg", ".webp")


@dataclass(frozen=True)
class Sidecar:
    """The files beside a model file: preferred strength, trigger words, description, preview picture."""

    strength: float | None = None
    triggers: tuple[str, ...] = ()
    description: str = ""
    preview: Path | None = None


@dataclass(frozen=True)
class Library:
    """A folder in the layout of A1111 or ComfyUI (also by `extra_model_paths.yaml`), or one flat folder of files."""

    folder: Path

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise TriptychError(f"there is no library folder {self.folder}")

    @cached_property
    def places(self) -> dict[Kind, list[Path]]:
        """The folders of each kind. A folder without such subfolders holds files of all kinds."""
        found: dict[Kind, list[Path]] = {kind: [] for kind in PLACES}
        for kind, names in PLACES.items():
            found[kind] += [self.folder / name for name in names if (self.folder / name).is_dir()]
        for kind, path in self._elsewhere():
            found[kind].append(path)
        return found if any(found.values()) else {kind: [self.folder] for kind in PLACES}

    def _elsewhere(self) -> Iterator[tuple[Kind, Path]]:
        """The folders that ComfyUI's `extra_model_paths.yaml` names: a base path per program, and folders by kind."""
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

    @cached_property
    def _paths(self) -> list[Path]:
        """Every candidate file of all folders, in order. Each folder is read once."""
        roots = dict.fromkeys(place for places in self.places.values() for place in places)
        return [path for root in roots for path in sorted(root.rglob("*")) if path.is_file()]

    @cached_property
    def _by_kind(self) -> dict[Kind, dict[str, list[Path]]]:
        found: dict[Kind, dict[str, list[Path]]] = {}
        for kind, places in self.places.items():
            suffixes, names = SUFFIXES + PICTURES * (kind == "embedding"), found.setdefault(kind, {})
            for place in places:
                for path in self._paths:
                    if path.suffix.lower() in suffixes and path.is_relative_to(place) and not _is_preview(path):
                        paths = names.setdefault(path.stem, [])
                        paths += [path] if path not in paths else []
        return found

    def files(self, kind: Kind) -> Mapping[str, list[Path]]:
        """Candidate files of one kind, by stem, which is the name that prompts use.

        Several files may share a stem. In a flat folder some of them may be of another kind.
        """
        return self._by_kind[kind]

    @cached_property
    def _own_names(self) -> dict[Path, str]:
        return {path: name for path in self._paths if path.suffix == ".safetensors" and (name := _own_name(path))}

    def find(self, kind: Kind, name: str) -> list[Path]:
        """The files called `name`: by stem, by stem in another case, or by the `ss_output_name` in the file.

        Raises:
            TriptychError: no file has that name.
        """
        known = self.files(kind)
        found = known.get(name) or [
            path for stem, paths in known.items() if stem.lower() == name.lower() for path in paths
        ]
        mine = [path for paths in known.values() for path in paths]
        found = found or [path for path in mine if self._own_names.get(path) == name]
        if found:
            return found
        what = {"hypernet": "hypernetwork", "lora": "LoRA", "aesthetic": "aesthetic embedding"}.get(kind, kind)
        raise TriptychError(f"the library {self.folder} has no {what} called {name!r}{did_you_mean(name, known)}")

    def words(self, prompt: str, holds_word: Callable[[Path], bool]) -> dict[str, list[Path]]:
        """The embeddings whose names a prompt contains, by name, the longest name first.

        A part of the prompt that a longer name matched is not matched again. `holds_word` returns whether a file is an
        embedding; it is called only for files whose name the prompt contains.
        """
        found: dict[str, list[Path]] = {}
        low = prompt.lower()
        names = [name for name in self.files("embedding") if name.lower() in low]
        for name in sorted(names, key=lambda name: (-len(name), name)):
            word = whole_word(name)
            if word.search(prompt):
                paths = [path for path in self.files("embedding")[name] if holds_word(path)]
                if paths:
                    found[name], prompt = paths, word.sub("\n", prompt)
        return found


def sidecar(path: Path) -> Sidecar:
    """Read the files beside a model file. Unreadable ones are ignored."""
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


def write_sidecar(path: Path, strength: float, says: str) -> None:
    """Write A1111's notes beside a model file: the strength to use it at, and the words that call it.

    Raises:
        TriptychError: they cannot be written.
    """
    write_text(path.with_suffix(".json"), json.dumps({"activation text": says, "preferred weight": strength}, indent=1))


def _own_name(path: Path) -> str | None:
    """The `ss_output_name` in the file's metadata; None if it has none or the file is damaged."""
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
    """Whether a file is the preview picture of a model file beside it."""
    if path.suffix.lower() not in PICTURES:
        return False
    stem = path.stem.removesuffix(".preview")
    return stem != path.stem or any(path.with_name(stem + suffix).is_file() for suffix in SUFFIXES)
