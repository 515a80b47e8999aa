"""The device and the data type that a base computes in."""

from __future__ import annotations

import ctypes
import os
from functools import cache

import psutil
import torch

from ..errors import Remedy, TriptychError, first_line
from ..options import precision_named

TRIM, PAD, MAP = -1, -2, -3  # names of settings in glibc's malloc.h
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
    if device.type == "cpu":
        _keep_freed_memory()
    return device


def free_memory(device: torch.device) -> int:
    """The bytes that this process may take now on a device: what nobody has, and on CUDA what its allocator holds."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0]) + torch.cuda.memory_reserved(device)
    return int(psutil.virtual_memory().available)


@cache
def _keep_freed_memory() -> None:
    """Has the C library keep what it frees, up to 1 GiB, for this process.

    A step frees all that the step before it freed. By default glibc gives blocks of 128 KiB and more back to the
    kernel, which clears them page by page when the next step asks for them. Blocks above 32 MiB (glibc's limit) still
    go back at once, so that weights that wait in files leave the memory. oneDNN reorders the weights of a large
    convolution into such a block at every call: torch asks the kernel for huge pages there, of which it clears one
    for 512 small ones. Other C libraries have no such setting and are left alone.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # huge pages; torch reads it at its first tensor with values
    if os.name != "posix":
        return
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return
    for setting, size in ((MAP, 32 << 20), (TRIM, 1 << 30), (PAD, 64 << 20)):
        library.mallopt(setting, size)


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
