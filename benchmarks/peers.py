"""The same training by triptych and by diffusers' example scripts, as whole processes that alternate in one run.

    python -m benchmarks.peers --peer diffusers=CHECKOUT [--base FOLDER] [--pictures FOLDER] [--methods lora,...]
        [--path DIR] [--steps 10,40] [--rounds 3] [--clock cpu] [--json FILE]

Each method is trained for two numbers of steps by both. The difference of their times is that of the steps between
them, so that starting, opening and writing do not count. Reported are the ratio of these differences, and that of the
greatest memory of the processes, which the libraries are most of on a small base. Batch 4, float32, no prior pictures,
the same pictures. A script crops and encodes each picture at every step, as its users have it.

`--path` is put before the Python path of the scripts alone, for what they need and triptych does not (torchvision).
Without `--base` it is the embedded demo base, written as a folder. Nothing of the peer is part of this repository.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from recipes.random_base import save_folder
from triptych.base import Place
from triptych.errors import TriptychError

BATCH = 4
SCRIPTS = {
    "lora": "dreambooth/train_dreambooth_lora.py", "dreambooth": "dreambooth/train_dreambooth.py",
    "textual-inversion": "textual_inversion/textual_inversion.py",
}  # fmt: skip
OURS: dict[str, tuple[str, ...]] = {
    "lora": ("-s", "rank=8", "-s", "targets=attention"), "dreambooth": ("-s", "prior_weight=0"),
    "textual-inversion": (),
}  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """What both train on."""

    base: Path
    pictures: Path
    word: str
    resolution: int
    threads: int
    clock: str


def ours(setting: Setting, method: str, steps: int, out: Path) -> list[str]:
    place = ("--base", setting.base, "--device", "cpu", "--precision", "fp32", "--resolution", setting.resolution)
    more = ("-s", f"start_word={setting.word}") if method == "textual-inversion" else ()
    words = (
        "-m", "triptych", "train", method, setting.pictures, *place, "--class", setting.word, "--steps", steps,
        "-s", f"batch={BATCH}", "-s", "fixed_every=0", *OURS[method], *more,
        "--out", out / "ours.safetensors", "--overwrite",
    )  # fmt: skip
    return [sys.executable, *map(str, words)]


def theirs(setting: Setting, method: str, steps: int, out: Path, checkout: Path) -> list[str]:
    shared = {
        "pretrained_model_name_or_path": setting.base, "resolution": setting.resolution, "train_batch_size": BATCH,
        "max_train_steps": steps, "output_dir": out / "theirs", "seed": 0, "lr_scheduler": "constant",
        "learning_rate": 1e-4,
    }  # fmt: skip
    named = {"instance_data_dir": setting.pictures, "instance_prompt": f"a sks {setting.word}"}
    own: Mapping[str, Mapping[str, Any]] = {
        "lora": {**named, "rank": 8}, "dreambooth": named,
        "textual-inversion": {
            "train_data_dir": setting.pictures, "placeholder_token": "<sks>", "initializer_token": setting.word,
        },
    }  # fmt: skip
    words = [f"--{name}={value}" for name, value in (shared | own[method]).items()]
    return [sys.executable, str(checkout / "examples" / SCRIPTS[method]), *words]


def run(words: Sequence[str], setting: Setting, path: str = "") -> tuple[float, float]:
    """The seconds of a process by the clock that is set, and its greatest memory in MB.

    Raises:
        TriptychError: it fails.
    """
    python = os.pathsep.join(filter(None, (path, os.environ.get("PYTHONPATH", ""))))
    environment = {
        **os.environ, "PYTHONPATH": python, "OMP_NUM_THREADS": str(setting.threads),
        "MKL_NUM_THREADS": str(setting.threads),
        "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "true",
    }  # fmt: skip
    with tempfile.TemporaryFile("w+") as told:
        began = time.perf_counter()
        process = subprocess.Popen(words, env=environment, stdout=told, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        taken = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            told.seek(0)
            raise TriptychError(f"{' '.join(words[:4])} ended with {process.returncode}: {told.read()[-1500:]}")
    worked = usage.ru_utime + usage.ru_stime
    return worked if setting.clock == "cpu" else taken, usage.ru_maxrss / 1000


def compare(
    setting: Setting, method: str, checkout: Path, path: str, steps: tuple[int, int], rounds: int
) -> dict[str, Any]:
    """The ratios of a method: ours over theirs, lower is better; by round, all four processes in each."""
    found = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as out:
            pairs = [
                (run(ours(setting, method, count, Path(out)), setting),
                 run(theirs(setting, method, count, Path(out), checkout), setting, path))
                for count in steps
            ]  # fmt: skip
        slopes = [(pairs[1][who][0] - pairs[0][who][0]) / (steps[1] - steps[0]) for who in (0, 1)]
        memory = [max(pairs[0][who][1], pairs[1][who][1]) for who in (0, 1)]
        found.append((slopes, memory))
        print(
            f"{method}: {slopes[0]:.3f} and {slopes[1]:.3f} s a step, {memory[0]:.0f} and {memory[1]:.0f} MB",
            flush=True,
        )
    ratios = sorted(ours / theirs for (ours, theirs), _ in found)
    return {
        "step": median(ratios), "lowest": ratios[0], "highest": ratios[-1],
        "memory": median(ours / theirs for _, (ours, theirs) in found),
        "seconds": [slopes for slopes, _ in found], "megabytes": [memory for _, memory in found],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", required=True, help="diffusers=CHECKOUT")
    parser.add_argument("--path", default="", help="before the Python path of the peer")
    parser.add_argument("--base", type=Path)
    parser.add_argument("--pictures", type=Path, default=Path(__file__).parents[1] / "examples" / "blob-cat")
    parser.add_argument("--word", default="cat", help="one token of the base")
    parser.add_argument("--methods", default=",".join(SCRIPTS))
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", default="wall", choices=("wall", "cpu"), help="cpu: what a busy machine blurs less")
    parser.add_argument("--steps", default="10,40")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    name, _, checkout = arguments.peer.partition("=")
    if name != "diffusers" or not (Path(checkout) / "examples").is_dir():
        parser.error("--peer takes diffusers=CHECKOUT, a folder with diffusers' examples")
    first, second = map(int, arguments.steps.split(","))
    with tempfile.TemporaryDirectory() as folder:
        base = arguments.base or Path(folder) / "base"
        if not arguments.base:
            save_folder(Place("demo", device="cpu", precision="fp32").open(), base)
        pictures = Path(folder) / "pictures"  # without captions, which one of the scripts takes for pictures
        shutil.copytree(arguments.pictures, pictures, ignore=shutil.ignore_patterns("*.txt", "*.md", "*.toml"))
        setting = Setting(
            base, pictures, arguments.word, arguments.resolution, arguments.threads, arguments.clock
        )  # fmt: skip
        told = {
            method: compare(setting, method, Path(checkout), arguments.path, (first, second), arguments.rounds)
            for method in arguments.methods.split(",")
        }
    print(json.dumps(told, indent=1))
    if arguments.json:
        how = {"peer": name, "threads": arguments.threads, "clock": arguments.clock}
        arguments.json.write_text(json.dumps({**how, **told}, indent=1))


if __name__ == "__main__":
    main()
