"""Where a base computes."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from recipes.demo_base.fleet import half_where_fast
from triptych import TriptychError
from triptych.base.device import device_named, dtype_named
from triptych.errors import Remedy

CPU = torch.device("cpu")


def computes_in(device: torch.device) -> torch.dtype:
    with half_where_fast(device):
        return (torch.ones(2, 2, device=device) @ torch.ones(2, 2, device=device)).dtype


@pytest.mark.parametrize(
    ("able", "dtype"),
    [({"avx512_bf16": True}, torch.bfloat16), ({"amx_bf16": True}, torch.bfloat16), ({"avx2": True}, torch.float32)],
)
def test_a_processor_computes_in_halves_only_where_it_is_made_for_it(
    monkeypatch: pytest.MonkeyPatch, able: dict[str, bool], dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able, raising=False)
    assert dtype_named("auto", CPU) == dtype
    assert dtype_named("bf16", CPU) == torch.bfloat16
    assert computes_in(CPU) == dtype


def test_unknown_devices_and_precisions_are_refused_in_a_sentence() -> None:
    with pytest.raises(TriptychError, match="there is no device 'tpu9' here: ") as refused:
        device_named("tpu9")
    assert refused.value.remedies == (Remedy.DEVICE,)
    with pytest.raises(TriptychError, match=r"there is no precision 'fp17'.*fp16"):
        dtype_named("fp17", CPU)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="asks a GPU")
def test_attention_on_a_gpu_has_gradients() -> None:
    device = device_named("cuda")
    states = [torch.randn(64, 4, 77, 16, device=device, dtype=torch.bfloat16, requires_grad=True) for _ in range(3)]
    torch.nn.functional.scaled_dot_product_attention(*states).float().square().mean().backward()
    assert not torch.backends.cuda.cudnn_sdp_enabled()
    assert all(state.grad is not None and state.grad.isfinite().all() for state in states)


CLEARED = """
import resource
import sys

import torch

from triptych.base.device import device_named


def pages_cleared(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.ones(int(sys.argv[1]) << 20, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


device_named("cpu")
pages_cleared(5)
print(pages_cleared(20), 20 * (int(sys.argv[1]) << 20) // resource.getpagesize())
"""


def huge_pages() -> bool:
    """Whether this kernel gives huge pages to who asks for them."""
    told = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return told.is_file() and "[never]" not in told.read_text()


@pytest.mark.slow  # a process of its own, since the heap of other tests is in pieces
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="another C library")
@pytest.mark.parametrize(
    "size", [16, pytest.param(64, marks=pytest.mark.skipif(not huge_pages(), reason="no huge pages"))]
)
def test_memory_that_a_step_frees_costs_little_in_the_next(size: int) -> None:
    done = subprocess.run([sys.executable, "-c", CLEARED, str(size)], check=True, capture_output=True, text=True)
    cleared, all_pages = map(int, done.stdout.split())
    assert cleared < all_pages / 20
