"""The files of a study of dilution: each with its concept, the words that call it, and its pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..base import Base, Place
from ..data.concept import Concept
from ..errors import TriptychError
from ..exchange.artifact import Artifact, compose, with_words
from ..exchange.formats import open_artifact, recognise
from ..files.hashes import known_sha256
from ..files.tensorfile import TensorFile
from ..metrics.encoders import ImageEncoder
from ..scores import BASE
from ..study.judged import words_of
from ..study.layout import Layout
from ..study.plan import Plan
from ..study.point import Use
from ..study.progress import Progress, Within
from ..study.prompts import Prompt
from ..study.sheets import Sheet, asked_for, sheet_of
from ..study.work import Work
from .measure import ALONE
from .plan import DilutionPlan, Source
from .response import Probe

MIXABLE = ("lora", "dreambooth")
Uses = tuple[Use, ...]


@dataclass(frozen=True)
class Attached:
    """What is attached for the pictures of an arm. `says` has the words that call a concept with it, by its place."""

    uses: Uses
    says: Sequence[str]


@dataclass(frozen=True)
class Member:
    """A file in the study: its artifact, the words that call its concept, and the shared state for its pictures."""

    source: Source
    artifact: Artifact
    says: str
    work: Work
    encoder: ImageEncoder  # one for all members that are judged alike

    def before(self, prompts: Sequence[Prompt]) -> list[Sheet]:
        """The pictures that a mix is held against: of the class word on the bare base, and of the file alone."""
        bare = _concept_sheet(self.work, BASE, self.work.concept.class_word, (), prompts)
        return [bare, self.under(ALONE, attached(self.source.file), prompts, self.says)]

    def probe(self) -> Probe:
        """What mixes with its file are held against in one step."""
        return Probe.of(self.work, self.says, attached(self.source.file))

    def under(self, row: str, uses: Uses, prompts: Sequence[Prompt], says: str) -> Sheet:
        """The pictures of its concept with files attached, called by these words."""
        return _concept_sheet(self.work, row, says, uses, prompts)


def members_of(plan: DilutionPlan, opened: Callable[[Place], Base], layout: Layout, progress: Progress) -> list[Member]:
    """Open the files of a plan, then its base, with the shared state for their pictures.

    Raises:
        TriptychError: a file or a folder cannot be used, or the files are of several kinds.
    """
    for source in plan.sources:
        check_measurable(source.file.name, recognise(TensorFile.open(source.file)).kind)
    artifacts = [open_artifact(source.file) for source in plan.sources]
    beside = [[open_artifact(file) for file in files] for files in plan.beside]
    if len({artifact.method for artifact in artifacts}) > 1:
        raise TriptychError("the files are of several kinds: give LoRAs alone, or differences and checkpoints alone")
    base, found = opened(plan.place), list[Member]()
    for source, artifact in zip(plan.sources, artifacts, strict=True):
        work = work_of(plan, source, base, layout, progress)
        says = source.says or words_of(source.file, artifact, work.concept, progress.note)
        work.open_encoders(others=False)
        own = work.encoders.first
        same = (each.encoder for each in found if each.encoder.digest == own.digest)  # which encodes a picture once
        found.append(Member(source, artifact, says, work, next(same, own)))
        for note in artifact.not_used(base):
            progress.note(note)
    for others in beside:
        for note in (note for artifact in others for note in artifact.not_used(base)):
            progress.note(note)
        with compose(base, *(part for artifact in others for part in with_words(artifact))):
            pass  # refused where two of them hold the same word
    return found


def check_measurable(name: str, kind: str) -> None:
    """
    Raises:
        TriptychError: what a mix keeps of a file of this kind is not measured.
    """
    if kind == "checkpoint":
        raise TriptychError(
            f"{name} is a checkpoint, and a search mixes changes of weights: merge {name} by the method `difference`"
            " first, which writes its change, and add the mix that is found to the base by `triptych merge BASE MIX`"
        )
    if kind not in MIXABLE:
        raise TriptychError(
            f"{name} is of the kind {kind}: dilution is of changes of weights, so give LoRAs, DreamBooth's differences"
            " or checkpoints"
        )


def work_of(plan: DilutionPlan, source: Source, base: Base, layout: Layout, progress: Progress) -> Work:
    """The shared state for the pictures of one file."""
    study = Plan(
        source.folder, place=plan.place, prompts=plan.prompts, unrelated=plan.unrelated, seed=plan.seed,
        image_encoder=plan.image_encoder, text_encoder=plan.text_encoder,
    )  # fmt: skip
    place = Layout(layout.out / "concepts" / source.name)
    return Work(study, base, Concept.open(source.folder), place, Within(progress))


def attached(*files: Path) -> Uses:
    return tuple(Use(file, known_sha256(file)) for file in files)


def words_with(files: tuple[Path, ...], members: Sequence[Member]) -> list[str]:
    """The words that call each concept with other files than its own: with one for all, or with one for each."""
    own = files if len(files) > 1 else files * len(members)
    return [
        words_of(file, open_artifact(file), member.work.concept, member.work.progress.note)
        for file, member in zip(own, members, strict=True)
    ]


def _concept_sheet(work: Work, row: str, phrase: str, uses: Uses, prompts: Sequence[Prompt]) -> Sheet:
    """The pictures of one row for one concept. `phrase` names the concept in the prompts."""
    return sheet_of(work, row, 0, "concept", [asked_for(work, prompt, phrase) for prompt in prompts], uses)
