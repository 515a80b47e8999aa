"""The trigger word of a file: stated by its header, or guessed from the tags of its training.

kohya's trainer writes the number of pictures with each tag, for each folder (`ss_tag_frequency`); repeats do not count.
The number of pictures in a folder is in `ss_dataset_dirs` or `ss_datasets`; `ss_num_train_images` counts repeats. A tag
on more than half of all pictures may be the trigger word, unless it is a general one.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

GENERAL = frozenset({  # tags of taggers and captioners that are no trigger words
    "solo", "solo focus", "simple background", "white background", "looking at viewer", "smile", "blush", "open mouth",
    "closed mouth", "closed eyes", "standing", "sitting", "lying", "full body", "upper body", "cowboy shot", "portrait",
    "close-up", "indoors", "outdoors", "day", "night", "sky", "no humans", "male focus", "highres", "absurdres",
    "masterpiece", "best quality", "high quality", "realistic", "photorealistic", "photo", "photo (medium)", "general",
    "sensitive", "questionable", "explicit", "breasts", "shirt", "dress", "skirt", "jewelry", "monochrome", "greyscale",
    "traditional media", "man", "woman", "boy", "girl", "person", "people", "multiple girls", "multiple boys", "bangs",
})  # fmt: skip
GENERAL_FORMS = re.compile(
    r"\d+\+?(girl|boy|other)s?|rating:.*|score_\d+.*|source_.*|(\w+[ -])*(hair|eyes|background|sleeves|skin)"
)
REPEATED = re.compile(r"(\d+)_(.+)")  # kohya's name of a folder: repeats, then words


def stated_trigger(metadata: Mapping[str, str]) -> str:
    """The phrase that the file states; "" where it states none."""
    return metadata.get("modelspec.trigger_phrase", "").strip()


def guessed_trigger(metadata: Mapping[str, str]) -> str:
    """The tag that is probably the trigger word; "" where none stands out."""
    folders = _tags(metadata)
    if not folders:
        return ""
    pictures, total = _pictures(metadata), 0
    counts: Counter[str] = Counter()
    for folder, tags in folders.items():
        total += pictures.get(folder) or _without_repeats(folders, metadata, folder) or max(tags.values(), default=0)
        counts.update(tags)
    called = " ".join(match[2] for match in map(REPEATED.fullmatch, folders) if match)
    known = {tag: count for tag, count in counts.items() if count * 2 > total and not _is_general(tag)}
    return max(known, key=lambda tag: (known[tag], -_place(tag, called)), default="")


def _tags(metadata: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """Folder -> tag -> the number of its captions that have the tag."""
    folders = _json(metadata.get("ss_tag_frequency"))
    found = {}
    for folder, tags in folders.items() if isinstance(folders, dict) else ():
        if isinstance(tags, dict):
            counts = {str(tag).strip(): count for tag, count in tags.items() if isinstance(count, int)}
            found[str(folder)] = {tag: count for tag, count in counts.items() if tag}
    return found


def _pictures(metadata: Mapping[str, str]) -> dict[str, int]:
    """Folder -> number of pictures, without repeats."""
    return {name: count for name, count in _counted(metadata) if isinstance(count, int) and count > 0}


def _counted(metadata: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    folders = _json(metadata.get("ss_dataset_dirs"))
    for name, entry in folders.items() if isinstance(folders, dict) else ():
        yield str(name), entry.get("img_count") if isinstance(entry, dict) else None
    for dataset in _json(metadata.get("ss_datasets")) or ():
        for subset in (dataset.get("subsets") if isinstance(dataset, dict) else None) or ():
            if isinstance(subset, dict):
                place = str(subset.get("image_dir") or subset.get("metadata_file") or "")
                yield re.split(r"[\\/]", place)[-1], subset.get("img_count")


def _without_repeats(folders: Mapping[str, object], metadata: Mapping[str, str], folder: str) -> int:
    """Pictures of the only folder: the number with repeats over the repeats in its name. 0 where that fails."""
    match, number = REPEATED.fullmatch(folder), metadata.get("ss_num_train_images", "")
    if len(folders) > 1 or not match or not number.isdecimal():
        return 0
    return int(number) // max(1, int(match[1]))


def _is_general(tag: str) -> bool:
    plain = tag.lower().replace("_", " ")
    return plain in GENERAL or bool(GENERAL_FORMS.fullmatch(plain) or GENERAL_FORMS.fullmatch(tag.lower()))


def _place(tag: str, called: str) -> int:
    """The position of a tag in the folder names, which often have the trigger word; else the end."""
    place = re.search(rf"(?<!\w){re.escape(tag)}(?!\w)", called)
    return place.start() if place else len(called) + 1


def _json(text: str | None) -> Any:
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None
