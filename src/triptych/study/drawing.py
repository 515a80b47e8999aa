"""The drawing stage: the same prompts and seeds for the bare base and for every trained method."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..base import Base, Drawing
from ..data.concept import fill
from ..errors import TriptychError
from ..exchange.artifact import Part, compose
from ..exchange.formats import open_artifact
from ..metrics import Drawn, Role
from ..records import PictureRecord, SheetRecord
from ..sampling.generate import Request, draw
from ..sampling.recipe import Recipe, Used, save_png
from ..scores import BASE, RESEEDED
from .layout import key
from .prompts import Prompt
from .together import Together
from .training import Run
from .work import Work

FEW = 8  # prompts that ask for the class word alone, and of another base
RESEED = 1000  # added to a prompt's number for the bare base's other picture of it


@dataclass(frozen=True)
class Sheet:
    """The pictures of one role that one trained method, or the bare base, is to draw."""

    method: str
    replicate: int
    role: Role
    asked: tuple[tuple[str, str, int], ...]  # prompt with the class word, prompt as asked, seed
    folder: Path
    artifacts: tuple[Path, ...]  # attached at once; none for the bare base

    @property
    def record(self) -> SheetRecord | None:
        """What was drawn; None where it has not been, or not all of it."""
        return SheetRecord.read(self.folder) if (self.folder / SheetRecord.NAME).is_file() else None

    @property
    def own_word(self) -> bool:
        """Whether something else than the class word calls the concept here."""
        return any(prompt != asked for prompt, asked, _ in self.asked)

    @property
    def seconds_a_picture(self) -> float | None:
        """Wall seconds of drawing one, as part of a batch; None where nothing was drawn."""
        record = self.record
        return record.seconds_a_picture if record else None

    def drawn(self, out: Path) -> list[Drawn]:
        """Its pictures, as the metrics take them."""
        paths = [self.folder / f"{i:05}.png" for i in range(len(self.asked))]
        return [
            Drawn(self.method, self.replicate, self.role, prompt, seed, path, path.relative_to(out).as_posix())
            for path, (prompt, _, seed) in zip(paths, self.asked, strict=True)
        ]


def sheets(work: Work, trained: Sequence[Run | Together]) -> list[Sheet]:
    """For the bare base and each trained run: what names the concept, what does not, and the class word alone."""
    word = work.concept.class_word
    bare = [*_of_one(work, BASE, 0, word, ()), _reseeded(work)]
    runs = ((run.method, run.replicate, run.phrase(work.concept), run.artifacts) for run in trained)
    return [*bare, *(sheet for run in runs for sheet in _of_one(work, *run))]


def pictures(work: Work, drawn: Sequence[Sheet]) -> list[Drawn]:
    """All pictures by role; those of a method without a word of its own are pictures of the class word too."""
    found = [picture for sheet in drawn if sheet.record for picture in sheet.drawn(work.layout.out)]
    nameless = {(sheet.method, sheet.replicate) for sheet in drawn if sheet.role == "concept" and not sheet.own_word}
    asked = {(prompt, seed) for prompt, _, seed in _class_word(work)}
    return found + [
        replace(one, role="class")
        for one in found
        if one.role == "concept" and (one.method, one.replicate) in nameless and (one.prompt, one.seed) in asked
    ]


def _class_word(work: Work) -> list[tuple[str, str, int]]:
    word = work.concept.class_word
    return [_asked(work, one, word) for one in work.prompts[:FEW]]


def _asked(work: Work, one: Prompt, phrase: str) -> tuple[str, str, int]:
    return fill(one.template, work.concept.class_word), fill(one.template, phrase), one.seed(work.plan.seed)


def _of_one(work: Work, method: str, replicate: int, phrase: str, artifacts: tuple[Path, ...]) -> Iterator[Sheet]:
    concept = [_asked(work, one, phrase) for one in work.prompts]
    again = [_asked(work, one.next(work.prompts), phrase) for one in work.prompts[: work.budget.again]]
    unrelated = [_asked(work, one, phrase) for one in work.unrelated]
    asked: list[tuple[Role, list[tuple[str, str, int]]]] = [("concept", concept), ("unrelated", unrelated)]
    if again:
        asked.append(("again", again))
    if phrase != work.concept.class_word:
        asked.append(("class", _class_word(work)))
    if work.other:
        asked.append(("other-base", concept[:FEW]))
    yield from (_sheet(work, method, replicate, role, wanted, artifacts) for role, wanted in asked)


def _reseeded(work: Work) -> Sheet:
    """The bare base's other picture of every unrelated prompt: how unlike two are that nothing has disturbed."""
    others = [replace(one, number=one.number + RESEED) for one in work.unrelated]
    return _sheet(work, RESEEDED, 0, "unrelated", [_asked(work, one, "") for one in others], ())


def _sheet(
    work: Work, method: str, replicate: int, role: Role, asked: list[tuple[str, str, int]], artifacts: tuple[Path, ...]
) -> Sheet:
    uses = [artifact.parent.name for artifact in artifacts]
    drawn_on = (work.base_key, work.other.identity) if work.other and role == "other-base" else work.base_key
    made_from = (drawn_on, uses, _drawing(work, role).decides, asked)
    folder = work.layout.sheets / f"{method}-{replicate}-{role}-{key(*made_from)}"
    return Sheet(method, replicate, role, tuple(asked), folder, artifacts)


def _drawing(work: Work, role: Role) -> Drawing:
    """How the pictures of a role are drawn: what nothing of the concept is asked for, perhaps in fewer steps."""
    drawing = work.base.description.drawing
    few = work.budget.unrelated_steps if role == "unrelated" else 0
    return replace(drawing, steps=few or drawing.steps)


def draw_all(work: Work, wanted: Sequence[Sheet]) -> None:
    """Draws what is not there yet. What does not fit another base is not drawn there, and said."""
    missing = [sheet for sheet in wanted if not sheet.record]
    work.progress.stage("drawing", sum(len(sheet.asked) for sheet in missing))
    for artifacts in dict.fromkeys(sheet.artifacts for sheet in missing):
        mine = [sheet for sheet in missing if sheet.artifacts == artifacts]
        here = [sheet for sheet in mine if sheet.role != "other-base"]
        there = [sheet for sheet in mine if sheet.role == "other-base"]
        if here:
            _draw(work, work.base, artifacts, here)
        if there and work.other:
            try:
                _draw(work, work.other, artifacts, there)
            except (TriptychError, RuntimeError, KeyError) as error:
                work.progress.note(f"{there[0].method} cannot be drawn on {work.plan.other_base}: {error}")


def _draw(work: Work, base: Base, artifacts: tuple[Path, ...], wanted: Sequence[Sheet]) -> None:
    with compose(base, *(Part(open_artifact(artifact)) for artifact in artifacts)):
        for drawing in dict.fromkeys(_drawing(work, sheet.role) for sheet in wanted):
            _draw_as(work, base, drawing, [sheet for sheet in wanted if _drawing(work, sheet.role) == drawing])


def _draw_as(work: Work, base: Base, drawing: Drawing, wanted: Sequence[Sheet]) -> None:
    """The sheets that are drawn in one way."""
    requests = [Request(asked, (seed,)) for sheet in wanted for _, asked, seed in sheet.asked]
    began = time.perf_counter()
    pictures = iter(draw(base, requests, drawing, done=work.progress.advance))
    seconds = (time.perf_counter() - began) / len(requests)
    for sheet in wanted:
        told = []
        for i, (prompt, asked, seed) in enumerate(sheet.asked):
            used = [Used.named(one.parent.name) for one in sheet.artifacts]
            recipe = Recipe.of(base, asked, seed, uses=used, drawing=drawing)
            save_png(sheet.folder / f"{i:05}.png", next(pictures)[0], recipe)
            told.append(PictureRecord(f"{i:05}.png", prompt, seed, asked))
        SheetRecord(sheet.method, sheet.replicate, sheet.role, tuple(told), seconds).write(sheet.folder)
