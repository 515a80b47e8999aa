"""The two containers of `torch.save`, read without torch: the zip archive, and the stream of PyTorch before 1.6.

An archive must have the layout that torch writes. Its entries are stored, not compressed, and lie in one folder without
gaps. Each has the same name in its local header and in the central directory, and the central directory is at the very
end. So every zip reader finds the same bytes in it. `pickles` reads what the archive would build.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from ..errors import TriptychError, shown
from .nested import Flat
from .pickle_machine import LONGEST_PICKLE, Machine
from .pickle_values import RefusedError, Storage
from .pickles import run

MAGIC = 0x1950A86A20F9469CFC6C  # the first value of the old stream
MOST_ENTRIES = 50_000  # of an archive
LONGEST_LIST = 8_000_000  # bytes of an archive's list of entries
LOCAL = struct.Struct("<4s5H3I2H")  # an entry's local header; its name and an extra field follow
END, END64 = struct.Struct("<4s4H2IH"), struct.Struct("<4sQ2H2I4Q")  # the end of central directory record, and ZIP64's
LOCATOR = 20  # bytes of the ZIP64 locator, which lies between the two

DAMAGE = (ValueError, TypeError, LookupError, AttributeError, OverflowError, EOFError, RecursionError, struct.error)


@dataclass(frozen=True)
class Content:
    """The content of a file that torch wrote.

    Attributes:
        items: names and values; a tensor is a `pickle_values.Tensor`.
        starts: the byte of the file at which each storage begins.
        left_out: counts of what is neither a tensor nor a plain value, by type.
    """

    items: list[tuple[str, Any]]
    starts: Mapping[str, int]
    left_out: Counter[str]


def content(file: BinaryIO, name: str) -> Content:
    """Read the content of `file`. Errors call the file `name`.

    Raises:
        TriptychError: the file is damaged, could do harm, or asks for more than a file of tensors needs.
    """
    try:
        file.seek(0)
        archived = file.read(4) == b"PK\x03\x04"
        machine, value, starts = _archive(file) if archived else _stream(file)
        flat = Flat(machine.left_out)
        return Content(list(flat.items(value)), starts, flat.left_out)
    except RefusedError as error:
        raise TriptychError(f"{name} {error}") from None
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError) as error:
        raise TriptychError(f"{name} is a damaged archive: {shown(str(error))}") from error
    except DAMAGE as error:
        raise TriptychError(f"{name} is a damaged pickle, cut off or changed on its way") from error


def _archive(file: BinaryIO) -> tuple[Machine, Any, dict[str, int]]:
    """The zip container: `NAME/data.pkl`, and a record `NAME/data/KEY` for each storage."""
    directory = _directory(file)
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        names = [entry.filename for entry in entries]
        found = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(found) != 1:
            raise RefusedError(f"is a zip archive, but not one of tensors; it holds {shown(', '.join(names[:5]))}")
        root = found[0].removesuffix("data.pkl")
        if f"{root}constants.pkl" in names:
            raise RefusedError("is a TorchScript program, not a file of tensors")
        begins = _check_entries(file, entries, root, directory)
        sizes = {entry.filename.removeprefix(root): entry.file_size for entry in entries}
        if sizes["data.pkl"] > LONGEST_PICKLE:
            raise RefusedError("has a pickle longer than any file of tensors")
        if "byteorder" in sizes and (sizes["byteorder"] > 6 or archive.read(f"{root}byteorder") != b"little"):
            raise RefusedError("has its bytes in the order of another kind of machine: have it saved as .safetensors")
        machine = Machine()
        value = run(machine, archive.read(found[0]))
    _check_storages(machine.storages, sizes)
    return machine, value, {key: begins[f"{root}data/{key}"] for key in machine.storages}


def _directory(file: BinaryIO) -> int:
    """The byte at which the central directory begins.

    The central directory must end where the end records begin, and the end records must end the file. This is checked
    before the directory is read, since it could be as long as the file.
    """
    length = file.seek(0, io.SEEK_END)
    tail = END.size + LOCATOR + END64.size
    file.seek(max(0, length - tail))
    last = file.read(tail)
    if len(last) < END.size or last[-END.size :][:4] != b"PK\x05\x06" or last[-2:] != b"\0\0":
        raise RefusedError("is an archive that is cut off, or has something at its end that is not its own")
    _, _, _, _, count, size, offset, _ = END.unpack(last[-END.size :])
    end = length - END.size
    if last[-END.size - LOCATOR :][:4] == b"PK\x06\x07":
        if len(last) < tail or last[:4] != b"PK\x06\x06":
            raise RefusedError("is an archive whose end is damaged")
        count, size, offset = END64.unpack(last[: END64.size])[-3:]
        end = length - tail
    if count > MOST_ENTRIES or size > LONGEST_LIST:
        raise RefusedError("is an archive of more entries than any file of tensors")
    if offset + size != end:
        raise RefusedError("is an archive whose list of entries is not where it says: bytes were lost or added")
    return int(offset)


def _check_entries(file: BinaryIO, entries: list[zipfile.ZipInfo], root: str, directory: int) -> dict[str, int]:
    """The byte at which each entry begins. Names that differ in case alone count as the same, as they do for torch."""
    names, begins, end = set[str](), dict[str, int](), 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        name = shown(repr(entry.orig_filename))
        if not _plain(entry.orig_filename):
            raise RefusedError(f"holds an entry that would be written outside: {name}")
        if not entry.filename.startswith(root):
            raise RefusedError(f"holds an entry outside its folder {shown(root)}: {name}")
        if entry.filename.lower() in names:
            raise RefusedError(f"holds two entries called {name}")
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 or entry.compress_size != entry.file_size:
            raise RefusedError(f"holds a compressed or encrypted entry ({name}), which torch never writes")
        begin = _begin(file, entry)
        if entry.header_offset < end or begin + entry.file_size > directory:
            raise RefusedError(f"holds entries that overlap or reach beyond its end ({name})")
        names.add(entry.filename.lower())
        begins[entry.filename] = begin
        end = begin + entry.file_size
    return begins


def _begin(file: BinaryIO, entry: zipfile.ZipInfo) -> int:
    """The byte at which an entry's data begin, by its local header."""
    name = entry.orig_filename.encode("utf-8" if entry.flag_bits & 0x800 else "cp437")
    file.seek(entry.header_offset)
    head = file.read(LOCAL.size + len(name))
    if len(head) < LOCAL.size + len(name):
        raise RefusedError(f"holds entries that overlap or reach beyond its end ({shown(repr(entry.orig_filename))})")
    sign, _, flags, method, _, _, _, packed, size, letters, extra = LOCAL.unpack(head[: LOCAL.size])
    # 0xFFFFFFFF: the size is in the extra field; 0 with flag 8: it follows the data.
    sizes = {entry.file_size, 0xFFFFFFFF} | ({0} if flags & 8 else set())
    same = (sign, method, letters, head[LOCAL.size :]) == (b"PK\x03\x04", zipfile.ZIP_STORED, len(name), name)
    if not same or not {packed, size} <= sizes:
        raise RefusedError(f"says two things of its entry {shown(repr(entry.orig_filename))}")
    begin: int = entry.header_offset + LOCAL.size + letters + extra
    return begin


def _plain(name: str) -> bool:
    """A path that stays within its folder on every system."""
    parts = name.split("/")
    return not (".." in parts or parts[0] == "" or any(sign in name for sign in "\\:\0"))


def _check_storages(storages: Mapping[str, Storage], sizes: Mapping[str, int]) -> None:
    for key, storage in storages.items():
        has = sizes.get(f"data/{key}", 0)
        if has < storage.bytes or f"data/{key}" not in sizes:
            raise RefusedError(f"lacks bytes of its storage {shown(key)}: it has {has} of {storage.bytes}")


class _Bounded:
    """A file that reads no more bytes than a pickle may have.

    Python allocates the length that a pickle claims before it reads, so a false length must be refused first.
    `file` is at the start of the first pickle; `length` is that of the whole file.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.length = file, file.seek(0, io.SEEK_END)
        file.seek(0)

    def read(self, count: int) -> bytes:
        if count > self.length - self.tell():
            raise EOFError
        return self._counted(self.file.read(min(count, LONGEST_PICKLE)))

    def readline(self) -> bytes:
        return self._counted(self.file.readline(LONGEST_PICKLE))

    def tell(self) -> int:
        return self.file.tell()

    def _counted(self, data: bytes) -> bytes:
        if self.tell() > LONGEST_PICKLE:
            raise RefusedError("has a pickle longer than any file of tensors")
        return data


def _stream(opened: BinaryIO) -> tuple[Machine, Any, dict[str, int]]:
    """Read the old container: four pickles, the last of which is the value, then the storages' keys and bytes."""
    file = _Bounded(opened)
    if run(Machine(), file) != MAGIC:
        raise RefusedError("is a pickle, but not a file that torch wrote")
    run(Machine(), file)  # the protocol's version
    run(Machine(), file)  # the writer's machine
    machine = Machine()
    value = run(machine, file)
    keys = run(Machine(), file)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise RefusedError("does not list the storages that it names")
    if sorted(keys) != sorted(machine.storages):
        raise RefusedError("does not list the storages that it names")
    return machine, value, {key: _skip(opened, machine.storages[key], file.length) for key in keys}


def _skip(file: BinaryIO, storage: Storage, length: int) -> int:
    """Skip a storage's count and its bytes; return the byte at which the bytes begin."""
    begin = file.tell()
    there, needed = length - begin, 8 + storage.bytes
    if there < needed:
        raise RefusedError(f"is cut off: of its storage {shown(storage.key)} there are {there} of {needed} bytes")
    if int.from_bytes(file.read(8), "little") != storage.numbers:
        raise RefusedError(f"is damaged: its storage {shown(storage.key)} is of another size than its pickle says")
    file.seek(begin + needed)
    return begin + 8
