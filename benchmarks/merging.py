"""Mixes two checkpoints of Stable Diffusion 1's size (2.1 GB each, random weights), and compares it with copying.

    python -m benchmarks.merging --out docs/mixing/speed.json

The checkpoints have the names and shapes of sd-mecha's list, in float16. Every run is a fresh process. The measure of
time is reading both files and writing one as large, with plain reads and writes of 16 MB; runs alternate, and files are
dropped from the page cache before each. The processor's time is stated too, since it depends less on other work. Memory
is the peak of what the process holds itself (VmHWM), over what it held after its imports. The buffer is one tensor of
each file and the mixed one, all in float16.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from tests.originals import real_shapes
from triptych.files.atomic import write_text
from triptych.files.streaming import Entry, write_entries
from triptych.units import size

MERGE = """
import json, re, sys, time
from pathlib import Path
import torch
from triptych.mixing.merge import merge
from triptych.mixing.request import Ingredient, Mix
def peak(): return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
a, b, out, method, base = sys.argv[1:]
before, began, worked = peak(), time.perf_counter(), time.process_time()
merge(Mix((Ingredient(Path(a), 0.6), Ingredient(Path(b), 0.4)), method, base), Path(out), overwrite=True)
with open(out, "rb") as file:
    import os; os.fsync(file.fileno())
print(json.dumps({"seconds": time.perf_counter() - began, "processor": time.process_time() - worked,
                  "peak": peak(), "before": before}))
"""
COPY = """
import json, os, sys, time
a, b, out = sys.argv[1:]
began = time.perf_counter()
with open(a, "rb") as first, open(b, "rb") as second, open(out, "wb") as into:
    while part := first.read(1 << 24):
        second.read(1 << 24)
        into.write(part)
    into.flush(); os.fsync(into.fileno())
print(json.dumps({"seconds": time.perf_counter() - began, "processor": time.process_time()}))
"""


def checkpoint(path: Path, seed: int) -> int:
    """Write random weights; returns the numbers of the largest tensor."""
    shapes = {key: shape for part in real_shapes("sd1").values() for key, shape in part.items()}
    random = torch.Generator().manual_seed(seed)

    def entry(key: str, shape: tuple[int, ...]) -> Entry:
        if key.endswith("position_ids"):
            return Entry(torch.int64, (1, 77), lambda: torch.arange(77)[None])
        return Entry(torch.float16, shape, lambda: (torch.randn(shape, generator=random) * 0.02).half())

    write_entries(path, {key: entry(key, shape) for key, shape in shapes.items()}, {})
    return max(torch.Size(shape).numel() for shape in shapes.values())


def run(code: str, *words: object, cold: list[Path], cache: Path) -> dict[str, float]:
    for path in cold:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    (cache / "hashes").mkdir(parents=True, exist_ok=True)
    for record in (cache / "hashes").iterdir():  # each run hashes its files again
        record.unlink()
    environment = {**os.environ, "TRIPTYCH_CACHE": str(cache)}
    command = [sys.executable, "-c", code, *map(str, words)]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if ended.returncode:
        raise SystemExit(ended.stderr)
    found: dict[str, float] = json.loads(ended.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--methods", default="weighted-sum", help="with commas between them")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="merging-") as folder:
        a, b, out, cache = (
            Path(folder) / name for name in ("a.safetensors", "b.safetensors", "o.safetensors", "cache")
        )
        largest = max(checkpoint(path, seed) for seed, path in enumerate((a, b)))
        began = time.perf_counter()
        for method in given.methods.split(","):
            base = str(a) if method != "weighted-sum" else ""
            for _ in range(given.rounds):
                copied = run(COPY, a, b, out, cold=[a, b], cache=cache)
                mixed = run(MERGE, a, b, out, method, base, cold=[a, b], cache=cache)
                buffer = largest * (2 + 2 + 2 + (2 if base else 0))
                ratio = round(mixed["seconds"] / copied["seconds"], 2)
                over = mixed["peak"] - mixed["before"] - buffer
                rows.append({
                    "method": method, "file_bytes": a.stat().st_size, "copy_seconds": round(copied["seconds"], 2),
                    "merge_seconds": round(mixed["seconds"], 2), "ratio": ratio,
                    "copy_processor": round(copied["processor"], 2), "merge_processor": round(mixed["processor"], 2),
                    "peak_bytes": int(mixed["peak"]), "buffer_bytes": buffer, "over_buffer_bytes": int(over),
                })  # fmt: skip
                said = f"{mixed['seconds']:.1f} s, {ratio} times copying ({copied['seconds']:.1f} s)"
                print(f"{method}: {said}; {size(over)} over a buffer of {size(buffer)}", flush=True)
        print(f"{time.perf_counter() - began:.0f} s in all")
    if given.out:
        report = {
            "command": f"python -m benchmarks.merging --rounds {given.rounds} --out docs/mixing/speed.json",
            "runs": rows,
        }
        write_text(given.out, json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
