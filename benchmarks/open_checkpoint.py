"""Opens checkpoints of the real sizes with random weights offline, and compares them with diffusers' own classes.

    python -m benchmarks.open_checkpoint sd1 sd2 sdxl

Names and shapes are sd-mecha's lists, not our writer's. Printed are seconds and peak of memory of opening the file as a
base in a fresh process, and the largest difference of one prediction from that of diffusers' single-file loader.
"""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.originals import real_shapes
from triptych.base import open_base
from triptych.families import FOLDER as FAMILIES

SIDE = 16  # latents, a quarter of the least that these bases are drawn at
OPEN = """
import re, sys, time
from pathlib import Path
from triptych.base import Base
began = time.perf_counter()
open_base(sys.argv[1], precision="fp16", prediction="epsilon")
used = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
print(f"opened in {time.perf_counter() - began:.1f} s, at most {used / 1e6:.2f} GB in memory, mapped pages included")
"""


def write(family: str, path: Path) -> None:
    """Random weights of the family's real names and sizes, in float16."""
    random = torch.Generator().manual_seed(0)
    tensors = {}
    for shapes in real_shapes(family).values():
        for key, shape in shapes.items():
            spread = 1.0 if len(shape) == 1 else 0.02
            tensors[key] = (spread * torch.randn(shape, generator=random)).half()
    save_file(tensors, path)


@torch.no_grad()
def difference(family: str, path: Path) -> float:
    """The relative difference of one prediction from diffusers', in float32."""
    from diffusers import UNet2DConditionModel

    base = open_base(str(path), precision="fp32", prediction="epsilon")
    random = torch.Generator().manual_seed(1)
    noisy = torch.randn(1, 4, SIDE, SIDE, generator=random)
    context = base.encode(["a photo of a cat"])
    ours = base.denoise(noisy, torch.tensor([500]), context)
    resolution = base.resolution
    del base
    gc.collect()  # SDXL in float32 does not fit twice
    theirs = UNet2DConditionModel.from_single_file(
        str(path), config=str(FAMILIES / family), subfolder="unet", torch_dtype=torch.float32
    )
    size = torch.tensor([[resolution, resolution, 0, 0, resolution, resolution]], dtype=torch.float32)
    more = {} if context.pooled is None else {"added_cond_kwargs": {"text_embeds": context.pooled, "time_ids": size}}
    told = theirs(noisy, torch.tensor([500]), context.hidden, **more).sample
    return float((ours - told).abs().max() / told.abs().max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="+", choices=("sd1", "sd2", "sdxl"))
    with tempfile.TemporaryDirectory() as folder:
        for family in parser.parse_args().families:
            path = Path(folder) / f"{family}.safetensors"
            write(family, path)
            print(f"{family}: {path.stat().st_size / 1e9:.2f} GB", flush=True)
            ended = subprocess.run([sys.executable, "-c", OPEN, str(path)], capture_output=True, text=True)
            print(f"  {ended.stdout.strip() or ended.stderr.strip()}", flush=True)
            began = time.perf_counter()
            print(
                f"  prediction off by {difference(family, path):.1e} of its size ({time.perf_counter() - began:.0f} s)"
            )
            path.unlink()


if __name__ == "__main__":
    main()
