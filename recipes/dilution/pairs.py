"""What loses less, for pairs of LoRAs: other ways to have two concepts at once, and the mix that a search finds."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triptych.app.session import Session
from triptych.app.train import TrainRequest
from triptych.base import Place
from triptych.data.concept import Concept
from triptych.dilution.plan import SWITCHED, DilutionPlan, Source, only, plain_average
from triptych.files.atomic import replacing_entries
from triptych.mixing.merge import merge
from triptych.mixing.request import Ingredient, Mix
from triptych.study import Progress

RESULT = "dilution.json"  # in the folder of a study
PAIRS = (("blob-cat", "koala"), ("koala", "night"), ("outline", "blob-cat"))
TRIALS = 16
STEPS = 300  # of a training of one concept on the embedded base


def measured(study: Path) -> dict[str, Any]:
    """What a study measured."""
    told: dict[str, Any] = json.loads((study / RESULT).read_text(encoding="utf-8"))
    return told


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

    def joined(self) -> Path:
        """A folder with the pictures of both concepts, each called by its class word in its captions.

        The class word of the joined folder is the article, which every caption has. So no caption is changed.
        """
        folder = self.out / "joined"
        if folder.is_dir():
            return folder
        with replacing_entries(folder, "concept.toml") as made:
            for source in self.sources:
                concept = Concept.open(source.folder)
                for picture, template in zip(concept.pictures, concept.templates(""), strict=True):
                    name = f"{source.name}-{picture.path.name}"
                    shutil.copyfile(picture.path, made / name)
                    text = template.replace("{}", concept.class_word, 1)
                    (made / name).with_suffix(".txt").write_text(text + "\n", encoding="utf-8")
            (made / "concept.toml").write_text('kind = "style"\nclass = "a"\n', encoding="utf-8")
        return folder

    def together(self, session: Session, place: Place, seed: int, progress: Progress) -> Path:
        """One LoRA that is trained on both folders, for as many steps as both files had."""
        file = self.out / "joint.safetensors"
        if not file.is_file():
            request = TrainRequest("lora", Concept.open(self.joined()), place, {"steps": 2 * STEPS}, seed)
            session.train(request, file, progress, resume=True)
        return file

    def compare(self, session: Session, place: Place, seed: int, minutes: float, progress: Progress) -> bool:
        """Measure average, sum, both switched, and the joint training. Returns whether all is done."""
        joint = self.together(session, place, seed, progress)
        plan = DilutionPlan(
            self.sources, place, (2,), (), 0, prompts=self.prompts, unrelated=self.prompts // 2, seed=seed,
            minutes=minutes, beside=(joint,), switched=SWITCHED,
        )  # fmt: skip
        return session.dilution(plan, self.out / "beside", progress).complete

    def search(self, session: Session, place: Place, seed: int, minutes: float, progress: Progress) -> bool:
        """Search the mix that loses least, and measure it beside the average on other prompts."""
        plan = DilutionPlan(
            self.sources, place, (), (), 0, prompts=self.prompts, unrelated=self.prompts // 2, seed=seed,
            minutes=minutes,
        )  # fmt: skip
        mix = Mix(tuple(Ingredient(source.file) for source in self.sources))
        found = session.search_mix(mix, plan, TRIALS, self.out / "searched", progress)
        file = self.out / "searched.safetensors"
        merge(found.mix, file, overwrite=True)
        weights = [1.0 if one.weight is None else one.weight for one in found.mix.ingredients]
        arms = [only(weights, file), plain_average(2)]
        (self.out / "found.txt").write_text(f"{found}\n", encoding="utf-8")
        return session.dilution(plan, self.out / "measured", progress, single=arms).complete

    @property
    def told(self) -> dict[str, Any]:
        """What both measured, and which mix the search found."""
        found = (self.out / "found.txt").read_text(encoding="utf-8").strip()
        return {"found": found, "beside": measured(self.out / "beside"), "measured": measured(self.out / "measured")}
