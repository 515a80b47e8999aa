"""Picture files with the recipe in them: PNG, JPEG, WebP.

A PNG has it in its texts `parameters` and `triptych`. In JPEG and WebP they are EXIF's UserComment, as A1111 writes
it, and ImageDescription.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import TriptychError, first_line
from ..files.atomic import write_bytes
from .recipe import Recipe

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES: Mapping[str, str] = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
QUALITY = 95  # of JPEG and WebP
EXIF, COMMENT, DESCRIPTION = 0x8769, 0x9286, 0x010E  # EXIF's tags: its own table, UserComment, ImageDescription
UNICODE = b"UNICODE\x00"  # begins a comment in UTF-16


def save_picture(path: Path, picture: Image, recipe: Recipe) -> None:
    """Write a picture with its recipe, atomically, in the format of its suffix.

    Raises:
        TriptychError: the file cannot be written.
    """
    parameters, own = recipe.infotext(), json.dumps(asdict(recipe))
    how: dict[str, Any] = {"quality": QUALITY}
    if path.suffix == ".png":
        from PIL.PngImagePlugin import PngInfo

        how = {"pnginfo": (info := PngInfo())}
        info.add_text("parameters", parameters)
        info.add_text("triptych", own)
    else:
        exif = picture.getexif()
        exif[DESCRIPTION] = own
        exif.get_ifd(EXIF)[COMMENT] = UNICODE + parameters.encode("utf-16-be")
        how["exif"] = exif
    buffer = io.BytesIO()
    picture.save(buffer, next(name for name, suffix in SUFFIXES.items() if suffix == path.suffix), **how)
    write_bytes(path, buffer.getvalue())


def texts_of(path: Path) -> dict[str, str]:
    """The texts in a picture by name: `parameters`, `triptych`, ComfyUI's `prompt`.

    Raises:
        TriptychError: there is no such picture, or it cannot be read.
    """
    import PIL.Image

    if not path.is_file():
        raise TriptychError(f"there is no picture {path}")
    try:
        with PIL.Image.open(path) as picture:
            texts = {str(name): value for name, value in picture.info.items() if isinstance(value, str)}
            exif = picture.getexif()
            own, comment = exif.get(DESCRIPTION), exif.get_ifd(EXIF).get(COMMENT)
    except (OSError, ValueError, SyntaxError) as error:
        raise TriptychError(f"{path} is no picture that can be read: {first_line(error)}") from error
    if isinstance(own, str) and own.startswith("{"):
        texts.setdefault("triptych", own)
    if isinstance(comment, bytes) and comment.startswith(UNICODE):
        texts.setdefault("parameters", comment.removeprefix(UNICODE).decode("utf-16-be", "replace"))
    return texts
