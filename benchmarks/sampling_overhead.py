"""What sampling takes beside the UNet: whole pictures, from prompts to files, over the bare calls of the UNet in them.

    python -m benchmarks.sampling_overhead [--base demo] [--threads 2] [--rounds 5] [--json docs/performance/FILE.json]

A picture is asked for as `triptych generate` asks: the prompt's markup is read, text is encoded, a sampler steps, the
autoencoder decodes, and a PNG with its recipe is written. The base is open before. Beside it are calls of the bare
UNet, as many as the pictures took, with the same rows and sizes, and nothing else. Both alternate in one run, and a
ratio is taken within a round. `--clock cpu --threads 1` times the processor's work, which a busy machine blurs less.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.training_step import CLOCKS, Case, Clock, Ratio, measure, report, section
from triptych.app.asked import SampleRequest
from triptych.app.sample import sample_files
from triptych.base import Base, Place
from triptych.data.prompts import Line
from triptych.study.progress import Silent

PROMPTS = tuple(
    f"a {style} {thing} on a {colour} background"
    for style, thing, colour in (("glossy", "cat", "green"), ("noto", "owl", "red"), ("blob", "car", "white"))
)
COUNTS = {32: "32 pictures in one run", 1: "a single picture"}
GOAL = 1.1

Call = tuple[torch.Size, torch.Size]  # shapes of the noisy latents and of the text


def pictures(base: Base, place: Place, clock: Clock, count: int) -> Case:
    """So many pictures, of a few prompts in turn, written into a folder that is then removed."""
    request = SampleRequest([Line(PROMPTS[i % len(PROMPTS)], seed=i) for i in range(count)])

    def run(repeats: int) -> list[float]:
        taken = []
        for _ in range(repeats):
            with tempfile.TemporaryDirectory() as out:
                began = clock()
                written = sample_files(request, place, Path(out), Silent(), lambda _: base)
                taken.append(clock() - began)
            assert len(written) == count
        return taken

    return Case(f"pictures, {count}", count, run)


def calls_of(base: Base, case: Case) -> Counter[Call]:
    """The calls of the UNet in a case, which is run once."""
    calls: Counter[Call] = Counter()

    def noted(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        calls[inputs[0].shape, inputs[2].shape] += 1

    hook = base.denoiser.module.register_forward_pre_hook(noted)
    case.run(1)
    hook.remove()
    return calls


def bare(base: Base, clock: Clock, calls: Counter[Call], count: int) -> Case:
    """The same calls of the UNet alone, on random numbers."""
    unet = base.denoiser.module
    how: dict[str, Any] = {"device": base.device, "dtype": base.dtype}
    given = [(torch.randn(noisy, **how), torch.randn(text, **how), number) for (noisy, text), number in calls.items()]

    @torch.no_grad()
    def run(repeats: int) -> list[float]:
        taken = []
        for _ in range(repeats):
            began = clock()
            for noisy, text, number in given:
                times = torch.full((len(noisy),), 500, device=base.device)
                for _ in range(number):
                    unet(noisy, times, text)
            taken.append(clock() - began)
        return taken

    return Case(f"UNet in {count}", count, run)


def told(place: Place, clock: str, rounds: int, repeats: int, counts: Sequence[int]) -> dict[str, Any]:
    """Everything that is measured, as it is kept."""
    base, found, ratios = place.open(), list[Case](), list[Ratio]()
    for count, name in ((count, COUNTS[count]) for count in counts):
        whole = pictures(base, place, CLOCKS[clock], count)
        alone = bare(base, CLOCKS[clock], calls_of(base, whole), count)
        found += [whole, alone]
        ratios.append(Ratio(name, whole.name, (alone.name,), goal=GOAL))
    measured = measure(found, rounds, repeats)
    return {"clock": clock, "title": "Sampling:", "unit": "all of", **report(base, measured, found, ratios)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="demo")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", default="wall", choices=tuple(CLOCKS), help="cpu: what a busy machine blurs less")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=1, help="in each round, of which the median counts")
    parser.add_argument("--counts", type=int, nargs="+", default=list(COUNTS), choices=list(COUNTS), help="of pictures")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    place = Place(arguments.base, precision=arguments.precision)
    found = told(place, arguments.clock, arguments.rounds, arguments.repeats, arguments.counts)
    print(section(found))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
