"""Writes captions for the pictures of a folder, by a tagger or a captioner that transformers loads, such as BLIP."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image

from ..base.device import device_named
from ..cancel import check
from ..data.concept import Concept, Picture
from ..data.pictures import read_picture
from ..errors import TriptychError, first_line
from ..files.atomic import write_text
from ..prompt.words import whole_word
from ..study.progress import Progress, Silent

BATCH = 4
TASKS = {"florence2": "<DETAILED_CAPTION>"}  # what models that have several tasks are asked for
LONGEST = 60  # tokens of a caption


@dataclass(frozen=True)
class Written:
    """The captions that were written, by picture, and a sentence for each picture that was left as it was."""

    captions: dict[str, str]
    notes: tuple[str, ...]


class Describer(Protocol):
    """What writes a caption for each picture. `are_tags`: captions are tags, parted by commas."""

    are_tags: bool

    def captions(self, pictures: Sequence[Image.Image]) -> list[str]: ...


class Captioner:
    """A model that describes pictures.

    Args:
        source: a folder or a hub id.

    Raises:
        TriptychError: it cannot be loaded, or does not describe pictures.
    """

    are_tags = False

    def __init__(self, source: str, device: str = "auto") -> None:
        from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

        self.device = device_named(device)
        path = str(Path(source).expanduser()) if Path(source).expanduser().exists() else source
        try:
            self.task = TASKS.get(AutoConfig.from_pretrained(path).model_type, "")
            self.processor = AutoProcessor.from_pretrained(path, backend="pil")
            model: Any = AutoModelForImageTextToText.from_pretrained(path)
        except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
            raise TriptychError(
                f"cannot load {source} as a captioner: {first_line(error)}; give a folder or hub id such as"
                " Salesforce/blip-image-captioning-base"
            ) from error
        self.model = model.eval().requires_grad_(False).to(self.device)

    @torch.inference_mode()
    def captions(self, pictures: Sequence[Image.Image]) -> list[str]:
        """A caption for each RGB picture. They depend on the pictures and the model alone: nothing is sampled."""
        found: list[str] = []
        for start in range(0, len(pictures), BATCH):
            batch = list(pictures[start : start + BATCH])
            asked = {"text": [self.task] * len(batch)} if self.task else {}
            inputs = self.processor(images=batch, return_tensors="pt", **asked).to(self.device)
            tokens = self.model.generate(**inputs, max_new_tokens=LONGEST, num_beams=3, do_sample=False)
            found += [text.strip() for text in self.processor.batch_decode(tokens, skip_special_tokens=True)]
        return found


def caption_folder(
    concept: Concept, captioner: Describer, *, overwrite: bool = False, progress: Progress | None = None
) -> Written:
    """Write a `.txt` beside each picture without a caption; with `overwrite` beside every picture.

    The concept's word is put in by `named`. A caption in a table goes before a text file, so such pictures stay.
    """
    progress, notes, chosen = progress or Silent(), [], []
    stems = Counter((picture.path.parent, picture.path.stem) for picture in concept.pictures)
    for picture in concept.pictures:
        place = _place(picture, stems)
        if picture.caption and not overwrite:
            notes.append(f"{picture.name} has a caption, which is kept")
        elif picture.caption and not place.is_file():
            notes.append(f"{picture.name} has its caption from a table or another file, which goes before; it is kept")
        else:
            chosen.append((picture, place))
    progress.stage("captioning", len(chosen))
    written = {}
    for start in range(0, len(chosen), BATCH):
        check()
        some = chosen[start : start + BATCH]
        said = captioner.captions([read_picture(picture.path) for picture, _ in some])
        for (picture, place), caption in zip(some, said, strict=True):
            written[picture.name] = (named_tags if captioner.are_tags else named)(caption, concept)
            write_text(place, written[picture.name] + "\n")
        progress.advance(len(some))
    return Written(written, tuple(notes))


def named(caption: str, concept: Concept) -> str:
    """The caption with the concept's word: before the first whole word that is the class word, else at the front.

    "a cat on a sofa" becomes "a <concept> cat on a sofa", and "a dog" becomes "<concept> cat, a dog".
    """
    if whole_word(concept.token).search(caption):
        return caption
    both = f"{concept.token} {concept.class_word}"
    named_, places = whole_word(concept.class_word).subn(lambda _: both, caption, count=1)
    return named_ if places else ", ".join(filter(None, (both, caption)))


def named_tags(caption: str, concept: Concept) -> str:
    """Tags with the concept's word and its class word in front, where trainers keep the first tags in place.

    "sofa, cat, sitting" becomes "<concept> cat, sofa, sitting".
    """
    both = f"{concept.token} {concept.class_word}"
    tags = [tag for tag in caption.split(", ") if tag and tag not in (concept.class_word, concept.token, both)]
    return ", ".join([both, *tags])


def _place(picture: Picture, stems: Counter[tuple[Path, str]]) -> Path:
    """Where a picture's caption goes: by its stem, or by its whole name if another picture has the same stem."""
    alone = stems[picture.path.parent, picture.path.stem] == 1
    return picture.path.with_suffix(".txt") if alone else picture.path.with_name(f"{picture.path.name}.txt")
