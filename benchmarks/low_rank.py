"""Which form of each product of a LoRA is faster on this machine: behind `triptych.patching.low_rank`.

    python -m benchmarks.low_rank [--rank 8] [--threads 1]

Dimensions: O owners, P positions, W width. A and B stand for themselves, h = A x, g is the gradient of B h.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

SIZES = ((1, 1024, 64), (1, 308, 192), (39, 256, 64), (39, 77, 192))  # owners, positions, width
REPEATS = 15


def best(product: Callable[[], Tensor]) -> float:
    """Microseconds of the processor, the least of a few after a first one."""
    product()
    taken = []
    for _ in range(REPEATS):
        began = time.process_time()
        product()
        taken.append(time.process_time() - began)
    return 1e6 * min(taken)


def compare(owners: int, positions: int, width: int, rank: int) -> None:
    x, g = (torch.randn(owners, positions, width).squeeze(0) for _ in "xg")
    a = torch.randn(owners, rank, width).squeeze(0)
    b, h = a.mT.contiguous(), torch.randn(owners, positions, rank).squeeze(0)
    inside = h.mT.contiguous()
    usual = [lambda: x @ a.mT, lambda: h @ b.mT, lambda: g @ b, lambda: g.mT @ h, lambda: h.mT @ x, lambda: h @ a]
    own = [
        lambda: a @ x.mT, lambda: inside.mT @ b.mT, lambda: b.mT @ g.mT, lambda: inside @ g, lambda: inside @ x,
        lambda: inside.mT @ a,
    ]  # fmt: skip
    for name, one, other in zip(("h", "B h", "of h", "of B", "of A", "of x"), usual, own, strict=True):
        before, after = best(one), best(other)
        print(f"{owners:3} x [{positions}, {width}] {name:5} {before:7.0f} us, rank first {after:7.0f} us")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for size in SIZES:
        compare(*size, arguments.rank)


if __name__ == "__main__":
    main()
