"""What a pickle that torch wrote would build, read from its opcodes: nothing is imported, called or allocated.

The pickle is walked opcode by opcode (`pickletools`) with a stack and a memo of its own. Tensors come out as layouts,
the rest as plain values. A pickle that asks for anything but tensors and plain values is refused, with the name of what
it asks for. All work is bounded by what is read, not by what is claimed: values that a pickle shares or copies many
times over are counted each time. Known is what torch's weights-only loader reads; the opcodes of other protocols are
followed only to name what they ask for.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import prod
from typing import Any

from ..errors import shown

PROTOCOL = 2  # what torch.save writes
LONGEST_PICKLE = 16_000_000  # bytes of opcodes: a checkpoint of thousands of tensors needs a few hundred thousand
MOST_OPCODES = 1_000_000  # some forty a tensor
MOST_COPIES = 1_000_000  # values that a pickle may copy from one list or table into another
DEEPEST = 32  # of nested tables and lists, and of a tensor's shape
SHORT = 64  # values of a list that is kept as a value
MOST_LETTERS = 4_000_000  # of all names together, each counted as fifty more than it has
LARGEST = 2**63  # of sizes, steps and numbers of bytes

STORAGES = {
    "DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16",
    "LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8", "ByteStorage": "U8",
    "BoolStorage": "BOOL", "Float8_e4m3fnStorage": "F8_E4M3", "Float8_e5m2Storage": "F8_E5M2",
}  # fmt: skip
DTYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32",
    "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
    "uint16": "U16", "uint32": "U32", "uint64": "U64",
}  # fmt: skip
WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
          "F8_E4M3": 1, "F8_E5M2": 1, "U16": 2, "U32": 4, "U64": 8}  # fmt: skip
UNTYPED = "torch.storage UntypedStorage"  # bytes, of which the tensor says what they are
BUILDERS = {  # what may be called
    "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_tensor_v3", "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_parameter_with_state", "torch Size", "collections OrderedDict",
}  # fmt: skip
NAMED = BUILDERS | {UNTYPED} | {f"torch {name}" for name in (*STORAGES, *DTYPES)}


@dataclass(frozen=True)
class Global:
    """A name that the pickle asks for, as pickletools gives it: `module name`."""

    name: str


@dataclass(frozen=True)
class Storage:
    """Bytes elsewhere in the file: `numbers` of this kind."""

    dtype: str
    key: str
    numbers: int

    @property
    def bytes(self) -> int:
        return self.numbers * WIDTHS[self.dtype]


@dataclass(frozen=True)
class Tensor:
    """A tensor that would be built."""

    dtype: str
    shape: tuple[int, ...]


class RefusedError(Exception):
    """The rest of a sentence that begins with the file's name."""


@dataclass
class Machine:
    """A pickle's stack and memo; `run` gives the value it would leave.

    What a damaged pickle does to it (a stack that is empty, a text for a number) shows as a ValueError, TypeError,
    IndexError or the like.
    """

    stack: list[Any] = field(default_factory=list)
    marks: list[list[Any]] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    storages: dict[str, Storage] = field(default_factory=dict)
    copied: int = 0

    def run(self, data: Any) -> Any:
        """`data`: bytes, or a file that stands where the pickle begins, and is left where it ends.

        Raises:
            RefusedError: it asks for more than tensors and plain values, or for more than a file of tensors needs.
        """
        unread = ""
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if count > MOST_OPCODES:
                raise RefusedError("has more opcodes than any file of tensors")
            if opcode.name == "STOP":
                break
            step = STEPS.get(opcode.name)
            if step is None:
                asked = f" ({shown(argument)})" if isinstance(argument, str) else ""
                raise RefusedError(f"uses the pickle opcode {opcode.name}{asked}, which no file of tensors needs")
            step(self, argument)
            if opcode.name not in LOADED or (opcode.name == "PROTO" and argument != PROTOCOL):
                unread = opcode.name
        if unread:
            raise RefusedError(
                f"is of a pickle protocol that torch's weights-only loader does not read (opcode {unread}): have it"
                " saved again as .safetensors, or by torch.save as it is by default"
            )
        return self.stack.pop()

    def marked(self) -> list[Any]:
        """What lies above the last mark, taken off with it."""
        below = self.marks.pop()
        above, self.stack = self.stack, below
        return above

    def mark(self) -> None:
        self.marks.append(self.stack)
        self.stack = []
        if len(self.marks) > 10_000:
            raise RefusedError("is nested deeper than any file of tensors")

    def name(self, asked: str) -> None:
        if asked not in NAMED:
            raise RefusedError(
                f"asks for {shown(asked.replace(' ', '.', 1))} when it is loaded: it is not only a file of tensors, do"
                " not load it anywhere (a .safetensors version of it is safe)"
            )
        self.stack.append(Global(asked))

    def name_on_stack(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise RefusedError("asks for something whose name is no text")
        self.name(f"{module} {name}")

    def call(self) -> None:
        given, asked = self.stack.pop(), self.stack.pop()
        if not isinstance(asked, Global) or not isinstance(given, tuple):
            raise RefusedError("calls something that is no builder of tensors")
        self.stack.append(self.build(asked.name, given))

    def build(self, asked: str, given: tuple[Any, ...]) -> Any:
        if asked == "collections OrderedDict":
            return self.table(self.copy(given))
        if asked == "torch Size":
            return tuple(self.copy(given))
        if asked.startswith("torch._utils _rebuild_parameter") and given and isinstance(given[0], Tensor):
            return given[0]
        if asked == "torch._utils _rebuild_tensor_v2" and len(given) >= 4 and isinstance(given[0], Storage):
            return _tensor(given[0], *given[1:4])
        if asked == "torch._utils _rebuild_tensor_v3" and len(given) >= 7 and isinstance(given[6], Global):
            return _tensor(_seen_as(given[0], given[6].name), *given[1:4])
        raise RefusedError(f"builds a tensor by {asked.rpartition(' ')[2]} from what is none")

    def copy(self, given: tuple[Any, ...]) -> list[Any]:
        """The values of the one list or tuple that a call is given, or of none."""
        if not given:
            return []
        if len(given) > 1 or not isinstance(given[0], list | tuple):
            raise RefusedError("builds a table or a shape from what is no list")
        self.copied += len(given[0])
        if self.copied > MOST_COPIES:
            raise RefusedError("copies more values than any file of tensors")
        return list(given[0])

    def table(self, pairs: list[Any]) -> dict[Any, Any]:
        if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
            raise RefusedError("builds a table from what are no pairs")
        table: dict[Any, Any] = {}
        _fill(table, [one for pair in pairs for one in pair])
        return table

    def persistent(self) -> None:
        """`("storage", kind, key, device, numbers)`, which stands for bytes that lie elsewhere in the file.

        Streams have a sixth, for views of storages as PyTorch knew them before 0.4; it is None since.
        """
        given = self.stack.pop()
        right = isinstance(given, tuple) and given[5:] in ((), (None,)) and given[:1] == ("storage",)
        if not right or len(given) < 5 or not (isinstance(given[1], Global) and isinstance(given[2], str)):
            raise RefusedError("names bytes that are no storage of a tensor")
        kind = "U8" if given[1].name == UNTYPED else STORAGES.get(given[1].name.removeprefix("torch "))
        if kind is None or not is_count(given[4]):
            raise RefusedError(f"names a storage of the kind {given[1].name} that is none")
        storage = Storage(kind, given[2], given[4])
        if self.storages.setdefault(storage.key, storage) != storage:
            raise RefusedError(f"describes its storage {shown(storage.key)} in two ways")
        self.stack.append(storage)


def is_count(number: Any) -> bool:
    """Whether it is a number of things or bytes that a machine can have."""
    return type(number) is int and 0 <= number < LARGEST


def _seen_as(storage: Any, asked: str) -> Storage:
    dtype = DTYPES.get(asked.removeprefix("torch "))
    if not isinstance(storage, Storage) or dtype is None or storage.dtype != "U8":
        raise RefusedError("builds a tensor by _rebuild_tensor_v3 from what is none")
    return Storage(dtype, storage.key, storage.numbers // WIDTHS[dtype])


def _tensor(storage: Storage, offset: Any, shape: Any, stride: Any) -> Tensor:
    whole = isinstance(shape, tuple) and isinstance(stride, tuple) and len(shape) == len(stride) <= DEEPEST
    if not (whole and all(map(is_count, (offset, *shape, *stride)))):
        raise RefusedError("describes a tensor whose shape is none")
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    if prod(shape) and last >= storage.numbers:
        raise RefusedError(f"describes a tensor of shape {shown(shape)} in a storage of only {storage.numbers} numbers")
    if prod(shape) > storage.numbers:
        raise RefusedError(f"describes a tensor of shape {shown(shape)} in a storage of {storage.numbers} numbers")
    return Tensor(storage.dtype, shape)


def _fill(table: Any, pairs: list[Any]) -> None:
    if not isinstance(table, dict) or len(pairs) % 2:
        raise RefusedError("sets entries of something that is no table")
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        if not isinstance(key, str | int | float | None):
            raise RefusedError("has a table whose keys are neither texts nor numbers")
        table[key] = value


def _extend(values: Any, items: list[Any]) -> None:
    if not isinstance(values, list):
        raise RefusedError("appends to something that is no list")
    values.extend(items)


def _append(machine: Machine) -> None:
    item = machine.stack.pop()
    _extend(machine.stack[-1], [item])


def _extend_marked(machine: Machine) -> None:
    items = machine.marked()
    _extend(machine.stack[-1], items)


def _set_one(machine: Machine) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    _fill(machine.stack[-1], [key, value])


def _set_marked(machine: Machine) -> None:
    pairs = machine.marked()
    _fill(machine.stack[-1], pairs)


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


Step = Callable[[Machine, Any], Any]
LOADED: dict[str, Step] = {  # what torch's weights-only loader reads
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "SHORT_BINSTRING", "BINUNICODE"), _put),
    "PROTO": lambda m, x: None,
    "NONE": lambda m, x: _put(m, None),
    "NEWTRUE": lambda m, x: _put(m, True),
    "NEWFALSE": lambda m, x: _put(m, False),
    "EMPTY_LIST": lambda m, x: _put(m, []),
    "EMPTY_TUPLE": lambda m, x: _put(m, ()),
    "EMPTY_DICT": lambda m, x: _put(m, {}),
    "MARK": lambda m, x: m.mark(),
    "TUPLE": lambda m, x: _put(m, tuple(m.marked())),
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    "APPEND": lambda m, x: _append(m),
    "APPENDS": lambda m, x: _extend_marked(m),
    "SETITEM": lambda m, x: _set_one(m),
    "SETITEMS": lambda m, x: _set_marked(m),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), _remember),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), _recall),
    "GLOBAL": lambda m, x: m.name(x),
    "REDUCE": lambda m, x: m.call(),
    "BUILD": lambda m, x: _state(m),
    "BINPERSID": lambda m, x: m.persistent(),
}  # fmt: skip
STEPS: dict[str, Step] = LOADED | {
    **dict.fromkeys(
        ("INT", "LONG", "FLOAT", "STRING", "BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE8"), _put
    ),
    "FRAME": lambda m, x: None,
    "POP": lambda m, x: m.stack.pop(),
    "LIST": lambda m, x: _put(m, m.marked()),
    **dict.fromkeys(("PUT", "MEMOIZE"), _remember),
    "GET": _recall,
    "STACK_GLOBAL": lambda m, x: m.name_on_stack(),
}


def flatten(value: Any, tensor: type) -> Iterator[tuple[str, Any]]:
    """Names joined by dots and what they hold: `string_to_param.*`, `768.0.linear.0.weight`; a bare tensor's is "".

    Lists of a few plain values are kept whole, longer ones left out.

    Raises:
        RefusedError: it is nested too deeply, or has too many names.
        UnicodeEncodeError: a text that is no Unicode.
    """
    return _walk(value, tensor, "", 0, [MOST_LETTERS])


def _walk(value: Any, tensor: type, name: str, depth: int, left: list[int]) -> Iterator[tuple[str, Any]]:
    left[0] -= 50 + len(name) + (len(value) if isinstance(value, str | list | tuple) else 0)
    if depth > DEEPEST or left[0] < 0:
        raise RefusedError("is nested deeper, or holds more, than any file of tensors")
    inner = (dict, list, tuple, tensor)
    if isinstance(value, (tensor, str, int, float, type(None))):
        (name + value if isinstance(value, str) else name).encode()
        yield name, value
    elif isinstance(value, list | tuple) and not any(issubclass(one, inner) for one in set(map(type, value))):
        if len(value) <= SHORT:
            yield name, list(value)
    elif isinstance(value, dict | list | tuple):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _walk(one, tensor, f"{name}.{key}" if name else str(key), depth + 1, left)
