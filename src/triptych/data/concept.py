"""A concept: the pictures of a folder, their captions, the words that name it, and the pictures that are held out."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Literal, get_args

from ..errors import Remedy, TriptychError, did_you_mean
from ..prompt.words import whole_word
from ..units import listed
from .captions import captions_of
from .folder import SETTINGS_FILE, contents, pictures_below, read_text
from .layouts import Layout, layouts_of, named
from .notes import Note
from .pictures import UnusableError, decode, read_picture

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

Kind = Literal["subject", "style", "scene"]

KINDS: tuple[Kind, ...] = get_args(Kind)
DEFAULT_TOKEN = "<concept>"
FEWEST_PICTURES = 3
COPY = "the same file as "  # begins the reason why a copy is left out
SETTINGS = ("kind", "class", "token", "captions")
MIDDLE_AND_ENDS = ((0.5, 0.5), (0.0, 0.0), (1.0, 1.0))  # where squares lie in a picture, of its sides
TRIGGER = "[trigger]"  # the token in captions of ai-toolkit
FILE_NAMES = "file names"  # what `captions` says if the names of the files are captions
# fmt: off
NO_CLASS = frozenset({  # words in folder names that do not say what the pictures show
    "captions", "concept", "copy", "crop", "cropped", "crops", "data", "dataset", "datasets", "download", "downloads",
    "example", "examples", "file", "files", "final", "folder", "image", "images", "img", "imgs", "in", "input",
    "inputs", "instance", "jpeg", "jpg", "my", "new", "photo", "photos", "pic", "pics", "picture", "pictures", "png",
    "raw", "resized", "sample", "samples", "set", "sets", "subject", "temp", "test", "tmp", "train", "training",
    "untitled", "val", "validation", "webp",
})
# fmt: on


@dataclass(frozen=True)
class Picture:
    """One usable picture: its path, its caption ("" if it has none), and the SHA-256 of its file.

    `repeats`: how often it is shown where another picture is shown once. `part`: the folder that it lies in, if the
    concept has several. `size`: its width and height, upright, in pixels.
    """

    path: Path
    caption: str
    digest: str
    repeats: int = 1
    part: str = ""
    size: tuple[int, int] = (0, 0)

    @property
    def name(self) -> str:
        """Its name among the concept's pictures: that of its file, after that of its part."""
        return f"{self.part}/{self.path.name}" if self.part else self.path.name


@dataclass(frozen=True)
class Split:
    """The pictures to train on, to judge by, and to choose the best step by, as sorted indices of `Concept.pictures`.

    No picture is in two of them.
    """

    train: tuple[int, ...]
    held_out: tuple[int, ...]
    choose: tuple[int, ...] = ()


@dataclass(frozen=True)
class Concept:
    """The concept to learn: at least three pictures, sorted by file name, and the words that name it."""

    pictures: tuple[Picture, ...]
    broken: tuple[Note, ...]  # pictures that are left out
    kind: Kind
    class_word: str
    token: str
    name: str  # of the folder
    notes: tuple[Note, ...] = ()  # on everything else that is not used as the user would expect
    class_from: str = "as given"  # where the class word comes from, as a clause
    class_folder: Path | None = None  # a folder beside them with pictures of the class

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        kind: str | None = None,
        class_word: str | None = None,
        token: str | None = None,
        only: str | None = None,
    ) -> Concept:
        """Open and check a folder.

        Pictures are the files that Pillow opens, except masks (`0_mask.png` beside `0.png`). A caption is the text of
        `<stem>.txt` or `<stem>.caption` beside its picture, or an entry of `metadata.jsonl`, `metadata.csv` or kohya's
        `meta_*.json`. Subfolders are not read, except kohya's (`10_ohwx cat`); in place of a folder, a list of folders
        of another trainer can be given (see `layouts`). Words that are not given are read from `concept.toml` in the
        folder (`kind`, `class`, `token`). The defaults are the kind "subject", the token "<concept>", and as class word
        the last meaningful word of the folder's name (`blob-cat`, `30_cat` and `cat photos` have the class word "cat").

        Args:
            only: of a folder of several concepts, the words of the one to open.

        Raises:
            TriptychError: the folder does not exist, shows several concepts, has fewer than three usable pictures,
                gives no class word, or has bad captions or settings.
        """
        layouts = layouts_in(folder, class_word=class_word, token=token, only=only)
        if len(layouts) > 1:
            known = listed([repr(layout.words) for layout in layouts])
            raise TriptychError(
                f"{folder} shows {len(layouts)} concepts ({known}), and one is taken here: give the folder of one, such"
                f" as '{layouts[0].parts[0].folder}'"
            )
        return cls.laid_out(folder, layouts[0], kind=kind, class_word=class_word, token=token)

    @classmethod
    def laid_out(
        cls,
        folder: Path,
        layout: Layout,
        *,
        kind: str | None = None,
        class_word: str | None = None,
        token: str | None = None,
    ) -> Concept:
        """Open and check the folders of a layout, with the settings of `folder`; see `open`.

        Raises:
            TriptychError: as `open`.
        """
        said = settings_in(folder)
        kind = kind or said.get("kind", KINDS[0])
        token = token or said.get("token", layout.token or DEFAULT_TOKEN)
        if kind not in KINDS:
            raise TriptychError(f"there is no kind of concept {kind!r}{did_you_mean(kind, KINDS)}")
        if token.split() != [token]:
            raise TriptychError(f"the token {token!r} is not one word; choose one such as {DEFAULT_TOKEN}")
        pictures, broken, notes = _sort_out(layout, by_name=said.get("captions") == FILE_NAMES)
        if len(pictures) < FEWEST_PICTURES:
            raise TriptychError(_too_few(folder, pictures, broken))
        place = folder if folder.is_dir() else layout.parts[0].folder  # the name of a list says nothing
        word, class_from = _class_word(place, class_word, said.get("class"), layout.class_word)
        known_kind = next(known for known in KINDS if known == kind)
        name = layout.parts[0].folder.name if layout.words else folder.resolve().name
        return cls(pictures, broken, known_kind, word, token, name, tuple(notes), class_from, layout.of_class)

    @property
    def digest(self) -> str:
        """SHA-256 over pictures and captions in order, kind, class word and token, without file names."""
        pictures = [
            (picture.digest, picture.caption, *([picture.repeats] if picture.repeats > 1 else []))
            for picture in self.pictures
        ]
        return sha256(json.dumps([pictures, self.kind, self.class_word, self.token]).encode()).hexdigest()

    def name_of(self, path: Path) -> str:
        """The name of a file of the folder, told as `Picture.name` tells a picture."""
        several = any(picture.part for picture in self.pictures)
        return f"{path.parent.name}/{path.name}" if several else path.name

    def templates(self, fallback: str) -> list[str]:
        """A caption template for each picture, with "{}" in place of the concept; see `fill`.

        "{}" replaces the token, or else the first whole word that is the class word; or else it precedes the caption. A
        picture without a caption has the `fallback`, such as "a {}".
        """
        return [self._template(picture.caption) or fallback for picture in self.pictures]

    def _template(self, caption: str) -> str:
        caption = caption.replace("{}", "{ }")  # "{}" must occur only where the concept is named
        token, word = whole_word(self.token), whole_word(self.class_word)
        both = re.compile(rf"{token.pattern}(?:\s+{word.pattern})?", re.IGNORECASE)
        for name in (both, word):
            template, places = name.subn("{}", caption, count=1)
            if places:
                return token.sub(lambda _: self.class_word, template)
        return caption and "{}, " + caption

    def split(self, replicate: int, *, choose: bool = False) -> Split:
        """Split the pictures into those that a replicate trains on and those that it is judged by.

        From eight pictures on, a quarter of them (two to eight) is held out, the same in every replicate. With fewer
        pictures, each replicate holds out the next fold of one picture (two from six pictures on), in rotation. The
        split depends on the pictures' digests, not on their names or order.

        Args:
            replicate: 0, 1, ...: which of several trainings.
            choose: take a sixth of the training pictures, at least one, to choose the best step by. The pictures to
                judge by stay the same.

        Raises:
            TriptychError: there are too few pictures to choose by and to train on.
        """
        n = len(self.pictures)
        if choose and n < 4:
            raise TriptychError(
                f"choosing a moment (keep=best, patience) takes a picture that neither trains nor judges, so it needs"
                f" 4 pictures or more; {self.name} has {n}"
            )
        order = sorted(range(n), key=lambda i: self.pictures[i].digest)
        if n >= 8:
            held_out = order[: min(max(2, n // 4), 8)]
        else:
            size = 1 if n < 6 else 2
            held_out = [order[(replicate * size + i) % n] for i in range(size)]
        left = [i for i in order if i not in held_out]
        spared = max(1, n // 6) if choose else 0
        chosen, train = left[:spared], left[spared:]
        return Split(tuple(sorted(train)), tuple(sorted(held_out)), tuple(sorted(chosen)))

    def images(self, resolution: int) -> list[Image.Image]:
        """The pictures as RGB squares of `resolution` pixels: the shorter side is scaled, and the centre is cropped."""
        return [own[0] for own in self.views(resolution, whole=False)]

    def views(self, resolution: int, *, whole: bool = True) -> list[list[Image.Image]]:
        """Of each picture its centre square as in `images`; of one that is no square both ends too, if `whole`.

        Up to an aspect of 2 : 1 these squares have all of the picture.
        """
        from PIL import Image, ImageOps

        size, found = (resolution, resolution), []
        for each in self.pictures:
            picture = read_picture(each.path)
            places = MIDDLE_AND_ENDS if whole and picture.width != picture.height else MIDDLE_AND_ENDS[:1]
            found.append([ImageOps.fit(picture, size, Image.Resampling.LANCZOS, centering=at) for at in places])
        return found


def fill(template: str, phrase: str) -> str:
    """The template with `phrase` in place of its first "{}". Other braces stay."""
    return template.replace("{}", phrase, 1)


def _sort_out(layout: Layout, by_name: bool) -> tuple[tuple[Picture, ...], tuple[Note, ...], list[Note]]:
    """The usable pictures, the pictures left out (unreadable ones and duplicates), and other notes."""
    pictures: dict[str, Picture] = {}
    broken: list[Note] = []
    notes = list(layout.notes)
    for part in layout.parts:
        found = contents(part.folder)
        captions, more = captions_of(found.pictures, found.texts, (*found.tables, *part.tables))
        notes += [*found.notes, *more]
        for path in found.pictures:
            try:
                decoded = decode(path)
            except UnusableError as error:
                broken.append(Note(path, str(error)))
                continue
            digest = sha256(path.read_bytes()).hexdigest()
            caption = captions.get(path.name, "") or (_caption_in(path) if by_name else "")
            caption = caption.replace(TRIGGER, layout.token) if layout.trigger else caption
            if digest in pictures:
                other = pictures[digest]
                differs = ", with another caption" if caption != other.caption else ""
                broken.append(Note(path, COPY + other.path.name + differs))
                continue
            name = part.folder.name if len(layout.parts) > 1 else ""
            pictures[digest] = Picture(path, caption, digest, part.repeats, name, decoded.picture.size)
            notes += [Note(path, decoded.remark)] if decoded.remark else []
    return tuple(pictures.values()), tuple(broken), notes


def _caption_in(path: Path) -> str:
    """The caption in the name of a file: without its number, and with spaces for underscores."""
    return re.sub(r"^\d+[-_. ]*", "", path.stem).replace("_", " ").strip()


def layouts_in(
    folder: Path, *, class_word: str | None = None, token: str | None = None, only: str | None = None
) -> tuple[Layout, ...]:
    """The layouts of the concepts in a folder: one for all its pictures, unless its folders have different words.

    A class word or a token, given or in `concept.toml`, is that of all its pictures.

    Args:
        only: the words of the folders of one concept; the others are left out.

    Raises:
        TriptychError: no folder has these words, or the layout cannot be read.
    """
    if not only and (class_word or token or settings_in(folder).keys() & {"class", "token"}):
        return (named(folder),)
    layouts = layouts_of(folder)
    if not only:
        return layouts
    found = tuple(layout for layout in layouts if layout.words == " ".join(only.split()))
    if not found:
        known = [layout.words for layout in layouts if layout.words]
        others = did_you_mean(only, known) if known else ": it shows one concept"
        raise TriptychError(f"{folder} has no folders of the words {only!r}{others}")
    return found


def settings_in(folder: Path) -> dict[str, str]:
    """The entries of `concept.toml` in a folder; empty if there is no such file."""
    path = folder / SETTINGS_FILE
    if not folder.is_dir() or not path.exists():
        return {}
    try:
        said = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise TriptychError(f"{path} is not valid TOML: {error}") from error
    for key, value in said.items():
        if key not in SETTINGS:
            raise TriptychError(f"{path} has an unknown setting {key!r}{did_you_mean(key, SETTINGS)}")
        if not (isinstance(value, str) and value.strip()):
            raise TriptychError(f'{path}: {key} must be a text in quotation marks, such as {key} = "..."')
    return {key: str(value) for key, value in said.items()}


def _class_word(folder: Path, given: str | None, said: str | None, laid: str) -> tuple[str, str]:
    """The class word, and where it comes from.

    Raises:
        TriptychError: no class word is given, and the folder's name does not say what the pictures show.
    """
    if given:
        return given, "as given"
    if said:
        return said, f"from {SETTINGS_FILE}"
    if laid:
        return laid, "from the names of the folders, or the list of them"
    words = [word.lower() for word in re.findall(r"[^\W\d_]+", folder.resolve().name)]
    telling = [word for word in words if word not in NO_CLASS and not (len(word) == 1 and word.isascii())]
    if not telling:
        raise TriptychError(
            f"the name of {folder} does not say what the pictures show, and there is no {SETTINGS_FILE} in it"
            ' with a line such as class = "cat"',
            Remedy.CLASS_WORD,
        )
    return telling[-1], f"from the folder's name {folder.resolve().name!r}"


def _too_few(folder: Path, pictures: tuple[Picture, ...], broken: tuple[Note, ...]) -> str:
    """A sentence: why a folder with too few pictures cannot be used, and what to do."""
    if not pictures and not broken:
        inside = [path.name for path in folder.glob("*/") if pictures_below(path)]
        wish = f"put {FEWEST_PICTURES} or more there, as .png or .jpg"
        return f"there are no pictures in {folder}; {f'give its subfolder {min(inside)!r} instead' if inside else wish}"
    left_out = "; ".join(f"{each.path.name}: {each.reason}" for each in broken[:5])
    more = f"; and {len(broken) - 5} more" if len(broken) > 5 else ""
    why = f" (left out: {left_out}{more})" if broken else ""
    count = f"{len(pictures)} usable picture{'' if len(pictures) == 1 else 's'}"
    return f"{folder} has {count}{why}, but {FEWEST_PICTURES} are needed; add some"
