"""What a pickle that torch wrote would build, read from its opcodes: nothing is imported, called or allocated.

The file is walked opcode by opcode (`pickletools`) with a stack and a memo of its own. Tensors come out as layouts,
the rest as plain values. A pickle that asks for anything but tensors and plain values is refused, with the name of what
it asks for. Both containers of `torch.save` are known: the zip archive and the stream of before PyTorch 1.6.
"""

from __future__ import annotations

import io
import pickletools
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from .errors import TriptychError

MAGIC = 0x1950A86A20F9469CFC6C  # the first value of the old stream
LONGEST_PICKLE = 64_000_000  # bytes of opcodes: a checkpoint of thousands of tensors needs a few hundred thousand
MOST_OPCODES = 20_000_000
MOST_ENTRIES = 200_000  # of an archive, and of names in a file
DEEPEST = 32  # of nested tables and lists
SHORT = 64  # values of a list that is kept as a value

STORAGES = {
    "DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16",
    "LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8", "ByteStorage": "U8",
    "BoolStorage": "BOOL", "Float8_e4m3fnStorage": "F8_E4M3", "Float8_e5m2Storage": "F8_E5M2",
}  # fmt: skip
WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
          "F8_E4M3": 1, "F8_E5M2": 1}  # fmt: skip
BUILDERS = {  # what may be called, besides the storages above that may be named
    "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter", "torch Size", "collections OrderedDict",
}  # fmt: skip


@dataclass(frozen=True)
class Global:
    """A name that the pickle asks for, as pickletools gives it: `module name`."""

    name: str


@dataclass(frozen=True)
class Storage:
    dtype: str
    key: str
    numbers: int


@dataclass(frozen=True)
class Tensor:
    """A tensor that would be built."""

    dtype: str
    shape: tuple[int, ...]


class RefusedError(Exception):
    """The rest of a sentence that begins with the file's name."""


@dataclass
class Machine:
    """A pickle's stack and memo; `run` gives the value it would leave."""

    stack: list[Any] = field(default_factory=list)
    marks: list[list[Any]] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    storages: dict[str, Storage] = field(default_factory=dict)

    def run(self, data: Any) -> Any:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if count > MOST_OPCODES:
                raise RefusedError("has more opcodes than any file of tensors")
            if opcode.name == "STOP":
                return self.stack.pop()
            step = STEPS.get(opcode.name)
            if step is None:
                asked = f" ({argument})" if isinstance(argument, str) else ""
                raise RefusedError(f"uses the pickle opcode {opcode.name}{asked}, which no file of tensors needs")
            step(self, argument)
        raise RefusedError("is a pickle without an end")

    def marked(self) -> list[Any]:
        """What lies above the last mark, taken off with it."""
        above = self.stack
        self.stack = self.marks.pop()
        return above

    def mark(self) -> None:
        self.marks.append(self.stack)
        self.stack = []
        if len(self.marks) > 10_000:
            raise RefusedError("is nested deeper than any file of tensors")

    def name(self, asked: str) -> None:
        if asked not in BUILDERS and not (asked.startswith("torch ") and asked[6:] in STORAGES):
            raise RefusedError(
                f"asks for {asked.replace(' ', '.', 1)} when it is loaded: it is not only a file of tensors, do not"
                " load it anywhere (a .safetensors version of it is safe)"
            )
        self.stack.append(Global(asked))

    def call(self) -> None:
        given, asked = self.stack.pop(), self.stack.pop()
        if not isinstance(asked, Global) or not isinstance(given, tuple):
            raise RefusedError("calls something that is no builder of tensors")
        self.stack.append(self.build(asked.name, given))

    def build(self, asked: str, given: tuple[Any, ...]) -> Any:
        if asked == "collections OrderedDict":
            return dict(given[0]) if given else {}
        if asked == "torch Size":
            return tuple(given[0]) if given else ()
        if asked == "torch._utils _rebuild_parameter" and given and isinstance(given[0], Tensor):
            return given[0]
        if asked == "torch._utils _rebuild_tensor_v2" and len(given) >= 4 and isinstance(given[0], Storage):
            return _tensor(*given[:4])
        raise RefusedError(f"builds a tensor by {asked.rpartition(' ')[2]} from what is none")

    def persistent(self) -> None:
        """`("storage", kind, key, device, numbers)`, which stands for bytes that lie elsewhere in the file."""
        given = self.stack.pop()
        right = isinstance(given, tuple) and len(given) >= 5 and given[0] == "storage" and isinstance(given[1], Global)
        if not right or not isinstance(given[2], str) or not _count(given[4]):
            raise RefusedError("names bytes that are no storage of a tensor")
        storage = Storage(STORAGES.get(given[1].name.removeprefix("torch "), ""), given[2], given[4])
        if not storage.dtype:
            raise RefusedError(f"names a storage of the kind {given[1].name}, which is none")
        if self.storages.setdefault(storage.key, storage) != storage:
            raise RefusedError(f"describes its storage {storage.key} in two ways")
        self.stack.append(storage)


def _count(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= 0


def _tensor(storage: Storage, offset: Any, shape: Any, stride: Any) -> Tensor:
    whole = isinstance(shape, tuple) and isinstance(stride, tuple) and len(shape) == len(stride) <= DEEPEST
    if not (whole and all(map(_count, (offset, *shape, *stride)))):
        raise RefusedError("describes a tensor whose shape is none")
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    if prod(shape) and last >= storage.numbers:
        raise RefusedError(f"describes a tensor of shape {shape} in a storage of only {storage.numbers} numbers")
    if prod(shape) > storage.numbers:
        raise RefusedError(f"describes a tensor of {prod(shape)} numbers in a storage of {storage.numbers}")
    return Tensor(storage.dtype, shape)


def _fill(machine: Machine, pairs: list[Any]) -> None:
    table = machine.stack[-1]
    if not isinstance(table, dict) or len(pairs) % 2:
        raise RefusedError("sets entries of something that is no table")
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        if not isinstance(key, str | int | float | bool | None):
            raise RefusedError("has a table whose keys are neither texts nor numbers")
        table[key] = value


def _extend(machine: Machine, items: list[Any]) -> None:
    if not isinstance(machine.stack[-1], list):
        raise RefusedError("appends to something that is no list")
    machine.stack[-1].extend(items)


def _state(machine: Machine) -> None:
    """BUILD: of an OrderedDict's or a tensor's attributes, which hold nothing that is needed."""
    machine.stack.pop()
    if not isinstance(machine.stack[-1], dict | Tensor):
        raise RefusedError("sets the state of something that is neither a table nor a tensor")


def _recall(machine: Machine, place: Any) -> None:
    if int(place) not in machine.memo:
        raise RefusedError("recalls a value that it never made")
    machine.stack.append(machine.memo[int(place)])


def _remember(machine: Machine, place: Any) -> None:
    machine.memo[len(machine.memo) if place is None else int(place)] = machine.stack[-1]


def _put(machine: Machine, value: Any) -> None:
    machine.stack.append(value)


def _tuple(size: int) -> Callable[[Machine, Any], None]:
    def step(machine: Machine, _: Any) -> None:
        if len(machine.stack) < size:
            raise IndexError
        items = tuple(machine.stack[-size:])
        machine.stack[-size:] = [items]

    return step


def _stack_global(machine: Machine) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    machine.name(f"{module} {name}")


def _set_one(machine: Machine) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    _fill(machine, [key, value])


STEPS: dict[str, Callable[[Machine, Any], Any]] = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda m, x: None),
    **dict.fromkeys(
        ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
         "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"), _put,
    ),
    "NONE": lambda m, x: _put(m, None),
    "NEWTRUE": lambda m, x: _put(m, True),
    "NEWFALSE": lambda m, x: _put(m, False),
    "EMPTY_LIST": lambda m, x: _put(m, []),
    "EMPTY_TUPLE": lambda m, x: _put(m, ()),
    "EMPTY_DICT": lambda m, x: _put(m, {}),
    "MARK": lambda m, x: m.mark(),
    "POP": lambda m, x: m.stack.pop(),
    "TUPLE": lambda m, x: _put(m, tuple(m.marked())) if m.marks else m.marks.pop(),
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    "LIST": lambda m, x: _put(m, m.marked()),
    "APPEND": lambda m, x: _extend(m, [m.stack.pop()]),
    "APPENDS": lambda m, x: _extend(m, m.marked()),
    "SETITEM": lambda m, x: _set_one(m),
    "SETITEMS": lambda m, x: _fill(m, m.marked()),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _remember),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _recall),
    "GLOBAL": lambda m, x: m.name(x),
    "STACK_GLOBAL": lambda m, x: _stack_global(m),
    "REDUCE": lambda m, x: m.call(),
    "BUILD": lambda m, x: _state(m),
    "BINPERSID": lambda m, x: m.persistent(),
}  # fmt: skip


def header(path: Path) -> list[tuple[str, Any]]:
    """The names and values of a file that torch wrote, tensors as `Tensor`; see `flatten` for the names.

    Raises:
        TriptychError: it is damaged, or asks for more than tensors and plain values.
    """
    try:
        with path.open("rb") as file:
            value = _archive(file) if file.read(4) == b"PK\x03\x04" else _stream(file)
        return list(flatten(value, Tensor))
    except RefusedError as error:
        raise TriptychError(f"{path} {error}") from None
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError) as error:
        raise TriptychError(f"{path} is a damaged archive: {error}") from error
    except (ValueError, TypeError, IndexError, AttributeError, OverflowError, EOFError, RecursionError) as error:
        raise TriptychError(f"{path} is a damaged pickle, cut off or changed on its way") from error


def flatten(value: Any, tensor: type) -> Iterator[tuple[str, Any]]:
    """Names joined by dots and what they hold: `string_to_param.*`, `768.0.linear.0.weight`; a bare tensor's is "".

    Lists of a few plain values are kept whole, longer ones left out.

    Raises:
        RefusedError: it is nested too deeply, or has too many names.
    """
    return _walk(value, tensor, "", 0, [MOST_ENTRIES])


def _walk(value: Any, tensor: type, name: str, depth: int, left: list[int]) -> Iterator[tuple[str, Any]]:
    left[0] -= 1
    if depth > DEEPEST or left[0] < 0:
        raise RefusedError("is nested deeper, or holds more, than any file of tensors")
    if isinstance(value, (tensor, str, int, float, bool, type(None))):
        yield name, value
    elif isinstance(value, list | tuple) and not any(isinstance(one, dict | list | tuple | tensor) for one in value):
        if len(value) <= SHORT:
            yield name, list(value)
    elif isinstance(value, dict | list | tuple):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _walk(inner, tensor, f"{name}.{key}" if name else str(key), depth + 1, left)


def _archive(file: BinaryIO) -> Any:
    """The zip container: `NAME/data.pkl`, and a record `NAME/data/KEY` for each storage."""
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        _check_entries(entries, file.seek(0, io.SEEK_END))
        pickles = [entry for entry in entries if re.fullmatch(r"([^/]*/)?data\.pkl", entry.filename)]
        if len(pickles) != 1:
            raise RefusedError("is a zip archive, but not one of tensors (it has no data.pkl)")
        if pickles[0].file_size > LONGEST_PICKLE:
            raise RefusedError("has a pickle longer than any file of tensors")
        machine = Machine()
        value = machine.run(archive.read(pickles[0]))
        root = pickles[0].filename.removesuffix("data.pkl")
        records = {entry.filename: entry.file_size for entry in entries}
    for key, storage in machine.storages.items():
        has = records.get(f"{root}data/{key}")
        if has is None or has < storage.numbers * WIDTHS[storage.dtype]:
            raise RefusedError(
                f"lacks bytes of its storage {key}: {has or 0} of {storage.numbers * WIDTHS[storage.dtype]}"
            )
    return value


def _check_entries(entries: list[zipfile.ZipInfo], length: int) -> None:
    """torch stores its records side by side and uncompressed, under plain names."""
    if len(entries) > MOST_ENTRIES:
        raise RefusedError("is an archive of more entries than any file of tensors")
    names, end = set(), 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if not _plain(entry.orig_filename):
            raise RefusedError(f"holds an entry that would be written outside: {entry.orig_filename!r}")
        if entry.filename in names:
            raise RefusedError(f"holds two entries called {entry.filename!r}")
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            raise RefusedError(f"holds a compressed or encrypted entry ({entry.filename!r}), which torch never writes")
        if entry.header_offset < end or entry.header_offset + entry.file_size > length:
            raise RefusedError(f"holds entries that overlap or reach beyond its end ({entry.filename!r})")
        names.add(entry.filename)
        end = entry.header_offset + entry.file_size


def _plain(name: str) -> bool:
    """A path that stays within its folder on every system."""
    parts = name.split("/")
    return not (".." in parts or parts[0] == "" or any(sign in name for sign in "\\:\0"))


class _Bounded:
    """A file that is never asked for more than it has: a length that lies would be allocated before it is read."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.length = file, file.seek(0, io.SEEK_END)
        file.seek(0)

    def read(self, count: int) -> bytes:
        if count > self.length - self.file.tell():
            raise EOFError
        return self.file.read(count)

    def readline(self) -> bytes:
        return self.file.readline(LONGEST_PICKLE)

    def tell(self) -> int:
        return self.file.tell()


def _stream(opened: BinaryIO) -> Any:
    """The old container: four pickles, the last of them the value; then the keys of the storages and their bytes."""
    file = _Bounded(opened)
    if Machine().run(file) != MAGIC:
        raise RefusedError("is a pickle, but not a file that torch wrote")
    Machine().run(file)  # the protocol's version
    Machine().run(file)  # the writer's machine
    machine = Machine()
    value = machine.run(file)
    keys = Machine().run(file)
    there = file.length - file.tell()
    wanted = sum(8 + storage.numbers * WIDTHS[storage.dtype] for storage in machine.storages.values())
    if not isinstance(keys, list) or set(keys) != machine.storages.keys():
        raise RefusedError("does not list the storages that it names")
    if there < wanted:
        raise RefusedError(f"is cut off: {there} of {wanted} bytes of its tensors are there")
    return value
