"""Measures the time and the peak memory of reading the header of a checkpoint of two gigabytes, in new processes.

    python -m benchmarks.inspect_header [--command]

The checkpoint has the names and shapes of Stable Diffusion 1's (sd-mecha's list), in half precision; its bytes are a
hole in a sparse file. `--command` times `triptych inspect` too, which recognises what the file is.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import struct
import subprocess
import sys
import tempfile
import time
from math import prod
from pathlib import Path

REPEATS = 5
OPEN = "import sys; from pathlib import Path; from triptych.files.tensorfile import TensorFile\n"
OPEN += "print(len(TensorFile.open(Path(sys.argv[1])).layouts), 'tensors, torch', 'torch' in sys.modules)"


def shapes() -> dict[str, tuple[int, ...]]:
    from tests.originals import real_shapes

    return {name: shape for part in real_shapes("sd1").values() for name, shape in part.items()}


def as_safetensors(path: Path, tensors: dict[str, tuple[int, ...]]) -> None:
    header, end = {}, 0
    for name, shape in tensors.items():
        begin, end = end, end + 2 * prod(shape)
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": (begin, end)}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(file.tell() + end)


def as_pickle(path: Path, tensors: dict[str, tuple[int, ...]]) -> None:
    """torch's own archive, of which torch leaves out the bytes of the tensors."""
    import torch

    whole = {name: torch.empty(shape, dtype=torch.float16) for name, shape in tensors.items()}
    with torch.serialization.skip_data():
        torch.save({"state_dict": whole, "global_step": 1}, path)


def measure(title: str, *command: str) -> None:
    """Print the seconds of a process from start to end (the fastest of a few runs), and its peak memory."""
    taken, said = [], ""
    for _ in range(REPEATS):
        began = time.perf_counter()
        child = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)
        said = child.stdout.read() if child.stdout else ""
        _, status, used = os.wait4(child.pid, 0)
        taken.append((time.perf_counter() - began, used.ru_maxrss / 1024))
        if status:
            raise SystemExit(f"{title}: the process failed")
    seconds, peak = min(taken)
    print(f"{title:<34} {seconds:5.2f} s {peak:5.0f} MB   {said.strip().splitlines()[-1] if said else ''}")


def make(folder: Path) -> None:
    tensors = shapes()
    as_safetensors(folder / "x.safetensors", tensors)
    as_pickle(folder / "x.ckpt", tensors)
    print(f"{len(tensors)} tensors, {2 * sum(map(prod, tensors.values())) / 1e9:.2f} GB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--command", action="store_true", help="time `triptych inspect` too")
    parser.add_argument("--folder", type=Path, help="where the files are made for the while; the temporary folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        maker = multiprocessing.get_context("spawn").Process(target=make, args=(folder,))
        maker.start()  # apart: a process begins with the peak of the one that starts it, and this makes use of torch
        maker.join()
        measure("python that does nothing", "-c", "")
        for path in (folder / "x.safetensors", folder / "x.ckpt"):
            measure(f"TensorFile.open {path.suffix}", "-c", OPEN, str(path))
            if arguments.command:
                measure(f"triptych inspect {path.suffix}", "-m", "triptych", "inspect", str(path))


if __name__ == "__main__":
    main()
