"""Tags pictures by an image classifier with many labels, as WD14 taggers are, from a folder or hub.

A tagger comes with `selected_tags.csv`, which names its labels and their categories: general, character, or neither,
such as ratings. The network is `model.onnx`, which onnxruntime runs, or an image classifier that transformers loads.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ..base.device import device_named
from ..data.folder import read_text
from ..errors import TriptychError, first_line

TAGS, NETWORK = "selected_tags.csv", "model.onnx"
GENERAL, CHARACTER = "0", "4"  # categories of Danbooru; others, such as ratings, are no tags of a caption
BATCH = 8

Probabilities = Callable[[Sequence[Image.Image]], NDArray[np.float32]]  # pictures -> [pictures, labels]


@dataclass(frozen=True)
class Tagging:
    """Which tags a caption has.

    Attributes:
        least: the least probability of a general tag, 0 to 1.
        least_character: that of the name of a character.
        excluded: tags that no caption has, with spaces or underscores.
    """

    least: float = 0.35
    least_character: float = 0.85
    excluded: Collection[str] = ()

    def __post_init__(self) -> None:
        for value in (self.least, self.least_character):
            if not 0 <= value <= 1:
                raise TriptychError(f"the least probability of a tag is a number from 0 to 1, not {value:g}")


class Tagger:
    """A tagger that writes captions of tags, parted by commas: characters first, then the most probable.

    Args:
        source: a folder or a hub id.

    Raises:
        TriptychError: it cannot be loaded, or has not as many labels as its list of tags.
    """

    are_tags = True

    def __init__(self, source: str, device: str = "auto", tagging: Tagging = Tagging()) -> None:
        self.tagging = tagging
        network = file_of(source, NETWORK)
        try:
            known, self.probabilities = _by_onnx(network) if network else _by_transformers(source, device)
        except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
            raise TriptychError(f"cannot load {source} as a tagger: {first_line(error)}") from error
        listed = file_of(source, TAGS)
        self.tags = _listed(listed) if listed else [(name, GENERAL) for name in known]
        if not self.tags or (known and len(known) != len(self.tags)):
            raise TriptychError(f"{source} has {len(known)} labels and a list of {len(self.tags)} tags")
        without = {_spaced(tag) for tag in tagging.excluded}
        self.kept = [_spaced(name) not in without for name, _ in self.tags]

    def captions(self, pictures: Sequence[Image.Image]) -> list[str]:
        """The tags of each RGB picture."""
        found: list[str] = []
        for start in range(0, len(pictures), BATCH):
            rows = self.probabilities(pictures[start : start + BATCH])
            if rows.shape[1] != len(self.tags):
                raise TriptychError(f"the tagger has {rows.shape[1]} labels and a list of {len(self.tags)} tags")
            found += [self._caption(row) for row in rows]
        return found

    def _caption(self, row: NDArray[np.float32]) -> str:
        least = {GENERAL: self.tagging.least, CHARACTER: self.tagging.least_character}
        chosen = [
            (category != CHARACTER, -value, _spaced(name))
            for (name, category), value, kept in zip(self.tags, row.tolist(), self.kept, strict=True)
            if kept and category in least and value >= least[category]
        ]
        return ", ".join(name for _, _, name in sorted(chosen))


def is_tagger(source: str) -> bool:
    """Whether a folder or hub id is a tagger: it has a list of tags, or is an image classifier."""
    if file_of(source, TAGS):
        return True
    from transformers import AutoConfig

    try:
        architectures = AutoConfig.from_pretrained(_place(source)).architectures or ()
    except (OSError, ValueError, KeyError):
        return False
    return any(name.endswith("ForImageClassification") for name in architectures)


def file_of(source: str, name: str) -> Path | None:
    """A file of a folder, or of the hub's id; None where there is none."""
    own = Path(source).expanduser()
    if own.exists():
        return own / name if (own / name).is_file() else None
    from transformers.utils import cached_file

    try:
        found = cached_file(source, name, _raise_exceptions_for_missing_entries=False)
    except (OSError, ValueError):
        return None
    return Path(found) if found else None


def _place(source: str) -> str:
    return str(Path(source).expanduser()) if Path(source).expanduser().exists() else source


def _listed(path: Path) -> list[tuple[str, str]]:
    """Names and categories in the order of the labels.

    Raises:
        TriptychError: it is no such list.
    """
    rows = list(csv.DictReader(io.StringIO(read_text(path), newline="")))
    if not rows or not {"name", "category"} <= rows[0].keys():
        raise TriptychError(f"{path} is no list of tags: its columns must be name and category")
    return [(row["name"] or "", row["category"] or "") for row in rows]


def _spaced(tag: str) -> str:
    """A tag with spaces for underscores; faces such as ^_^ stay."""
    return tag.replace("_", " ").strip() if any(letter.isalpha() for letter in tag) and len(tag) > 3 else tag


def _by_onnx(path: Path) -> tuple[list[str], Probabilities]:
    """A network of WD14's export: pictures [n, side, side, 3], blue first, 0 to 255, to probabilities.

    Raises:
        TriptychError: onnxruntime is not installed.
        ValueError: its input is none of that kind.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise TriptychError(f"{path.name} needs the package onnxruntime: install it by pip") from error
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # its own errors have no common class
        raise ValueError(first_line(error)) from error
    (given, *others), (_, height, width, channels) = session.get_inputs(), session.get_inputs()[0].shape
    if others or channels != 3 or height != width or not isinstance(height, int):
        raise ValueError(f"its input is {given.shape}, and not [pictures, side, side, 3]")

    def probabilities(pictures: Sequence[Image.Image]) -> NDArray[np.float32]:
        pixels = np.stack([_squared(picture, height) for picture in pictures])[..., ::-1]
        return np.asarray(session.run(None, {given.name: np.ascontiguousarray(pixels)})[0], np.float32)

    return [], probabilities


def _squared(picture: Image.Image, side: int) -> NDArray[np.float32]:
    """The picture on a white square of `side` pixels [side, side, 3], 0 to 255."""
    whole = Image.new("RGB", (max(picture.size),) * 2, "white")
    whole.paste(picture, ((whole.width - picture.width) // 2, (whole.height - picture.height) // 2))
    return np.asarray(whole.resize((side, side), Image.Resampling.BICUBIC), np.float32)


def _by_transformers(source: str, device: str) -> tuple[list[str], Probabilities]:
    """An image classifier, each of whose labels is true or not by itself."""
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    on = device_named(device)
    processor = AutoImageProcessor.from_pretrained(_place(source), backend="pil")
    model: Any = AutoModelForImageClassification.from_pretrained(_place(source)).eval().requires_grad_(False).to(on)

    @torch.inference_mode()
    def probabilities(pictures: Sequence[Image.Image]) -> NDArray[np.float32]:
        inputs = processor(images=list(pictures), return_tensors="pt").to(on)
        found: NDArray[np.float32] = model(**inputs).logits.float().sigmoid().cpu().numpy()
        return found

    return [str(name) for _, name in sorted(model.config.id2label.items())], probabilities
