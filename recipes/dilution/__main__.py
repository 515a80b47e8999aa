"""Measures how much mixes of files keep of each concept, on the embedded base: ratios, counts, generations.

    python -m recipes.dilution --out OUT --minutes 90    # go on with the same command

For every training seed it trains a LoRA and a DreamBooth of each of eight concepts, and runs a study of dilution for
each of both kinds. For pairs of LoRAs it searches the mix that loses least ("pairs"), and trains and measures what else
can hold two concepts ("beside"). What is there already is not made again, so the work can be stopped at any time; with
--minutes it stops by itself. What a part measured so far is then written to a record,
docs/dilution/records/PART-SEED.json. `recipes.dilution.page` makes the page of all records, so a further seed needs
nothing of the earlier ones:

    python -m recipes.dilution --out OUT --parts lora --seeds 3
    python -m recipes.dilution.page
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from recipes.dilution import records
from recipes.dilution.concepts import ROOT, folders
from recipes.dilution.pairs import PAIRS, RESULT, Pair, Training, measured
from triptych.app.session import Session
from triptych.app.train import TrainRequest
from triptych.base import Place
from triptych.base.device import dtype_named
from triptych.cli.console import Console
from triptych.data.concept import Concept
from triptych.dilution.plan import DilutionPlan, Source
from triptych.errors import TriptychError
from triptych.exchange.formats import open_artifact
from triptych.study import Progress

PARTS = ("lora", "dreambooth", "pairs", "beside")
PLACE = Place("demo", device="cpu")
COUNTS = (2, 3, 4, 8)
RATIOS = (0.1, 0.3, 0.7, 0.9)  # that of half and half is the average of two


class OverError(Exception):
    """The time is over."""


@dataclass(frozen=True)
class Work:
    """The folder, the session, and when to stop."""

    out: Path
    session: Session
    progress: Progress
    ends: float
    steps: int  # of a training; 0: as many as the base states
    prompts: int
    into: Path  # the folder of the records

    @property
    def minutes(self) -> float:
        """What is left, 0 for no end.

        Raises:
            OverError: nothing is left.
        """
        left = (self.ends - time.monotonic()) / 60
        if left <= 0:
            raise OverError
        return left if left != float("inf") else 0.0

    def trained(self, method: str, folder: Path, seed: int) -> Path:
        """A file of one training with the base's own settings."""
        file = self.out / method / f"seed-{seed}" / f"{folder.name}.safetensors"
        if not file.is_file():
            _ = self.minutes
        settings = {"steps": self.steps} if self.steps else {}
        request = TrainRequest(method, Concept.open(folder), PLACE, settings, seed)
        return self.at(seed).trained(request, file)

    def at(self, seed: int) -> Training:
        return Training(self.session, PLACE, seed, self.progress)

    def paired(self, seed: int, beside: bool) -> None:
        """For each pair of LoRAs the mix that loses least, and on request what is no mix, which takes trainings.

        Raises:
            OverError: the time is over before all is sampled.
        """
        for names in PAIRS:
            folders = [ROOT / "examples" / name for name in names]
            first, second = (Source(self.trained("lora", folder, seed), folder) for folder in folders)
            pair = Pair(first, second, self.out / "pairs" / f"seed-{seed}" / "-".join(names), self.prompts)
            if not complete(pair.study, self.prompts) or (beside and not pair.whole):
                others = pair.others(self.at(seed)) if beside else ()
                try:
                    if not pair.measure(self.at(seed), self.minutes, others):
                        raise OverError
                except TriptychError as error:  # such as a pair of which no file learned: the others go on
                    print(f"{'-'.join(names)}, seed {seed}: {error}", flush=True)
                    continue
            self.record("pairs-" + "-".join(names), seed, first.file, pair.told)

    def studied(self, method: str, sources: tuple[Source, ...], seed: int) -> None:
        """The study of one seed; one that is complete stays as it is.

        Raises:
            OverError: the time is over before all is sampled.
        """
        study = self.out / method / f"study-{seed}"
        if not complete(study, self.prompts):
            plan = DilutionPlan(
                sources, PLACE, COUNTS, RATIOS, prompts=self.prompts, unrelated=self.prompts // 2, seed=seed,
                minutes=self.minutes,
            )  # fmt: skip
            result = self.session.dilution(plan, study, self.progress)
            print(f"{method}, seed {seed}:", *result.sentences, sep="\n  ", flush=True)
        self.record(method, seed, sources[0].file, measured(study))
        if not complete(study, self.prompts):
            raise OverError

    def record(self, part: str, seed: int, file: Path, told: records.Told) -> None:
        """Write what was measured, with how, and how the files were trained: one of them tells it."""
        settings = open_artifact(file).settings
        how = {
            "part": part,
            "seed": seed,
            "trained": {"lr": settings.lr, "steps": settings.steps},
            "precision": str(dtype_named(PLACE.precision, torch.device(PLACE.device))),
        }
        print(records.write(self.into, part, seed, {**how, **told}), flush=True)


def complete(study: Path, prompts: int) -> bool:
    """Whether all of a study is sampled and measured, with so many prompts."""
    told = measured(study) if (study / RESULT).is_file() else {"complete": False}
    return bool(told["complete"]) and told["pictures_a_row"] == prompts


def everything(work: Work, parts: list[str], seeds: list[int]) -> None:
    """Seed after seed, each for all parts, so that a stop leaves as many seeds of each."""
    concepts = folders(work.out, work.session, PLACE, work.progress)
    for seed in seeds:
        for method in (part for part in parts if part in ("lora", "dreambooth")):
            sources = tuple(Source(work.trained(method, folder, seed), folder) for folder in concepts)
            work.studied(method, sources, seed)
        for part in (part for part in parts if part in ("pairs", "beside")):
            work.paired(seed, beside=part == "beside")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--seeds", default="0,1,2", help="of the trainings of each file")
    parser.add_argument("--prompts", type=int, default=16, help="pictures of each concept for each mix")
    parser.add_argument("--steps", type=int, default=0, help="of each training; 0: as many as the base states")
    parser.add_argument("--minutes", type=float, default=0, help="stop after so long; 0: when all is done")
    parser.add_argument("--records", type=Path, default=records.FOLDER, help="where what was measured is written")
    given = parser.parse_args()
    ends = time.monotonic() + 60 * given.minutes if given.minutes else float("inf")
    with Console() as console, Session() as session:
        try:
            everything(
                Work(given.out, session, console, ends, given.steps, given.prompts, given.records),
                given.parts.split(","), [int(seed) for seed in given.seeds.split(",")],
            )  # fmt: skip
        except OverError:
            print("the time is over: run the same command again to go on")


if __name__ == "__main__":
    main()
