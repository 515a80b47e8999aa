"""The machine that interprets a pickle with a stack and a memo. It imports and calls nothing.

It understands the calls that build tensors, dicts, modules and NumPy numbers. Objects of other classes become stubs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

from ..errors import shown
from . import pickled_numpy
from .kinds import KINDS
from .nested import what
from .pickle_names import WARNING, check_call, screened
from .pickle_values import (
    DEEPEST,
    Global,
    RefusedError,
    Storage,
    Stub,
    Tensor,
    content_of,
    is_count,
    is_key,
)

LONGEST_PICKLE = 16_000_000  # bytes of opcodes: a checkpoint of thousands of tensors needs a few hundred thousand
MOST_COPIES = 1_000_000  # values that a pickle may copy from one list or dict into another
STORAGES = {f"{kind.storage}Storage": name for name, kind in KINDS.items() if kind.storage}
DTYPES = {f"torch {kind.torch}": name for name, kind in KINDS.items()}
UNTYPED = ("torch.storage UntypedStorage", "torch.storage _UntypedStorage")  # bytes; the tensor states the data type
PARAMETERS = ("_parameters", "_buffers", "_modules")  # keys of a module's state


@dataclass
class Machine:
    """The stack and the memo of a pickle. `pickles.run` feeds it the opcodes.

    `left_out` counts dict entries that were dropped because of their keys, by the key's type. A damaged pickle (an
    empty stack, a text where a number belongs) raises ValueError, TypeError, IndexError or similar.
    """

    stack: list[Any] = field(default_factory=list)
    marks: list[list[Any]] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    storages: dict[str, Storage] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    copied: int = 0
    encoded: int = 0

    def marked(self) -> list[Any]:
        """Pop everything above the last mark, and the mark."""
        below = self.marks.pop()
        above, self.stack = self.stack, below
        return above

    def mark(self) -> None:
        self.marks.append(self.stack)
        self.stack = []
        if len(self.marks) > 10_000:
            raise RefusedError("is nested deeper than any file of tensors")

    def name_on_stack(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise RefusedError("asks for something whose name is no text")
        self.stack.append(screened(f"{module} {name}"))

    def call(self) -> None:
        """REDUCE: call a name with a tuple of arguments."""
        given, asked = self.stack.pop(), self.stack.pop()
        if not isinstance(given, tuple):
            raise RefusedError("calls something with what are no values")
        self.stack.append(self.called(asked, given))

    def called(self, asked: Any, given: tuple[Any, ...]) -> Any:
        if not isinstance(asked, Global):
            raise RefusedError(f"calls what is no class or function when it is loaded: {WARNING}")
        check_call(asked)
        build = BUILD.get(asked.name)
        return Stub(asked.name) if build is None else build(self, given)

    def new(self, values: int) -> None:
        """NEWOBJ: make an object of a class. `values`: how many stack entries are above the class."""
        for _ in range(values):
            self.stack.pop()
        self.stack.append(object_of(self.stack.pop()))

    def state(self) -> None:
        """BUILD: set an object's state. The attributes of an OrderedDict or a tensor are not needed."""
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Stub):
            if target.name in (pickled_numpy.DTYPE, pickled_numpy.ARRAY):
                pickled_numpy.set_state(target, state)
            else:
                self.module(target, state)
        elif not isinstance(target, dict | Tensor):
            raise RefusedError("sets the state of something that is neither a table, a tensor nor an object")

    def module(self, target: Stub, state: Any) -> None:
        """The parameters, buffers and modules of a module (torch.nn.Module), as its state dict names them."""
        state = state if isinstance(state, dict) else {}
        tables = [content_of(state.get(name)) for name in PARAMETERS]
        if isinstance(tables[0], dict):
            found: dict[Any, Any] = target.content if isinstance(target.content, dict) else {}
            for table in tables:
                if isinstance(table, dict):
                    self.count(len(table))
                    found |= {name: value for name, value in table.items() if value is not None}
            target.content = found

    def count(self, copies: int) -> None:
        self.copied += copies
        if self.copied > MOST_COPIES:
            raise RefusedError("copies more values than any file of tensors")

    def copy(self, given: tuple[Any, ...]) -> list[Any]:
        """The values of the one list or tuple in a call's arguments; empty without arguments."""
        if not given:
            return []
        if len(given) > 1 or not isinstance(given[0], list | tuple):
            raise RefusedError("builds a table or a shape from what is no list")
        self.count(len(given[0]))
        return list(given[0])

    def table(self, given: tuple[Any, ...]) -> dict[Any, Any]:
        pairs = self.copy(given)
        if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
            raise RefusedError("builds a table from what are no pairs")
        table: dict[Any, Any] = {}
        self.fill(table, [value for pair in pairs for value in pair])
        return table

    def fill(self, target: Any, pairs: Sequence[Any]) -> None:
        """Set entries of a dict, or of a stub of a dict. Entries whose keys are not texts or numbers are left out."""
        if isinstance(target, Stub):
            target.content = {} if target.content is None else target.content
            target = target.content
        if not isinstance(target, dict) or len(pairs) % 2:
            raise RefusedError("sets entries of something that is no table")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if key is None or is_key(key):
                target[key] = value
            else:
                self.left_out[what(key)] += 1

    def extend(self, target: Any, items: list[Any]) -> None:
        """Append to a list. What is appended to a stub is dropped."""
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Stub):
            raise RefusedError("appends to something that is no list")

    def text_as_bytes(self, given: tuple[Any, ...]) -> bytes:
        """`_codecs.encode(text, "latin1")`: how pickles of protocol 2 store bytes."""
        if len(given) != 2 or not isinstance(given[0], str) or given[1] not in ("latin1", "latin-1"):
            raise RefusedError("encodes what is no text of bytes")
        self.encoded += len(given[0])
        if self.encoded > LONGEST_PICKLE:
            raise RefusedError("copies more bytes than any file of tensors")
        return given[0].encode("latin-1")

    def persistent(self) -> None:
        """BINPERSID: `("storage", kind, key, device, numbers)` stands for bytes elsewhere in the file.

        In streams the tuple has a sixth entry, for the storage views of PyTorch before 0.4; since then it is None.
        Streams also name module classes, as `("module", class, file, source)`; the class's name is taken.
        """
        given = self.stack.pop()
        if isinstance(given, tuple) and given[:1] == ("module",) and len(given) == 4 and isinstance(given[1], Global):
            self.stack.append(given[1])
            return
        right = isinstance(given, tuple) and given[5:] in ((), (None,)) and given[:1] == ("storage",)
        if not right or len(given) < 5 or not (isinstance(given[1], Global) and isinstance(given[2], str)):
            raise RefusedError("names bytes that are no storage of a tensor")
        module, _, name = given[1].name.partition(" ")
        torch = module == "torch" or module.startswith("torch.")
        kind = "U8" if given[1].name in UNTYPED else STORAGES.get(name) if torch else None
        if kind is None or not is_count(given[4]):
            raise RefusedError(f"names a storage of the kind {shown(given[1].dotted)}, which is not known")
        storage = Storage(kind, given[2], given[4])
        if self.storages.setdefault(storage.key, storage) != storage:
            raise RefusedError(f"describes its storage {shown(storage.key)} in two ways")
        self.stack.append(storage)


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any) -> Tensor:
    if not isinstance(storage, Storage):
        raise RefusedError("builds a tensor from what is no storage")
    whole = isinstance(shape, tuple) and isinstance(stride, tuple) and len(shape) == len(stride) <= DEEPEST
    if not (whole and all(map(is_count, (offset, *shape, *stride)))):
        raise RefusedError("describes a tensor whose shape is none")
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    if prod(shape) and last >= storage.numbers:
        raise RefusedError(f"describes a tensor of shape {shown(shape)} in a storage of only {storage.numbers} numbers")
    if prod(shape) > storage.numbers:
        raise RefusedError(f"describes a tensor of shape {shown(shape)} in a storage of {storage.numbers} numbers")
    return Tensor(storage.dtype, shape, stride, offset, storage)


def _seen_as(storage: Any, asked: Any) -> Storage:
    """An untyped storage, read as numbers of the asked data type."""
    dtype = DTYPES.get(asked.name) if isinstance(asked, Global) else None
    if not isinstance(storage, Storage) or dtype is None or storage.dtype != "U8":
        raise RefusedError("builds a tensor of a kind that is not known")
    return Storage(dtype, storage.key, storage.numbers // KINDS[dtype].bytes)


def _same(machine: Machine, given: tuple[Any, ...]) -> Any:
    """The tensor that a call wraps, as a parameter or for a device. A stub stays a stub."""
    if given and (isinstance(given[0], Stub | Tensor)):
        return given[0]
    raise RefusedError("wraps as a tensor what is none")


def _typed(machine: Machine, given: tuple[Any, ...]) -> Any:
    """`(builder, class, arguments, attributes)`: a tensor of a subclass, or with attributes."""
    if len(given) != 4 or not isinstance(given[2], tuple):
        raise RefusedError("builds a tensor from what is none")
    return machine.called(given[0], given[2])


def object_of(asked: Any) -> Stub:
    """An object of a class, without content."""
    if not isinstance(asked, Global):
        raise RefusedError("makes an object of what is no class")
    check_call(asked)
    return Stub(asked.name)


Build = Callable[[Machine, tuple[Any, ...]], Any]
BUILD: dict[str, Build] = {  # name -> what a call of it returns
    "collections OrderedDict": Machine.table,
    "torch Size": lambda m, x: tuple(m.copy(x)),
    **dict.fromkeys(
        ("torch._utils _rebuild_tensor", "torch._utils _rebuild_tensor_v2"), lambda m, x: _tensor(*_first(x, 4))
    ),
    "torch._utils _rebuild_tensor_v3": lambda m, x: _tensor(_seen_as(x[0], _first(x, 7)[6]), *x[1:4]),
    **dict.fromkeys(
        (
            "torch._utils _rebuild_parameter", "torch._utils _rebuild_parameter_with_state",
            "torch._utils _rebuild_device_tensor_from_numpy", "torch._utils _rebuild_device_tensor_from_cpu_tensor",
        ),
        _same,
    ),
    "torch._tensor _rebuild_from_type_v2": _typed,
    **dict.fromkeys(
        ("copyreg _reconstructor", "numpy.core.multiarray _reconstruct"), lambda m, x: object_of(_first(x, 1)[0])
    ),
    "_codecs encode": Machine.text_as_bytes,
    "builtins bytes": lambda m, x: Stub("builtins bytes") if x else b"",
    "numpy dtype": lambda m, x: pickled_numpy.dtype(x),
    "numpy.core.multiarray scalar": lambda m, x: pickled_numpy.scalar(x),
}  # fmt: skip


def _first(given: tuple[Any, ...], count: int) -> tuple[Any, ...]:
    if len(given) < count:
        raise RefusedError("builds a tensor from what is none")
    return given[:count]
