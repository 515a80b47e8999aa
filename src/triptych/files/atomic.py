"""Atomic writing: to a temporary name in the same folder, then rename. What existed before is not lost."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from ..errors import Remedy, TriptychError, shown
from ..shell import writable


def temporary_name(path: Path) -> Path:
    """A short name beside `path` that no other write uses."""
    return path.with_name(f".{uuid4().hex[:16]}.tmp")


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)  # errors of a write that do not name a file


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`. It replaces `path` when the block succeeds, and is deleted when it fails.

    Each call uses its own temporary path, so two writers of one file do not mix their bytes. The last one wins.

    Raises:
        TriptychError: the folder cannot be made or written, or the disk is full. Other errors of the block pass
            unchanged.
    """
    temporary = temporary_name(path)
    try:
        with _writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        with _writing(path, temporary):
            yield temporary
        with _writing(path):
            temporary.replace(path)
    finally:
        with suppress(OSError):  # its folder may be gone, or not a folder
            temporary.unlink(missing_ok=True)


@contextmanager
def _writing(path: Path, only: Path | None = None) -> Iterator[None]:
    """Turn an OSError into "cannot write `path`". With `only`: only errors of that path and of a full disk."""
    try:
        yield
    except OSError as error:
        if only is not None and not _concerns(error, only):
            raise
        raise TriptychError(f"cannot write {path}: {error.strerror or error}", Remedy.OTHER_PLACE) from error


def _concerns(error: OSError, place: Path) -> bool:
    if error.filename is None:
        return error.errno in FULL
    named = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes | Path) else None
    return named is not None and (named == place or place in named.parents)


@contextmanager
def replacing_entries(folder: Path, last: str) -> Iterator[Path]:
    """Yield a temporary folder. When the block succeeds, its entries are moved into `folder`, one rename each.

    Other entries of `folder` stay. The file `last` marks a complete folder: an old one is deleted before anything is
    replaced, and the new one is moved last.

    Raises:
        TriptychError: the folder cannot be made or written, or the disk is full.
    """
    temporary = temporary_name(folder)
    try:
        with _writing(folder):
            if folder.exists():
                folder.mkdir(exist_ok=True)  # fails at once where a file of that name exists
            temporary.mkdir(parents=True)
        with _writing(folder, temporary):
            yield temporary
        with _writing(folder):
            folder.mkdir(exist_ok=True)
            (folder / last).unlink(missing_ok=True)
            for entry in sorted(temporary.iterdir(), key=lambda entry: entry.name == last):
                old = folder / entry.name
                if old.is_dir() and not old.is_symlink():
                    shutil.rmtree(old)
                entry.replace(old)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def make_folder(folder: Path) -> None:
    """Make the folder and check that it can be written, before long work begins.

    Raises:
        TriptychError: the folder cannot be made, or nothing can be written in it.
    """
    probe = temporary_name(folder / "probe")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise TriptychError(f"nothing can be written in {folder}: {error.strerror}", Remedy.OTHER_PLACE) from error


def check_place(path: Path) -> None:
    """Check that a file can be written at `path`, before long work begins. It may replace an old one.

    Raises:
        TriptychError: its name or path is too long, it is a folder, or nothing can be written beside it.
    """
    try:
        os.lstat(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            long = f"{len(os.fsencode(path.name))} bytes, in a path of {len(os.fsencode(path.absolute()))}"
            raise TriptychError(f"the name {shown(path.name)} is too long ({long}); choose a shorter one") from error
        raise TriptychError(f"cannot write {path}: {error.strerror}", Remedy.OTHER_PLACE) from error
    if path.is_dir():
        raise TriptychError(f"{path} is a folder, not the name of a file", Remedy.OTHER_PLACE)
    make_folder(path.parent)


def shortened(name: str, most: int = 200) -> str:
    """The name, cut to `most` bytes. File systems allow 255."""
    return os.fsencode(name)[:most].decode("utf-8", "ignore")


def write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(writable(text), encoding="utf-8")


def write_bytes(path: Path, data: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def cache_folder() -> Path:
    """The cache folder: `TRIPTYCH_CACHE`, or `triptych` in the user's cache folder. Its files can be made again."""
    own = os.environ.get("TRIPTYCH_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "triptych"
