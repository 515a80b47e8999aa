"""Reads a pickle that torch wrote from its opcodes. Nothing is imported, called or allocated.

The pickle is interpreted opcode by opcode (`pickletools`) with its own stack and memo. Tensors become descriptions of
where their numbers are. Dicts, lists, numbers and texts stay themselves. Objects of other classes become inert stubs
(`pickle_values.Stub`): their class is never imported, and only their entries and parameters are kept. Names that could
do harm in a program that unpickles the file are refused (`pickle_names`).

This is the only reader of pickles. `mapped` makes tensors from its descriptions, so no second reader can understand
the file differently. Work is bounded by the bytes that are read, not by the sizes that the file claims. Values that a
pickle shares or copies are counted each time.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import Any

from ..errors import shown
from .pickle_machine import Machine, object_of
from .pickle_names import screened
from .pickle_values import RefusedError, Stub

MOST_OPCODES = 1_000_000  # a tensor takes about forty


def run(machine: Machine, data: Any) -> Any:
    """The value that a pickle describes.

    Args:
        machine: a new one. Afterwards it has the storages that the pickle names, and a count of what was left out.
        data: bytes, or a file at the start of the pickle. The file is left at the pickle's end.

    Raises:
        RefusedError: the pickle could do harm, or asks for more than a file of tensors needs.
    """
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if count > MOST_OPCODES:
            raise RefusedError("has more opcodes than any file of tensors")
        if opcode.name == "STOP":
            break
        step = STEPS.get(opcode.name)
        if step is None:
            asked = f" ({shown(argument)})" if isinstance(argument, str) else ""
            raise RefusedError(f"uses the pickle opcode {opcode.name}{asked}, which no file of tensors needs")
        step(machine, argument)
    return machine.stack.pop()


def _append(machine: Machine) -> None:
    item = machine.stack.pop()
    machine.extend(machine.stack[-1], [item])


def _extend_marked(machine: Machine) -> None:
    items = machine.marked()
    machine.extend(machine.stack[-1], items)


def _set_one(machine: Machine) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    machine.fill(machine.stack[-1], [key, value])


def _set_marked(machine: Machine) -> None:
    pairs = machine.marked()
    machine.fill(machine.stack[-1], pairs)


def _table_marked(machine: Machine) -> None:
    table: dict[Any, Any] = {}
    machine.fill(table, machine.marked())
    machine.stack.append(table)


def _instance(machine: Machine, asked: Any = None) -> None:
    """INST and OBJ of protocols 0 and 1: an object of the named class, or of the first value above the mark."""
    given = machine.marked()
    machine.stack.append(object_of(given[0] if asked is None else screened(asked)))


def _frozen(machine: Machine) -> None:
    machine.marked()
    machine.stack.append(Stub("builtins frozenset"))


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


PLAIN = (
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8",
)  # fmt: skip  # opcodes that carry a value
Step = Callable[[Machine, Any], Any]
STEPS: dict[str, Step] = {
    **dict.fromkeys(PLAIN, _put),
    **dict.fromkeys(("PROTO", "FRAME"), lambda m, x: None),
    "NONE": lambda m, x: _put(m, None),
    "NEWTRUE": lambda m, x: _put(m, True),
    "NEWFALSE": lambda m, x: _put(m, False),
    "EMPTY_LIST": lambda m, x: _put(m, []),
    "EMPTY_TUPLE": lambda m, x: _put(m, ()),
    "EMPTY_DICT": lambda m, x: _put(m, {}),
    "EMPTY_SET": lambda m, x: _put(m, Stub("builtins set")),
    "MARK": lambda m, x: m.mark(),
    "TUPLE": lambda m, x: _put(m, tuple(m.marked())),
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    "LIST": lambda m, x: _put(m, m.marked()),
    "DICT": lambda m, x: _table_marked(m),
    "FROZENSET": lambda m, x: _frozen(m),
    "APPEND": lambda m, x: _append(m),
    **dict.fromkeys(("APPENDS", "ADDITEMS"), lambda m, x: _extend_marked(m)),
    "SETITEM": lambda m, x: _set_one(m),
    "SETITEMS": lambda m, x: _set_marked(m),
    "POP": lambda m, x: m.stack.pop(),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _remember),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _recall),
    "GLOBAL": lambda m, x: _put(m, screened(x)),
    "STACK_GLOBAL": lambda m, x: m.name_on_stack(),
    "REDUCE": lambda m, x: m.call(),
    "INST": _instance,
    "OBJ": lambda m, x: _instance(m),
    "NEWOBJ": lambda m, x: m.new(1),
    "NEWOBJ_EX": lambda m, x: m.new(2),
    "BUILD": lambda m, x: m.state(),
    "BINPERSID": lambda m, x: m.persistent(),
}
