"""Train a LoRA on one folder and sample with it: `python examples/train_and_sample.py examples/outline out`."""

from __future__ import annotations

import sys
from pathlib import Path

import triptych


def main(folder: Path, out: Path, steps: int = 180) -> None:
    base = triptych.open_base("demo")
    concept = triptych.Concept.open(folder)
    method = triptych.method_named("lora")
    settings = method.configure(base.description.methods["lora"], {"steps": steps})
    examples = triptych.Examples.of(base, concept, range(len(concept.pictures)))
    fitted = triptych.fit(base, [triptych.Trial("lora", settings, examples, concept.class_word, seed=0)])[0]
    if fitted.failure:
        raise SystemExit(fitted.failure)
    lora = triptych.Artifact("lora", settings, fitted.tensors)
    out.mkdir(parents=True, exist_ok=True)
    triptych.save(lora, out / "lora.safetensors")
    prompt = f"a fox, {method.phrase(settings, concept.class_word)}, on a white background"
    with lora.apply(base):
        pictures = triptych.sample(base, [triptych.Request(prompt, seeds=(1, 2))])[0]
    for seed, picture in enumerate(pictures, start=1):
        picture.save(out / f"fox-{seed}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
