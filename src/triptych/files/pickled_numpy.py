"""Reads pickled NumPy dtypes, scalars and arrays without NumPy.

PyTorch of 2022 stored tensors of Apple GPUs as arrays in the pickle itself.
"""

from __future__ import annotations

import struct
from math import prod
from typing import Any

from .kinds import KINDS
from .pickle_values import DEEPEST, Stub, Tensor, is_count

CODES = {
    "f8": "F64", "f4": "F32", "f2": "F16", "i8": "I64", "i4": "I32", "i2": "I16", "i1": "I8", "u8": "U64",
    "u4": "U32", "u2": "U16", "u1": "U8", "b1": "BOOL",
}  # fmt: skip  # NumPy's letter and bytes -> ours
STRUCTS = {"F64": "<d", "F32": "<f", "F16": "<e", "I64": "<q", "I32": "<i", "I16": "<h", "I8": "<b", "U64": "<Q",
           "U32": "<I", "U16": "<H", "U8": "<B", "BOOL": "<?"}  # fmt: skip
DTYPE, ARRAY, SCALAR = "numpy dtype", "numpy ndarray", "numpy scalar"


def dtype(given: tuple[Any, ...]) -> Stub:
    """`numpy.dtype(code, ...)`: a stub whose content is the data type, if it is known."""
    code = given[0] if given and isinstance(given[0], str) else ""
    return Stub(DTYPE, CODES.get(code.lstrip("<|=")))


def scalar(given: tuple[Any, ...]) -> Any:
    """`scalar(dtype, bytes)`: the number, or a stub if the data type is unknown."""
    kind = given[0].content if given and isinstance(given[0], Stub) and given[0].name == DTYPE else None
    data = given[1] if len(given) == 2 else None
    if kind is None or not isinstance(data, bytes) or len(data) != KINDS[kind].bytes:
        return Stub(SCALAR)
    return struct.unpack(STRUCTS[kind], data)[0]


def set_state(stub: Stub, state: Any) -> None:
    """Set the state of a dtype, `(version, byte order, ...)`, or an array, `(version, shape, dtype, Fortran order,
    bytes)`. An unknown state leaves the stub without content."""
    if stub.name == DTYPE:
        if not (isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", "|", "=")):
            stub.content = None
    elif isinstance(state, tuple) and len(state) == 5:
        stub.content = _array(*state[1:])


def _array(shape: Any, dtype: Any, by_columns: Any, data: Any) -> Tensor | None:
    kind = dtype.content if isinstance(dtype, Stub) and dtype.name == DTYPE else None
    sizes = isinstance(shape, tuple) and len(shape) <= DEEPEST and all(map(is_count, shape))
    if kind is None or not sizes or not isinstance(data, bytes) or len(data) != prod(shape) * KINDS[kind].bytes:
        return None
    steps = [prod(shape[:i] if by_columns is True else shape[i + 1 :]) for i in range(len(shape))]
    return Tensor(kind, shape, tuple(steps), 0, data)
