"""Checks a folder before a training: without any model at first, then with the base's encoders."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..base import Base, Place
from ..data.checking import bad, check, unfit_to_judge
from ..data.concept import FEWEST_PICTURES, Concept
from ..data.findings import FAULTS, Finding
from ..data.notes import lines
from ..data.pictures import read_picture
from ..data.quality import plain_part, scaled_down
from ..errors import TriptychError, first_line
from ..methods import Training, method_named
from ..metrics.encoders import ImageEncoder, open_each, open_encoder
from ..metrics.encoders.efficientnet import EfficientNetLite0
from ..metrics.world import World
from ..study.progress import Progress, Silent
from ..training.reading import reading_of
from . import conflicts
from .strangers import strangers
from .worth import Worth, worth_of

# faults of the pixels: what else such a picture shows is not looked at
SPOILED = frozenset(
    {"truncated", "near-copy", "small", "blurred", "empty", "dark", "light", "compressed", "wide", "bars"}
)
SOUND = "without a finding"
READER = "lora"  # whose words for the concept captions are measured with


@dataclass(frozen=True)
class CheckRequest:
    """A folder and the base that it would be trained on. `quick` opens no base and no encoder."""

    concept: Concept
    place: Place
    image_encoder: str = ""
    text_encoder: str = ""
    quick: bool = False
    worth: bool = False  # what each picture is worth, too
    halves: int = 0
    steps: int = 0
    seed: int = 0

    @classmethod
    def of(
        cls, folder: Path, place: Place, *, kind: str = "", class_word: str = "", token: str = "", quick: bool = False
    ) -> CheckRequest:
        concept = Concept.open(folder, kind=kind or None, class_word=class_word or None, token=token or None)
        return cls(concept, place, quick=quick)


@dataclass(frozen=True)
class Checked:
    """What a check found.

    Attributes:
        findings: about files in the order of their names, then about the whole folder.
        usable: the names of the pictures that a cleaned copy has.
        held_out: the names of the pictures that a study would not train on.
        notes: what was not used as given, and what could not be checked.
        worth: of the training pictures, the least first; empty if it was not asked for.
        worth_of_groups: the mean worth of the training pictures with each kind of finding, and of those without any.
    """

    concept: Concept
    findings: tuple[Finding, ...]
    usable: tuple[str, ...]
    held_out: tuple[str, ...]
    notes: tuple[str, ...]
    worth: tuple[Worth, ...] = ()
    worth_of_groups: tuple[Worth, ...] = ()

    @property
    def unfit_to_judge(self) -> list[str]:
        """The held-out pictures that likeness should not be measured by."""
        unfit = unfit_to_judge(self.findings)
        return [name for name in self.held_out if name in unfit]

    @property
    def is_usable(self) -> bool:
        """Whether enough pictures for a training are without a grave finding."""
        return len(self.usable) >= FEWEST_PICTURES

    def to_json(self) -> str:
        table = {
            "folder": self.concept.name, "pictures": len(self.concept.pictures), "usable": list(self.usable),
            "held_out": list(self.held_out), "unfit_to_judge": self.unfit_to_judge, "enough": self.is_usable,
            "notes": list(self.notes),
            "worth": [asdict(worth) for worth in self.worth],
            "worth_of_groups": [asdict(worth) for worth in self.worth_of_groups],
            "findings": [{**asdict(finding), "action": finding.action.value} for finding in self.findings],
        }  # fmt: skip
        return json.dumps(table, ensure_ascii=False)


def check_folder(
    request: CheckRequest, progress: Progress | None = None, opened: Callable[[Place], Base] = Place.open
) -> Checked:
    """Look for everything in a folder that a training would suffer from.

    Raises:
        TriptychError: the base cannot be opened.
    """
    concept, progress = request.concept, progress or Silent()
    notes = lines(concept.notes)  # files that are left out have findings
    worth, of_groups = list[Worth](), list[Worth]()
    if request.quick:
        findings = check(concept, request.place.resolution)
    else:
        progress.stage("opening", 1)
        base = opened(request.place)
        progress.stage("checking", 1)
        findings = check(concept, base.resolution, _known(base))
        looked = _Looked(concept, base, request, findings)
        findings += [*looked.found()]
        notes += looked.notes
        progress.advance()
        if request.worth:
            encoder = looked.image_encoder()
            worth, of_groups = worth_of(
                base, concept, encoder, progress, halves=request.halves, steps=request.steps,
                unfit=unfit_to_judge(findings), groups=groups_of(concept, findings), seed=request.seed,
            )  # fmt: skip
    gone = bad(findings)
    usable = tuple(picture.name for picture in concept.pictures if picture.name not in gone)
    held_out = tuple(concept.pictures[i].name for i in concept.split(0).held_out)
    ordered = sorted(findings, key=lambda finding: (not finding.file, finding.file))
    return Checked(concept, tuple(ordered), usable, held_out, tuple(notes), tuple(worth), tuple(of_groups))


def groups_of(concept: Concept, findings: Sequence[Finding]) -> dict[str, set[str]]:
    """Title of a fault -> names of the pictures with it; and those without any finding."""
    groups: dict[str, set[str]] = {}
    for finding in findings:
        groups.setdefault(FAULTS[finding.fault].title, set()).add(finding.file)
    groups[SOUND] = {picture.name for picture in concept.pictures} - set().union(*groups.values())
    return groups


def _known(base: Base) -> set[str]:
    """The words of the base's own prompts, which say nothing about a concept."""
    templates = base.description.population.templates.values()
    return {word for strata in templates for text in strata.values() for word in text.lower().split()}


class _Looked:
    """What encoders say about a folder. `notes` say what could not be checked."""

    def __init__(self, concept: Concept, base: Base, request: CheckRequest, before: list[Finding]) -> None:
        self.concept, self.base, self.request = concept, base, request
        spoiled = {finding.file for finding in before if finding.fault in SPOILED}
        own = [picture for picture in concept.pictures if picture.name not in spoiled]
        self.names = [picture.name for picture in own]
        self.captions = [picture.caption for picture in own]
        self.pictures = [scaled_down(read_picture(picture.path)) for picture in own]
        self.notes: list[str] = []

    def image_encoder(self) -> ImageEncoder:
        """What judges pictures: what the user names, or the first of the base's defaults that can be opened.

        Raises:
            TriptychError: none can be opened.
        """
        usual, missing = self.base.description.image_encoders(self.concept.kind), list[str]()
        names = (self.request.image_encoder,) if self.request.image_encoder else usual
        encoder = next(open_each(names, str(self.base.device), lambda name, _: missing.append(name)))
        if missing:
            self.notes.append(f"pictures are judged by {encoder.name}: {', '.join(missing)} cannot be opened")
        return encoder

    def found(self) -> Iterator[Finding]:
        yield from self._strangers()
        yield from self._conflicts()
        yield from self._cut()

    def _strangers(self) -> Iterator[Finding]:
        try:
            encoder = self.image_encoder()
        except TriptychError as error:
            self.notes.append(f"not checked: pictures unlike the others ({first_line(error)})")
            return
        see = encoder.things if isinstance(encoder, EfficientNetLite0) else encoder.images
        yield from strangers(self.names, see(self.pictures), [*map(plain_part, self.pictures)])

    def _conflicts(self) -> Iterator[Finding]:
        name = self.request.text_encoder or self.base.description.text_encoder
        world = World.open(self.base.folder) if self.base.folder and not name else None
        if world:
            yield from conflicts.by_world(self.names, self.pictures, self.captions, world)
        elif name and any(self.captions):
            try:
                encoder = open_encoder(name, "text", str(self.base.device))
            except TriptychError as error:
                self.notes.append(f"not checked: captions against pictures ({first_line(error)})")
                return
            yield from conflicts.by_encoder(self.names, self.pictures, self.captions, encoder)

    def _cut(self) -> Iterator[Finding]:
        """Captions that the base's text encoder does not read to their end."""
        settings = method_named(READER).configure(self.base.description.methods.get(READER, {}))
        assert isinstance(settings, Training)
        names = [picture.name for picture in self.concept.pictures]
        templates = self.concept.templates(self.base.description.captions[self.concept.kind])
        reading = reading_of(self.base, READER, settings, self.concept.class_word, templates, names)
        for cut in reading.cut:
            word = ", and the concept's word with it" if cut.word else ""
            said = f"its caption is {cut.tokens} tokens longer than the {reading.room} that are read{word}"
            yield Finding("long-caption", said, cut.place, cut.tokens)
