"""Pictures as data URLs, so that the report is one file. Small ones keep every pixel, large ones become thumbnails."""

import base64
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image, UnidentifiedImageError

SMALL = 128  # pixels of the larger side, up to which a picture keeps every pixel
THUMBNAIL = 192  # pixels of the larger side of a thumbnail
MANY = 320  # with more pictures in one report, small ones are compressed too, so that the file can be sent


@dataclass(frozen=True)
class Inlined:
    url: str
    width: int  # pixels, of the original
    small: bool  # enlarged on the page, with sharp pixels


def inline(path: Path, many: bool = False) -> Inlined | None:
    """The picture as a data URL (WebP, without its metadata); None where the file is not a picture."""
    try:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
    except (OSError, UnidentifiedImageError):
        return None
    width, small = picture.width, max(picture.size) <= SMALL
    if not small:
        picture.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    picture.save(buffer, "WEBP", lossless=small and not many, quality=90 if small else 80, method=4)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Inlined(f"data:image/webp;base64,{data}", width, small)
