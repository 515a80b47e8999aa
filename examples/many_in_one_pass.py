"""Train LoRAs of several ranks in one pass over one base: `python examples/many_in_one_pass.py FOLDER out`."""

from __future__ import annotations

import sys
from pathlib import Path

import triptych


def main(folder: Path, out: Path, ranks: tuple[int, ...] = (2, 4, 8), steps: int = 180) -> None:
    base = triptych.open_base("demo")
    concept = triptych.Concept.open(folder)
    method = triptych.method_named("lora")
    examples = triptych.Examples.of(base, concept, range(len(concept.pictures)))
    trials = [
        triptych.Trial(
            "lora", method.configure({"rank": rank, "steps": steps}), examples, concept.class_word, owner=str(rank)
        )
        for rank in ranks
    ]
    out.mkdir(parents=True, exist_ok=True)
    for trial, fitted in zip(trials, triptych.fit(base, trials), strict=True):
        if fitted.failure:
            print(f"rank {trial.owner}: {fitted.failure}")
            continue
        artifact = triptych.Artifact("lora", trial.settings, fitted.tensors)
        triptych.save(artifact, out / f"rank-{trial.owner}.safetensors")
        print(f"rank {trial.owner}: loss {sum(fitted.losses[-10:]) / len(fitted.losses[-10:]):.4f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
