"""The device and the data type that a base computes in."""

from __future__ import annotations

from typing import cast, get_args

import torch

from ..errors import Remedy, TriptychError, did_you_mean, first_line
from ..options import Precision

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def device_named(name: str) -> torch.device:
    """The device called `name`; "auto" is the fastest available.

    On CUDA, cuDNN's attention is switched off for the whole process. Since torch 2.11 its backward pass gives NaN on
    Hopper cards (pytorch issue 196678), at the first step of the demo base's UNet. The flash and memory-efficient
    kernels, which torch then uses, gave finite gradients of the same loss.

    Raises:
        TriptychError: there is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise TriptychError(f"there is no device {name!r} here: {first_line(error)}", Remedy.DEVICE) from error
    if device.type == "cuda":
        torch.backends.cuda.enable_cudnn_sdp(False)
    return device


def precision_named(name: str) -> Precision:
    """The precision called `name`.

    Raises:
        TriptychError: there is no such precision.
    """
    if name not in get_args(Precision):
        raise TriptychError(f"there is no precision {name!r}{did_you_mean(name, get_args(Precision))}")
    return cast(Precision, name)


def dtype_named(precision: str, device: torch.device) -> torch.dtype:
    """The data type of a precision; "auto" is bf16 if the device computes it natively, else fp32.

    Raises:
        TriptychError: there is no such precision.
    """
    if precision_named(precision) != "auto":
        return DTYPES[precision]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    able = torch.cpu.get_capabilities() if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities") else {}
    return torch.bfloat16 if able.get("avx512_bf16") or able.get("amx_bf16") or able.get("bf16") else torch.float32
