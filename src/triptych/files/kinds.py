"""The data types of tensors in files, by their safetensors names: F32, F16, BF16, I64, ..."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A data type: `bytes` of one number, torch's name for it, and the prefix of torch's storage class, if any."""

    bytes: int
    torch: str
    storage: str = ""


KINDS: Mapping[str, Kind] = {
    "F64": Kind(8, "float64", "Double"), "F32": Kind(4, "float32", "Float"), "F16": Kind(2, "float16", "Half"),
    "BF16": Kind(2, "bfloat16", "BFloat16"), "F8_E4M3": Kind(1, "float8_e4m3fn", "Float8_e4m3fn"),
    "F8_E5M2": Kind(1, "float8_e5m2", "Float8_e5m2"), "F8_E8M0": Kind(1, "float8_e8m0fnu"),
    "F8_E4M3FNUZ": Kind(1, "float8_e4m3fnuz"), "F8_E5M2FNUZ": Kind(1, "float8_e5m2fnuz"),
    "I64": Kind(8, "int64", "Long"), "I32": Kind(4, "int32", "Int"), "I16": Kind(2, "int16", "Short"),
    "I8": Kind(1, "int8", "Char"), "U8": Kind(1, "uint8", "Byte"), "U16": Kind(2, "uint16"), "U32": Kind(4, "uint32"),
    "U64": Kind(8, "uint64"), "BOOL": Kind(1, "bool", "Bool"), "C64": Kind(8, "complex64", "ComplexFloat"),
}  # fmt: skip
