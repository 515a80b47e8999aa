"""Compares attention kernels and memory layouts on this machine, side by side in one run.

    python -m benchmarks.kernels [--base demo] [--rows 12]

The choices in `triptych.base.opening.loading._make_fast` are by these measurements.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

from triptych.base import Base, Conditioning, Place

REPEATS = 5


def best(work: Callable[[], object], rows: int) -> float:
    """Milliseconds per row, the fastest of a few runs after a warm-up."""
    work()
    taken = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return 1000 * min(taken) / rows


def attention(base: Base, rows: int) -> None:
    noisy, times = torch.randn(rows, *base.latent_shape), torch.full((rows,), 500)
    context = torch.randn(rows, base.texts[0].room + 2, base.texts[0].width)

    def train() -> None:
        base.denoise(noisy, times, Conditioning(context.clone().requires_grad_())).square().mean().backward()

    for processor in (AttnProcessor2_0(), AttnProcessor()):
        base.denoiser.module.set_attn_processor(processor)
        with torch.no_grad():
            drawing = best(lambda: base.denoise(noisy, times, Conditioning(context)), rows)
        print(f"{type(processor).__name__:<18} forward {drawing:6.2f}, and back {best(train, rows):6.2f} ms a row")


def layout(base: Base, rows: int) -> None:
    latents = torch.randn(rows, *base.latent_shape)
    for name, form in (("contiguous", torch.contiguous_format), ("channels last", torch.channels_last)):
        base.vae.to(memory_format=form)
        print(f"{name:<18} decode {best(lambda: base.decode(latents), rows):6.2f} ms a picture")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="demo")
    parser.add_argument("--rows", type=int, default=12)
    arguments = parser.parse_args()
    base = Place(arguments.base).open()
    print(f"{base.name}, {base.dtype}, {torch.get_num_threads()} threads, {arguments.rows} rows")
    attention(base, arguments.rows)
    layout(base, arguments.rows)


if __name__ == "__main__":
    main()
