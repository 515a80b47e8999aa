"""How long `triptych inspect` takes over checkpoints of two gigabytes, and how much memory, each in a fresh process.

    python -m benchmarks.inspect_header

The files have the names and shapes of Stable Diffusion 1.5 in float16, averaged copies included (sd-mecha's list), once
as safetensors and once as a pickle of torch. What the tensors hold is never read, so the first is mostly a hole.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from math import prod
from pathlib import Path

import sd_mecha
import torch
import yaml

LISTS = Path(sd_mecha.__file__).parent / "extensions" / "builtin" / "model_configs"
MEASURE = """
import re, sys, time
from pathlib import Path
began = time.perf_counter()
from triptych.cli import app
try:
    app(["inspect", sys.argv[1]])
except SystemExit:
    pass
used = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])  # kB, of this program alone
print(f"{time.perf_counter() - began:.2f} s, {used / 1024:.0f} MB", file=sys.stderr)
"""


def shapes() -> dict[str, tuple[int, ...]]:
    components = yaml.safe_load((LISTS / "sd1-ldm.yaml").read_text())["components"]
    return {key: tuple(known["shape"]) for part in components.values() for key, known in part.items()}


def write_safetensors(path: Path) -> None:
    header, end = {}, 0
    for name, shape in shapes().items():
        size = 2 * prod(shape)
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


def write_pickle(path: Path) -> None:
    torch.save(
        {"state_dict": {name: torch.zeros(shape, dtype=torch.float16) for name, shape in shapes().items()}}, path
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for write, name in ((write_safetensors, "sd15.safetensors"), (write_pickle, "sd15.ckpt")):
            path = Path(folder) / name
            write(path)
            for _ in range(3):
                ended = subprocess.run([sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True)
                print(f"{name:<18} {path.stat().st_size / 1e9:.2f} GB: {ended.stderr.strip()}")
            path.unlink()


if __name__ == "__main__":
    main()
