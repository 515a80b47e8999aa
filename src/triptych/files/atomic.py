"""Writing so that nothing that existed is lost: to a temporary name in the same folder, then rename."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from ..errors import TriptychError, shown
from ..shell import writable


def temporary_name(path: Path) -> Path:
    """A name beside `path` that no other write has, and that is short however long the name of `path` is."""
    return path.with_name(f".{uuid4().hex[:16]}.tmp")


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)  # of a write that names no file


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, and vanishes when it does not.

    Each call has a path of its own, so writers of one file do not meet: the last to end wins, whole.

    Raises:
        TriptychError: the folder cannot be made or written, or the disk is full. Errors of the block that do not come
            from writing there pass unchanged.
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
        with suppress(OSError):  # where its folder is gone or is none
            temporary.unlink(missing_ok=True)


@contextmanager
def _writing(path: Path, only: Path | None = None) -> Iterator[None]:
    """Turn an OSError into "cannot write `path`"; with `only`, if it is about that place or a full disk."""
    try:
        yield
    except OSError as error:
        if only is not None and not _concerns(error, only):
            raise
        raise TriptychError(
            f"cannot write {path}: {error.strerror or error}; choose another place with --out"
        ) from error


def _concerns(error: OSError, place: Path) -> bool:
    if error.filename is None:
        return error.errno in FULL
    named = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes | Path) else None
    return named is not None and (named == place or place in named.parents)


@contextmanager
def replacing_entries(folder: Path, last: str) -> Iterator[Path]:
    """A temporary folder whose entries take their places in `folder`, each whole, when the block ends well.

    What is in `folder` under other names stays. The file called `last` says that a folder is whole: an old one goes
    before anything is replaced, the new one comes when all else is there.

    Raises:
        TriptychError: the folder cannot be made or written, or the disk is full.
    """
    temporary = temporary_name(folder)
    try:
        with _writing(folder):
            if folder.exists():
                folder.mkdir(exist_ok=True)  # which a file refuses, before long work begins
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
    """Make sure, before long work begins, that its result can be written.

    Raises:
        TriptychError: the folder cannot be made, or nothing can be written in it.
    """
    probe = temporary_name(folder / "probe")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise TriptychError(f"nothing can be written in {folder}: {error.strerror}; give another --out") from error


def check_place(path: Path) -> None:
    """Make sure, before long work begins, that a file can be written at `path`, over an old one if there is one.

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
        raise TriptychError(f"cannot write {path}: {error.strerror}; choose another place with --out") from error
    if path.is_dir():
        raise TriptychError(f"{path} is a folder; give the name of a file with --out")
    make_folder(path.parent)


def shortened(name: str, most: int = 200) -> str:
    """The name, cut to so many bytes: file systems take 255 in all."""
    return os.fsencode(name)[:most].decode("utf-8", "ignore")


def write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(writable(text), encoding="utf-8")


def write_bytes(path: Path, data: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def cache_folder() -> Path:
    """Where what can be made again is kept: `TRIPTYCH_CACHE`, or `triptych` in the user's cache folder."""
    own = os.environ.get("TRIPTYCH_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "triptych"
