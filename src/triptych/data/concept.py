"""The folder a user gives: its pictures and captions, checked, and which of them no method may train on."""

from __future__ import annotations

import json
import re
import tomllib
import warnings
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import sha256
from typing import TYPE_CHECKING, Literal, get_args

from ..errors import TriptychError, did_you_mean

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

Kind = Literal["subject", "style", "scene"]

KINDS: tuple[Kind, ...] = get_args(Kind)
DEFAULT_TOKEN = "<concept>"
ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
MOST_MEGAPIXELS = 100
FEWEST_PICTURES = 3
SETTINGS_FILE = "concept.toml"
SETTINGS = ("kind", "class", "token")


@dataclass(frozen=True)
class Picture:
    """One usable picture: where it lies, its caption ("" if it has none), and the SHA-256 of its file."""

    path: Path
    caption: str
    digest: str


@dataclass(frozen=True)
class Broken:
    """A picture that is left out, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Split:
    """Which pictures train, which judge, and which choose a training's moment, as sorted positions in
    `Concept.pictures`; no picture does two of these."""

    train: tuple[int, ...]
    held_out: tuple[int, ...]
    choose: tuple[int, ...] = ()


@dataclass(frozen=True)
class Concept:
    """What is to be learnt: at least three pictures, sorted by file name, and the words that name them."""

    pictures: tuple[Picture, ...]
    broken: tuple[Broken, ...]
    kind: Kind
    class_word: str
    token: str
    name: str  # of the folder

    @classmethod
    def open(
        cls, folder: Path, *, kind: str | None = None, class_word: str | None = None, token: str | None = None
    ) -> Concept:
        """Open and check a folder.

        A caption is the text of `<stem>.txt` or `<stem>.caption` beside its picture, or a line of `metadata.jsonl`
        (`file_name` with `text`, `caption` or `prompt`). Subfolders are not entered. What is not given is read from
        `concept.toml` in the folder (`kind`, `class`, `token`); without one the kind is "subject", the token
        "<concept>", and the class word the last word of the folder's name (`blob-cat` and `30_cat` are of class "cat").

        Raises:
            TriptychError: no such folder, fewer than three usable pictures, no class word, bad captions or settings.
        """
        files = _files(folder)
        said = _settings(folder / SETTINGS_FILE)
        kind = kind or said.get("kind", KINDS[0])
        token = token or said.get("token", DEFAULT_TOKEN)
        class_word = class_word or said.get("class") or _last_word(folder)
        if kind not in KINDS:
            raise TriptychError(f"there is no kind of concept {kind!r}{did_you_mean(kind, KINDS)}")
        if token.split() != [token]:
            raise TriptychError(f"the token {token!r} is not one word; choose one such as {DEFAULT_TOKEN}")
        pictures, broken = _sort_out(files)
        if len(pictures) < FEWEST_PICTURES:
            raise TriptychError(_too_few(folder, pictures, broken))
        known_kind = next(known for known in KINDS if known == kind)
        return cls(pictures, broken, known_kind, class_word, token, folder.resolve().name)

    @property
    def digest(self) -> str:
        """SHA-256 of what is learnt: pictures and captions in order, kind, class word and token; no file names."""
        pictures = [(picture.digest, picture.caption) for picture in self.pictures]
        return sha256(json.dumps([pictures, self.kind, self.class_word, self.token]).encode()).hexdigest()

    def templates(self, fallback: str) -> list[str]:
        """One caption template a picture, with "{}" where the concept is named; see `fill`.

        The place is where the caption has the token, else its first whole word that is the class word, else before the
        caption; a picture without a caption has the `fallback`, such as "a {}".
        """
        return [self._template(picture.caption) or fallback for picture in self.pictures]

    def _template(self, caption: str) -> str:
        caption = caption.replace("{}", "{ }")  # only our own place may look like one
        token, word = re.escape(self.token), re.escape(self.class_word)
        for named in (rf"{token}(\s+{word}\b)?", rf"(?<!\w){word}(?!\w)"):
            template, places = re.subn(named, "{}", caption, count=1, flags=re.IGNORECASE)
            if places:
                return template.replace(self.token, self.class_word)
        return caption and "{}, " + caption

    def split(self, replicate: int, *, choose: bool = False) -> Split:
        """The pictures that replicate `replicate` (0, 1, ...) trains on, and those it is judged by.

        Eight pictures or more: a quarter of them (two to eight), the same in every replicate. Fewer: each replicate
        holds out the next fold of one picture (two from six pictures on), round and round. The choice depends on the
        pictures' digests, not on their names or order.

        Args:
            replicate: which of several trainings.
            choose: take a sixth of the pictures, at least one, from those that train, to choose a moment by. The same
                pictures judge with and without it.

        Raises:
            TriptychError: there are too few to choose by and still to learn from.
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
        """The pictures as RGB squares of `resolution` pixels: the middle of each, its shorter side scaled to fit."""
        from PIL import Image, ImageOps

        size = (resolution, resolution)
        return [ImageOps.fit(read_picture(p.path), size, Image.Resampling.LANCZOS) for p in self.pictures]


def fill(template: str, phrase: str) -> str:
    """The template with `phrase` in its place, the first "{}"; other braces stay as they are."""
    return template.replace("{}", phrase, 1)


def read_picture(path: Path) -> Image.Image:
    """The picture as RGB: turned as its EXIF says, transparency on white, a moving picture's first frame.

    Raises:
        TriptychError: the file cannot be read, is no picture, is damaged or larger than 100 megapixels.
    """
    try:
        return _decode(path)
    except _UnusableError as error:
        raise TriptychError(f"cannot use the picture {path}: {error}") from error


class _UnusableError(Exception):
    """Why a picture cannot be used, as a clause."""


def _decode(path: Path) -> Image.Image:
    from PIL import Image, ImageOps, UnidentifiedImageError

    too_large = f"larger than {MOST_MEGAPIXELS} megapixels, scale it down"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is odd about a picture is no news for the user as long as it opens
        try:
            with Image.open(path) as picture:
                if picture.width * picture.height > MOST_MEGAPIXELS * 1e6:
                    raise _UnusableError(too_large)
                upright = ImageOps.exif_transpose(picture)
                if upright.mode.startswith("I;16"):
                    upright = upright.point(lambda grey: grey / 256).convert("L")
                if not upright.has_transparency_data:
                    return upright.convert("RGB")
                drawing = upright.convert("RGBA")
        except _UnusableError:
            raise
        except Image.DecompressionBombError as error:
            raise _UnusableError(too_large) from error
        except UnidentifiedImageError as error:
            raise _UnusableError("not a picture" if path.stat().st_size else "an empty file") from error
        except Exception as error:  # decoders of foreign bytes raise whatever they like
            raise _UnusableError(f"damaged or unreadable ({error})") from error
    return Image.alpha_composite(Image.new("RGBA", drawing.size, "white"), drawing).convert("RGB")


def _sort_out(files: list[Path]) -> tuple[tuple[Picture, ...], tuple[Broken, ...]]:
    """Usable pictures, and those left out: unreadable ones and copies of an earlier one."""
    paths = [path for path in files if path.suffix.lower() in ENDINGS]
    captions = _captions(files, {path.stem for path in paths})
    pictures: dict[str, Picture] = {}
    broken = []
    for path in paths:
        try:
            _decode(path)
        except _UnusableError as error:
            broken.append(Broken(path, str(error)))
            continue
        digest = sha256(path.read_bytes()).hexdigest()
        if digest in pictures:
            broken.append(Broken(path, f"the same file as {pictures[digest].path.name}"))
        else:
            pictures[digest] = Picture(path, captions.get(path.name, captions.get(path.stem, "")), digest)
    return tuple(pictures.values()), tuple(broken)


def _captions(files: list[Path], stems: set[str]) -> dict[str, str]:
    """Captions by a picture's stem (from the file beside it) or by its whole name (from `metadata.jsonl`)."""
    captions = {}
    for path in files:
        if path.suffix.lower() in (".txt", ".caption") and path.stem in stems:
            captions[path.stem] = _text(path).strip()
        elif path.name == "metadata.jsonl":
            captions |= _metadata(path)
    return captions


def _metadata(path: Path) -> dict[str, str]:
    captions = {}
    for number, line in enumerate(_text(path).splitlines(), start=1):
        try:
            row = json.loads(line) if line.strip() else {}
            if row:
                said = next(row[key] for key in ("text", "caption", "prompt") if key in row)
                captions[str(row["file_name"])] = str(said).strip()
        except (ValueError, TypeError, KeyError, StopIteration) as error:
            wanted = '{"file_name": "1.png", "text": "a caption"}'
            raise TriptychError(f"line {number} of {path} is no caption; write lines like {wanted}") from error
    return captions


def _settings(path: Path) -> dict[str, str]:
    """What `concept.toml` says, {} where there is none."""
    if not path.exists():
        return {}
    try:
        said = tomllib.loads(_text(path))
    except tomllib.TOMLDecodeError as error:
        raise TriptychError(f"{path} is not valid TOML: {error}") from error
    for key, value in said.items():
        if key not in SETTINGS:
            raise TriptychError(f"{path} has an unknown setting {key!r}{did_you_mean(key, SETTINGS)}")
        if not (isinstance(value, str) and value.strip()):
            raise TriptychError(f'{path}: {key} must be a text in quotation marks, such as {key} = "..."')
    return {key: str(value) for key, value in said.items()}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise TriptychError(f"cannot read {path} as text ({error}); save it as UTF-8 or remove it") from error


def _last_word(folder: Path) -> str:
    words: list[str] = re.findall(r"[^\W\d_]+", folder.resolve().name)
    if not words:
        raise TriptychError(f"the name of {folder} does not say what the pictures show; say it, as in --class cat")
    return words[-1].lower()


def _files(folder: Path) -> list[Path]:
    """The visible files directly in a folder, sorted by name."""
    if folder.is_file():
        raise TriptychError(f"{folder} is a file; give the folder that the pictures lie in")
    try:
        if not folder.exists():
            near = get_close_matches(folder.name, [path.name for path in folder.parent.glob("*/")], n=1)
            advice = f"did you mean {near[0]!r}?" if near else "check the path"
            raise TriptychError(f"there is no folder {folder}; {advice}")
        return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    except OSError as error:
        raise TriptychError(f"cannot read the folder {folder}: {error.strerror}; check its permissions") from error


def _too_few(folder: Path, pictures: tuple[Picture, ...], broken: tuple[Broken, ...]) -> str:
    """Why a folder cannot be used, and what to do, in one sentence."""
    if not pictures and not broken:
        inside = [path.parent.name for path in folder.glob("*/*") if path.suffix.lower() in ENDINGS]
        wish = f"put {FEWEST_PICTURES} or more there, as .png or .jpg"
        return f"there are no pictures in {folder}; {f'give its subfolder {min(inside)!r} instead' if inside else wish}"
    left_out = "; ".join(f"{each.path.name}: {each.reason}" for each in broken[:5])
    more = f"; and {len(broken) - 5} more" if len(broken) > 5 else ""
    why = f" (left out: {left_out}{more})" if broken else ""
    count = f"{len(pictures)} usable picture{'' if len(pictures) == 1 else 's'}"
    return f"{folder} has {count}{why}, but {FEWEST_PICTURES} are needed; add some"
