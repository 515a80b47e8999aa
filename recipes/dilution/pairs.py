"""What loses less, for pairs of LoRAs: other ways to have two concepts at once, and the mix that a search finds."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from triptych.app.session import Session
from triptych.app.train import TrainRequest
from triptych.base import Place
from triptych.data.concept import Concept
from triptych.dilution.plan import SWITCHED, DilutionPlan, Source, only
from triptych.mixing.merge import merge
from triptych.mixing.request import Ingredient, Mix
from triptych.study import Progress

RESULT = "dilution.json"  # in the folder of a study
PAIRS = (("blob-cat", "koala"), ("koala", "night"), ("outline", "blob-cat"))
TRIALS = 24
JOINT = ("lora", "fine-tune")  # what is trained on both folders at once


def measured(study: Path) -> dict[str, Any]:
    """What a study measured."""
    told: dict[str, Any] = json.loads((study / RESULT).read_text(encoding="utf-8"))
    return told


@dataclass(frozen=True)
class Training:
    """Where and with which seed files are trained."""

    session: Session
    place: Place
    seed: int
    progress: Progress

    def trained(self, request: TrainRequest, file: Path) -> Path:
        """The file of a training; one that was stopped goes on."""
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            self.session.train(request, file, self.progress, resume=True)
        return file


@dataclass(frozen=True)
class Pair:
    """Two trained files with their folders, and the folder for all that is made of them."""

    first: Source
    second: Source
    out: Path
    prompts: int

    @property
    def sources(self) -> tuple[Source, Source]:
        return self.first, self.second

    @property
    def study(self) -> Path:
        return self.out / "study"

    def measure(self, at: Training, minutes: float, beside: tuple[tuple[Path, ...], ...]) -> bool:
        """Search the mix that loses least, and measure it beside average, sum, switched files and what is no mix.

        All is measured by the same prompts, none of which chose anything. Returns whether all is sampled.
        """
        plan = DilutionPlan(
            self.sources, at.place, (2,), (), 0, prompts=self.prompts, unrelated=self.prompts // 2, seed=at.seed,
            minutes=minutes, beside=beside, switched=SWITCHED,
        )  # fmt: skip
        mix = Mix(tuple(Ingredient(source.file) for source in self.sources))
        found = at.session.search_mix(mix, plan, TRIALS, self.out / "searched", at.progress)
        file = self.out / "searched.safetensors"
        merge(found.mix, file, overwrite=True)
        weights = [1.0 if given.weight is None else given.weight for given in found.mix.ingredients]
        (self.out / "found.txt").write_text(f"{found}\n", encoding="utf-8")
        return at.session.dilution(plan, self.study, at.progress, single=[only(weights, file)]).complete

    def others(self, at: Training) -> tuple[tuple[Path, ...], ...]:
        """What is no mix: one LoRA that is trained on both folders, one fine-tune on both, and two embeddings."""
        joint = ((self._joint(method, at),) for method in JOINT)
        return (*joint, tuple(self._word(source, at) for source in self.sources))

    def _joint(self, method: str, at: Training) -> Path:
        """One file for both concepts, trained for as many steps as two."""
        first, second = (Concept.open(source.folder) for source in self.sources)
        file = self.out / f"joint-{method}.safetensors"
        steps = int(at.place.open().description.methods[method]["steps"])
        return at.trained(TrainRequest(method, first, at.place, {"steps": 2 * steps}, at.seed, more=(second,)), file)

    def _word(self, source: Source, at: Training) -> Path:
        """An embedding of one concept, with a word of its own; all pairs of a seed share it."""
        concept = replace(Concept.open(source.folder), token=f"<{source.name}>")
        file = self.out.parent / "words" / f"{source.name}-word.safetensors"
        return at.trained(TrainRequest("textual-inversion", concept, at.place, {}, at.seed), file)

    @property
    def whole(self) -> bool:
        """Whether what is no mix is measured, too."""
        return any(mix["name"] == "beside-joint-lora" for mix in measured(self.study)["mixes"])

    @property
    def told(self) -> dict[str, Any]:
        """What was measured, and which mix the search found."""
        return {"found": (self.out / "found.txt").read_text(encoding="utf-8").strip(), **measured(self.study)}
