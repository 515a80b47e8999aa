"""The same training by triptych and by other trainers' scripts, as whole processes that alternate in one run.

    python -m benchmarks.peers --peer diffusers=CHECKOUT [--path DIR] [--base FOLDER] [--methods lora,...]
        [--steps 10,40] [--batch 4] [--rounds 3] [--clock cpu] [--json docs/performance/peers/NAME.json]
    python -m benchmarks.performance_page      # docs/performance.md with these files

Each method is trained for two numbers of steps by both. The difference of their times is that of the steps between
them, so that starting, opening and writing do not count. Reported are the ratio of these differences, and that of the
greatest memory of the processes, less what importing the libraries takes. float32, no prior pictures, the same
pictures. "All" is one `triptych sweep` of all these methods and a hypernetwork, which no peer trains, beside the peer's
scripts one after another: whole processes, of the larger number of steps. The sweep samples its pictures besides.

diffusers' scripts crop and encode each picture at every step, as their users have it; kohya's keep the latents
(`--cache_latents`). `--path` is put before the Python path of the scripts alone, for what they need and triptych does
not: torchvision, or other versions of libraries. kohya's scripts have the networks of Stable Diffusion 1 in their code,
and need `--base` of that size (`recipes.random_base --size sd15`). Without `--base` it is the embedded demo base,
written as a folder. Nothing of a peer is part of this repository.
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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.training_step import processor
from recipes.random_base import save_folder
from triptych.base import Place
from triptych.base.opening.tokenizer import clip_tokenizer
from triptych.errors import TriptychError

SETTINGS: Mapping[str, tuple[str, ...]] = {  # of ours, as the scripts have them
    "textual-inversion": (), "lora": ("rank=8", "targets=attention"), "dreambooth": ("prior_weight=0",),
    "hypernetwork": (),
}  # fmt: skip
GOALS = {"textual-inversion": 0.80, "lora": 0.66, "dreambooth": 0.72}  # of diffusers' step
GOAL_OF_MEMORY, GOAL_OF_ALL = 0.7, 0.4
LIBRARIES = "import torch, transformers, diffusers; from transformers import CLIPTextModel as _; " + (
    "from diffusers import AutoencoderKL as _, UNet2DConditionModel as _"
)


@dataclass(frozen=True)
class Setting:
    """What both train on."""

    base: Path
    pictures: Path
    word: str
    resolution: int
    batch: int
    threads: int
    clock: str


@dataclass(frozen=True)
class Peer:
    """A trainer's scripts. options: of a method's script, for a setting, steps, and a folder for what it writes."""

    name: str
    checkout: Path
    path: str
    scripts: Mapping[str, str]
    options: Callable[[str, Setting, int, Path], Mapping[str, Any]]

    def command(self, setting: Setting, method: str, steps: int, out: Path) -> list[str]:
        options = self.options(method, setting, steps, out)
        words = [f"--{name}" if value is True else f"--{name}={value}" for name, value in options.items()]
        return [sys.executable, str(self.checkout / self.scripts[method]), *words]

    def run(self, setting: Setting, method: str, steps: int, out: Path) -> tuple[float, float]:
        return run(self.command(setting, method, steps, out), setting, self.path, self.checkout)


def diffusers_options(method: str, setting: Setting, steps: int, out: Path) -> Mapping[str, Any]:
    shared = {
        "pretrained_model_name_or_path": setting.base, "resolution": setting.resolution,
        "train_batch_size": setting.batch, "max_train_steps": steps, "output_dir": out / "theirs", "seed": 0,
        "lr_scheduler": "constant", "learning_rate": 1e-4,
    }  # fmt: skip
    named = {"instance_data_dir": setting.pictures, "instance_prompt": f"a sks {setting.word}"}
    own: Mapping[str, Mapping[str, Any]] = {
        "lora": {**named, "rank": 8}, "dreambooth": named,
        "textual-inversion": {
            "train_data_dir": setting.pictures, "placeholder_token": "<sks>", "initializer_token": setting.word,
        },
    }  # fmt: skip
    return shared | own[method]


def kohya_options(method: str, setting: Setting, steps: int, out: Path) -> Mapping[str, Any]:
    """Its folder of pictures has one folder a concept, whose name says the repeats and the words."""
    concept, tokenizer = out / "pictures" / f"100_sks {setting.word}", out / "tokenizers"
    if not concept.is_dir():
        shutil.copytree(setting.pictures, concept)
        own, folder = clip_tokenizer("<|endoftext|>"), tokenizer / "openai_clip-vit-large-patch14"
        own.save_pretrained(folder)
        own.backend_tokenizer.model.save(str(folder))  # as older versions of transformers read it
    shared = {
        "pretrained_model_name_or_path": setting.base, "train_data_dir": concept.parent, "output_dir": out / "theirs",
        "resolution": setting.resolution, "train_batch_size": setting.batch, "max_train_steps": steps, "seed": 0,
        "output_name": "theirs", "save_model_as": "safetensors", "learning_rate": 1e-4, "lr_scheduler": "constant",
        "optimizer_type": "AdamW", "mixed_precision": "no", "cache_latents": True, "sdpa": True,
        "tokenizer_cache_dir": tokenizer, "max_data_loader_n_workers": 0,
    }  # fmt: skip
    own: Mapping[str, Mapping[str, Any]] = {
        "lora": {
            "network_module": "networks.lora", "network_dim": 8, "network_alpha": 8, "network_train_unet_only": True,
        },
        "dreambooth": {"stop_text_encoder_training": -1},
        "textual-inversion": {"token_string": "sks", "init_word": setting.word, "use_object_template": True},
    }  # fmt: skip
    return shared | own[method]


PEERS: Mapping[str, tuple[Mapping[str, str], Callable[[str, Setting, int, Path], Mapping[str, Any]]]] = {
    "diffusers": (
        {
            "textual-inversion": "examples/textual_inversion/textual_inversion.py",
            "lora": "examples/dreambooth/train_dreambooth_lora.py",
            "dreambooth": "examples/dreambooth/train_dreambooth.py",
        },
        diffusers_options,
    ),
    "kohya": (
        {
            "textual-inversion": "train_textual_inversion.py",
            "lora": "train_network.py",
            "dreambooth": "train_db.py",
        },
        kohya_options,
    ),
}


def ours(setting: Setting, methods: Sequence[str], steps: int, out: Path) -> list[str]:
    """One method by `train`, several by `sweep`."""
    words: list[Any] = ["--base", setting.base, "--device", "cpu", "--precision", "fp32"]
    words += ["--resolution", setting.resolution, "--class", setting.word, "--seed", 0]
    alone = len(methods) == 1
    for method in methods:
        own = [*SETTINGS[method], f"steps={steps}", f"batch={setting.batch}", "fixed_every=0"]
        own += [f"start_word={setting.word}"] if method == "textual-inversion" else []
        words += [word for entry in own for word in ("-s", entry if alone else f"{method}.{entry}")]
    if alone:
        command = ["train", *methods, setting.pictures, "--out", out / "ours.safetensors", "--overwrite"]
    else:
        command = ["sweep", setting.pictures, *(word for method in methods for word in ("--method", method))]
        command += ["--out", out / "sweep"]
    return [sys.executable, "-m", "triptych", *map(str, command), *map(str, words)]


def run(words: Sequence[str], setting: Setting, path: str = "", folder: Path | None = None) -> tuple[float, float]:
    """The seconds of a process by the clock that is set, and its greatest memory in MB.

    Raises:
        TriptychError: it fails.
    """
    python = os.pathsep.join(filter(None, (path, os.environ.get("PYTHONPATH", ""))))
    environment = {
        **os.environ, "PYTHONPATH": python, "OMP_NUM_THREADS": str(setting.threads),
        "MKL_NUM_THREADS": str(setting.threads), "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "true",
    }  # fmt: skip
    with tempfile.TemporaryFile("w+") as told:
        began = time.perf_counter()
        process = subprocess.Popen(words, env=environment, stdout=told, stderr=subprocess.STDOUT, cwd=folder)
        _, status, usage = os.wait4(process.pid, 0)
        taken = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            told.seek(0)
            raise TriptychError(f"{' '.join(words[:4])} ended with {process.returncode}: {told.read()[-1500:]}")
    worked = usage.ru_utime + usage.ru_stime
    return worked if setting.clock == "cpu" else taken, usage.ru_maxrss / 1000


def ratios(pairs: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Of (ours, theirs), a pair a round."""
    found = sorted(ours / theirs for ours, theirs in pairs)
    return {"ratio": median(found), "lowest": found[0], "highest": found[-1], "rounds": [list(pair) for pair in pairs]}


def compare(
    setting: Setting, peer: Peer, methods: Sequence[str], steps: tuple[int, int], rounds: int
) -> dict[str, dict[str, Any]]:
    """Each method's ratios, ours over theirs, and those of all together; in each round both take turns."""
    libraries = [run([sys.executable, "-c", LIBRARIES], setting, path)[1] for path in ("", peer.path)]
    step: dict[str, list[list[float]]] = {method: [] for method in methods}
    memory: dict[str, list[list[float]]] = {method: [] for method in methods}
    whole: list[list[float]] = []
    for _ in range(rounds):
        after = 0.0
        for method in methods:
            with tempfile.TemporaryDirectory() as out:
                pairs = [
                    (run(ours(setting, [method], count, Path(out)), setting),
                     peer.run(setting, method, count, Path(out)))
                    for count in steps
                ]  # fmt: skip
            step[method].append([(pairs[1][who][0] - pairs[0][who][0]) / (steps[1] - steps[0]) for who in (0, 1)])
            memory[method].append([max(pair[who][1] for pair in pairs) - libraries[who] for who in (0, 1)])
            after += pairs[1][1][0]
            print(f"{method}: {step[method][-1]} s a step, {memory[method][-1]} MB", flush=True)
        if len(methods) == len(peer.scripts):
            with tempfile.TemporaryDirectory() as out:
                whole.append([run(ours(setting, list(SETTINGS), steps[1], Path(out)), setting)[0], after])
            print(f"all: {whole[-1]} s", flush=True)
    told = {method: {"step": ratios(step[method]), "memory": ratios(memory[method])} for method in methods}
    return told | ({"all": {"whole": ratios(whole)}} if whole else {})


def section(told: Mapping[str, Any]) -> str:
    """One run as a part of the page."""
    peer, clock = told["peer"], "on the clock" if told["clock"] == "wall" else "of the processor"
    lines = [
        f"## Beside the scripts of {peer}: {told['base']}",
        "",
        f"{told['resolution']} px, batch {told['batch']}, float32, {told['threads']} threads, time {clock}, "
        f"{told['processor']}, torch {told['torch']}; the peer at {told['commit']}. "
        f"Between {told['steps'][0]} and {told['steps'][1]} steps.",
        "",
        "| | ratio | lowest to highest | goal | ours | theirs |",
        "|---|---|---|---|---|---|",
    ]
    for method, found in told["found"].items():
        for what, unit in (("step", "s"), ("memory", "MB"), ("whole", "s")):
            if what in found:
                one = found[what]
                goal = {"step": GOALS.get(method), "memory": GOAL_OF_MEMORY, "whole": GOAL_OF_ALL}[what]
                aim = "" if goal is None or peer != "diffusers" else f"{goal:.2f}{', missed' * (one['ratio'] > goal)}"
                own, their = (median(pair[who] for pair in one["rounds"]) for who in (0, 1))
                lines.append(
                    f"| {method}: {what} | {one['ratio']:.2f} | {one['lowest']:.2f} to {one['highest']:.2f} | {aim}"
                    f" | {own:.3g} {unit} | {their:.3g} {unit} |"
                )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", required=True, help="diffusers=CHECKOUT or kohya=CHECKOUT")
    parser.add_argument("--path", default="", help="before the Python path of the peer")
    parser.add_argument("--base", type=Path)
    parser.add_argument("--pictures", type=Path, default=Path(__file__).parents[1] / "examples" / "blob-cat")
    parser.add_argument("--word", default="cat", help="one token of the base")
    parser.add_argument("--methods", default="", help="separated by commas; all if none is named")
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", default="wall", choices=("wall", "cpu"), help="cpu: what a busy machine blurs less")
    parser.add_argument("--steps", default="10,40")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    name, _, checkout = given.peer.partition("=")
    if name not in PEERS or not Path(checkout).is_dir():
        parser.error(f"--peer takes NAME=CHECKOUT, a folder with the scripts of one of {', '.join(PEERS)}")
    peer = Peer(name, Path(checkout).resolve(), given.path and str(Path(given.path).resolve()), *PEERS[name])
    methods = given.methods.split(",") if given.methods else list(peer.scripts)
    if unknown := set(methods) - set(peer.scripts):
        parser.error(f"{name} has no script for {', '.join(sorted(unknown))}; it has {', '.join(peer.scripts)}")
    first, second = map(int, given.steps.split(","))
    with tempfile.TemporaryDirectory() as folder:
        base = given.base or Path(folder) / "base"
        if not given.base:
            save_folder(Place("demo", device="cpu", precision="fp32").open(), base)
        pictures = Path(folder) / "pictures"  # without captions, which one of the scripts takes for pictures
        shutil.copytree(given.pictures, pictures, ignore=shutil.ignore_patterns("*.txt", "*.md", "*.toml"))
        setting = Setting(
            base.resolve(), pictures, given.word, given.resolution, given.batch, given.threads, given.clock
        )  # fmt: skip
        found = compare(setting, peer, methods, (first, second), given.rounds)
    asked = ["git", "-C", str(peer.checkout), "log", "-1", "--format=commit %h of %as"]
    commit = subprocess.run(asked, check=False, capture_output=True, text=True).stdout.strip()
    own = {key: value for key, value in asdict(setting).items() if key not in ("base", "pictures")}
    told = {
        "peer": name, "commit": commit, "base": given.base.parent.name if given.base else "demo", **own,
        "steps": [first, second], "processor": processor(), "torch": torch.__version__, "found": found,
    }  # fmt: skip
    print(section(told))
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
