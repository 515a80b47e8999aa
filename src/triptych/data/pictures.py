"""Reads pictures of any format with Pillow, as upright RGB with 8 bits per channel."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from threading import Lock
from typing import TYPE_CHECKING, Any

from ..errors import TriptychError, first_line

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from PIL import Image

MOST_MEGAPIXELS = 100
TOO_LARGE = f"larger than {MOST_MEGAPIXELS} megapixels, scale it down"
COMMON = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000")  # recognised by their first bytes
NO_PICTURES = frozenset({"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"})  # Pillow needs another program to render them
RAW = (".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".raw", ".rw2")
UNREAD = {  # by suffix
    **dict.fromkeys(RAW, "a camera's raw file, which is not read; save it as .png or .jpg"),
    **dict.fromkeys((".ai", ".emf", ".eps", ".ps", ".svg", ".svgz", ".wmf"),
                    "a vector drawing, which is not read; save it as .png"),
    **dict.fromkeys((".exr", ".hdr", ".kra", ".xcf"), "of a format that is not read; save it as .png"),
}  # fmt: skip
FOREIGN = {".heic", ".heif", ".hif", ".jxl", ".avif", ".avifs"}  # suffixes that may need a plug-in
LEVELS = (255, 1023, 4095, 16383, 65535)  # white of 8, 10, 12, 14 and 16 bits


class _Quiet:
    """Inside the block, warnings are not shown. Threads share one change of Python's filters, which are global."""

    def __init__(self) -> None:
        self.lock, self.inside, self.caught = Lock(), 0, warnings.catch_warnings()

    def __enter__(self) -> None:
        with self.lock:
            self.inside += 1
            if self.inside == 1:
                self.caught = warnings.catch_warnings()
                self.caught.__enter__()
                warnings.simplefilter("ignore")

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                self.caught.__exit__(None, None, None)


QUIET = _Quiet()


class UnusableError(Exception):
    """A picture cannot be used. The message is the reason, as a clause."""


@dataclass(frozen=True)
class Decoded:
    """A picture, and a remark on what is lost from its file, as a clause ("" if nothing is)."""

    picture: Image.Image
    remark: str = ""


def read_picture(path: Path) -> Image.Image:
    """Read a picture as RGB: rotated by its EXIF, transparency on white, the first frame of an animation.

    Values of 16 and 32 bits and floats are scaled to 8 bits; see `eight_bits`.

    Raises:
        TriptychError: there is no such file, or it cannot be read, is not a picture, is damaged, or is larger than 100
            megapixels.
    """
    if not path.is_file():
        raise TriptychError(f"there is no picture {path}")
    try:
        return decode(path).picture
    except UnusableError as error:
        raise TriptychError(f"cannot use the picture {path}: {error}") from error


@cache
def suffixes() -> frozenset[str]:
    """The suffixes of pictures, in lower case: those that Pillow reads, and those that are reported as unusable."""
    from PIL import Image

    known = {suffix for suffix, name in Image.registered_extensions().items() if name in _formats()}
    return frozenset(known | FOREIGN | UNREAD.keys())


def is_picture(path: Path) -> bool:
    """Whether a file is a picture, by its suffix, or by its first bytes if the suffix is unknown."""
    from PIL import Image

    if path.suffix.lower() in suffixes():
        return True
    try:
        with Image.open(path, formats=[name for name in COMMON if name in _formats()]):
            return True
    except Image.DecompressionBombError:
        return True  # it is a picture, and `decode` refuses it
    except Exception:  # decoders raise any type on other bytes
        return False


def format_of(path: Path) -> str:
    """The name of a picture's format by its content, as Pillow has it; "" if it is not known."""
    from PIL import Image

    try:
        with Image.open(path, formats=list(_formats())) as picture:
            return picture.format or ""
    except Exception:  # decoders raise any type on other bytes
        return ""


def decode(path: Path) -> Decoded:
    """Read a picture; see `read_picture`.

    Raises:
        UnusableError: the picture cannot be used.
    """
    from PIL import Image, UnidentifiedImageError

    if path.suffix.lower() in UNREAD:
        raise UnusableError(UNREAD[path.suffix.lower()])
    with QUIET:  # warnings do not matter if the picture opens
        try:
            _load_plug_in(path)
            with Image.open(path, formats=list(_formats())) as picture:
                if picture.width * picture.height > MOST_MEGAPIXELS * 1e6:
                    raise UnusableError(TOO_LARGE)
                return _upright(picture)
        except UnusableError:
            raise
        except Image.DecompressionBombError as error:
            raise UnusableError(TOO_LARGE) from error
        except UnidentifiedImageError as error:
            raise UnusableError("not a picture" if path.stat().st_size else "an empty file") from error
        except Exception as error:  # decoders raise any type on damaged bytes
            raise UnusableError(f"damaged or unreadable ({first_line(error)})") from error


def _upright(picture: Image.Image) -> Decoded:
    from PIL import Image, ImageCms, ImageOps

    several = getattr(picture, "n_frames", 1) if picture.format != "MPO" else 1  # MPO's other pictures are auxiliary
    remark = f"only the first of its {several} pictures is used" if several > 1 else ""
    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith(("I", "F")):
        scaled = eight_bits(upright)
        return Decoded(scaled.picture.convert("RGB"), remark or scaled.remark)
    if upright.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        upright = ImageCms.profileToProfile(upright, lab, srgb, outputMode="RGB") or upright
    if not upright.has_transparency_data:
        return Decoded(upright.convert("RGB"), remark)
    drawing = upright.convert("RGBA")
    return Decoded(Image.alpha_composite(Image.new("RGBA", drawing.size, "white"), drawing).convert("RGB"), remark)


def eight_bits(picture: Image.Image) -> Decoded:
    """Convert one channel of integers or floats to 8-bit grey.

    White is the smallest of 255, 1023, 4095, 16383 and 65535 that no value exceeds, or 1 for floats up to 1. If a value
    is below 0 or above 65535, the range is stretched from black to white. Values that are not finite become black.

    Raises:
        UnusableError: no value is finite.
    """
    import numpy as np
    from PIL import Image

    values: np.ndarray[Any, np.dtype[np.float64]] = np.asarray(picture).astype(np.float64)
    finite = np.isfinite(values)
    if not finite.any():
        raise UnusableError("none of its values is a finite number")
    low, high = float(values[finite].min()), float(values[finite].max())
    whites = [white for white in ((1, *LEVELS) if picture.mode == "F" else LEVELS) if high <= white and low >= 0]
    if whites:
        black, white = 0.0, float(whites[0])
        unusual = whites[0] not in (1, LEVELS[0], LEVELS[-1])
        remark = f"its greatest value is {high:g}, so {white:g} is taken for white" if unusual else ""
    else:
        black, white = low, high if high > low else low + 1
        remark = f"its values, {low:g} to {high:g}, are stretched from black to white"
    grey = (np.where(finite, values, black) - black) * (255 / (white - black))
    return Decoded(Image.fromarray(grey.round().clip(0, 255).astype(np.uint8)), remark)


def _formats() -> list[str]:
    """The formats that Pillow reads with the plug-ins loaded so far, without those that need another program."""
    from PIL import Image

    Image.init()
    return [name for name in Image.OPEN if name not in NO_PICTURES]


def _load_plug_in(path: Path) -> None:
    """Load the plug-in for a HEIC, JPEG XL or AVIF file, whatever its suffix.

    Raises:
        UnusableError: the plug-in is not installed.
    """
    with path.open("rb") as file:
        start = file.read(64)
    if start[4:8] == b"ftyp" and (b"avif" in start or b"avis" in start):
        if "AVIF" not in _formats():
            raise UnusableError("an AVIF, which Pillow reads from 11.3 on; update it (pip install -U pillow)")
    elif start[4:8] == b"ftyp" and start[8:12] in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"):
        _plug_in("pillow_heif", "pillow-heif", "HEIC").register_heif_opener()
    elif start[:2] == b"\xff\x0a" or start[4:12] == b"JXL \r\n\x87\n":
        _plug_in("pillow_jxl", "pillow-jxl-plugin", "JPEG XL")


def _plug_in(module: str, package: str, format_name: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise UnusableError(f"of format {format_name}, which needs a plug-in: pip install {package}") from error
