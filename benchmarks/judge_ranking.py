"""Whether `triptych judge` names the best of ten checkpoints whose ranking is known.

    python -m benchmarks.judge_ranking examples/outline --out OUT    # some fifteen minutes on two cores

One LoRA is trained on the pictures that a study trains on, and its tensors are kept after nine numbers of steps. The
tenth file is *damaged*: the last one with noise on its weights. The command judges them as a person would have it done,
with a quick study's prompts. Then they are judged once more, by other seeds and twice the prompts: that stands
for the truth. Printed are both figures and the decision on each file, the regret (how much worse the named file truly
is than the truly best), and whether it is within the margin.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from triptych.base import Base, Place, generator
from triptych.cli.console import Console
from triptych.data.concept import Concept
from triptych.data.examples import Examples
from triptych.exchange.artifact import Artifact
from triptych.exchange.formats import open_artifact
from triptych.exchange.saving import save
from triptych.methods import method_named
from triptych.study.judging import Judgement, JudgeRequest, judge_files
from triptych.study.training import provenance
from triptych.training.fit import Trial, fit
from triptych.training.moments import Moment
from triptych.verdict import MARGINS
from triptych.verdict.words import span

STEPS = (5, 15, 30, 60, 90, 120, 180, 240, 300)
NOISE = 3.0  # of the weights' own spread, on the damaged file
MORE = 2  # times the prompts for the truth
TRUTH_SEED = 1


def checkpoints(base: Base, concept: Concept, out: Path) -> list[Path]:
    """The nine moments of one training, and the damaged file."""
    paths = {steps: out / f"lora-{steps:03}.safetensors" for steps in STEPS}
    if not all(path.is_file() for path in paths.values()):
        train(base, concept, paths)
    last, random = open_artifact(paths[STEPS[-1]]), generator("damage")
    noisy = {
        name: tensor + NOISE * tensor.std() * torch.randn(tensor.shape, generator=random)
        if tensor.dim() > 1
        else tensor
        for name, tensor in sorted(last.tensors.items())
    }
    damaged = out / "lora-damaged.safetensors"
    save(replace(last, tensors=noisy), damaged, to="kohya-lora", base=base)
    return [*paths.values(), damaged]


def train(base: Base, concept: Concept, paths: Mapping[int, Path]) -> None:
    """Train the LoRA and write its tensors after each number of steps."""
    method = method_named("lora")
    settings = method.for_concept(method.configure(base.description.methods["lora"], {"steps": STEPS[-1]}), concept)
    origin = provenance(base, concept, method.phrase(settings, concept.class_word), 0)

    def keep(moment: Moment) -> None:
        if moment.done in paths:
            artifact = Artifact("lora", settings, moment.tensors(None), origin)
            save(artifact, paths[moment.done], to="kohya-lora", base=base)

    examples = Examples.of(base, concept, concept.split(0).train)
    fit(base, [Trial("lora", settings, examples, concept.class_word)], watch=keep)


def both(judgement: Judgement) -> dict[str, float]:
    """File -> the headline figure."""
    methods = judgement.verdict.methods
    return {judged.file: methods[judged.row]["both"].value for judged in judgement.record.files}


def printed(found: Judgement, truth: Judgement) -> None:
    known = both(truth)
    print(f"{'file':<28} {'judged':>7} {'interval':>16} {'truth':>7}  decision")
    for judged in sorted(found.record.files, key=lambda judged: judged.file):
        row = found.verdict.methods[judged.row]["both"]
        print(f"{judged.file:<28} {row.value:7.2f} {span(row):>16} {known[judged.file]:7.2f}  {judged.decision}")
    best = found.record.files[0]
    regret = max(known.values()) - known[best.file]
    print(f"named: {best.file}; {best.reason}")
    print(
        f"its regret is {regret:.3f}, {'within' if regret <= MARGINS.both else 'BEYOND'} the margin of {MARGINS.both}"
    )
    wrong = [
        judged.file
        for judged in found.record.files
        if judged.decision == "discard" and max(known.values()) - known[judged.file] < MARGINS.both
    ]
    print(f"discarded although within the margin of the best: {', '.join(wrong) or 'none'}")


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(words)
    given.out.mkdir(parents=True, exist_ok=True)
    base, concept = Place().open(), Concept.open(given.folder)
    files = tuple(checkpoints(base, concept, given.out))
    request = JudgeRequest(files, given.folder)
    prompts = base.description.budgets["quick"].prompts
    with Console() as console:
        found = judge_files(request, given.out / "judged", console)
        others = replace(request.options, seed=TRUTH_SEED, prompts=MORE * prompts, unrelated=2)
        more = replace(request, options=others)
        truth = judge_files(more, given.out / "truth", console)
    printed(found, truth)


if __name__ == "__main__":
    main()
