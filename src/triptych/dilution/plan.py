"""The mixes that a study of dilution makes: along the ratio of two, the number of files, and generations.

What keeps concepts together without a mix is measured beside them: a file that was trained on all concepts, other files
that are attached together (such as embeddings), and files that take turns along the steps of a picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..base import Place
from ..errors import TriptychError, shown
from ..prompt.courses import Course, Shown, Window
from ..study.judged import said_of

COUNTS = (2, 3, 4, 6, 8)
RATIOS = tuple(i / 10 for i in range(1, 10))
WAYS = ("average", "sum")
IN_TURN, ALTERNATING = "in-turn", "alternating"
MARK = ord("A")  # the letter of the first file in a schedule
SWITCHED = (IN_TURN, ALTERNATING)  # one after the other, each for an equal part of the steps; at every step another one


@dataclass(frozen=True)
class Source:
    """A trained file with the folder of pictures of its concept.

    says: the words that call it; "": those that it states.

    Raises:
        TriptychError: the folder is missing.
    """

    file: Path
    folder: Path
    says: str = ""

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise TriptychError(f"there is no folder {self.folder} with the pictures of {self.file}")

    @classmethod
    def parse(cls, text: str) -> Source:
        """Read `FILE=FOLDER`.

        Raises:
            TriptychError: the form is another, or the folder is missing.
        """
        file, equals, folder = text.partition("=")
        if not equals:
            raise TriptychError(f"{shown(text)!r} is not of the form FILE=FOLDER: a trained file and its pictures")
        return cls(Path(file), Path(folder))

    @property
    def name(self) -> str:
        return self.file.stem


def saying(sources: Sequence[Source], says: Mapping[str, str]) -> tuple[Source, ...]:
    """The sources with the words that are given for them, as `study.judged.said_of` finds them.

    Raises:
        TriptychError: words are given for no file.
    """
    words = said_of([source.file for source in sources], says)
    return tuple(replace(source, says=words.get(source.file, source.says)) for source in sources)


@dataclass(frozen=True)
class Arm:
    """One mix.

    Attributes:
        name: of its folder.
        axis: what it varies: "ratio", "count" or "generation"; "weight" for one file alone with the weight that it has
            in an average; "mix" for one mix; "beside" for what is no mix of the files: other files, or the files
            switched along the steps.
        way: how it is mixed, or switched.
        value: on the axis: the second file's share, the number of files, the number of mixes one after the other.
        weights: position of the file -> its weight in the mix. For a generation, the weights that it comes to.
        before: the arm that a generation is mixed from.
        files: those of the arm, where they exist already: one for all concepts, or one for each.
    """

    name: str
    axis: str
    way: str
    value: float
    weights: tuple[tuple[int, float], ...]
    before: str = ""
    files: tuple[Path, ...] = ()

    @property
    def mixed(self) -> bool:
        """Whether it is mixed here, from the files alone."""
        return not self.files and self.axis not in ("weight", "beside")

    @property
    def switched(self) -> bool:
        return self.way in SWITCHED

    def course(self, place: int) -> Course | None:
        """How the strength of the file at a place goes over the steps; None where files are not switched."""
        count = len(self.weights)
        if not self.switched:
            return None
        if self.way == IN_TURN:
            return Window(place / count, (place + 1) / count)
        marks = [chr(MARK + i) for i in range(count)]
        return Shown(f"[{'|'.join(marks)}]", marks[place])


@dataclass(frozen=True)
class DilutionPlan:
    """The files, in the order in which they are added, and what is sampled of each mix."""

    sources: tuple[Source, ...]
    place: Place = field(default_factory=Place)
    counts: tuple[int, ...] = COUNTS
    ratios: tuple[float, ...] = RATIOS
    generations: int = 3
    prompts: int = 16
    unrelated: int = 16
    seed: int = 0
    minutes: float = 0.0  # after which no more is sampled; 0: until all is done
    image_encoder: str = ""
    text_encoder: str = ""
    beside: tuple[tuple[Path, ...], ...] = ()  # what is no mix: a file that holds all concepts, or one file for each
    switched: tuple[str, ...] = ()  # how files are switched along the steps, the first two and all of them

    def __post_init__(self) -> None:
        if len(self.sources) < 2:
            raise TriptychError("dilution needs two or more files, each with the folder of its pictures")
        if few := [count for count in self.counts if count < 2]:
            raise TriptychError(f"a mix has two or more files, not {few[0]}")
        if outside := [ratio for ratio in self.ratios if not 0 <= ratio <= 1]:
            raise TriptychError(f"a ratio is the second file's share, from 0 to 1, not {outside[0]:g}")
        names = [*(source.name for source in self.sources), *map(called, self.beside)]
        for name in names:
            if names.count(name) > 1:
                raise TriptychError(f"two files are called {name}: give them names of their own")
        for files in self.beside:
            if len(files) not in (1, len(self.sources)):
                raise TriptychError(
                    f"beside the mixes is one file for all concepts, or one for each of the {len(self.sources)}, and"
                    f" not {len(files)}"
                )
        if unknown := [way for way in self.switched if way not in SWITCHED]:
            raise TriptychError(f"files are switched {' or '.join(SWITCHED)}, not {unknown[0]!r}")

    @property
    def left_out(self) -> str:
        """A sentence on numbers of files that are asked for and not there; empty where all are."""
        most = len(self.sources)
        large = [str(count) for count in self.counts if count > most]
        return f"mixes of {', '.join(large)} files are left out, since {most} are given" if large else ""

    @property
    def arms(self) -> list[Arm]:
        """All mixes, those first that tell most."""
        return [*self._beside(), *self._counts(), *self._weights(), *self._generations(), *self._ratios()]

    def _beside(self) -> Iterator[Arm]:
        weights = tuple((i, 1.0) for i in range(len(self.sources)))
        for files in self.beside:
            name = called(files)
            yield Arm(f"beside-{name.replace(' ', '-')}", "beside", name, len(weights), weights, files=files)
        for count in sorted({2, len(self.sources)}) if self.switched else ():
            for way in self.switched:
                yield Arm(f"{way}-{count}", "beside", way, count, weights[:count])

    def _counts(self) -> Iterator[Arm]:
        for count in (count for count in self.counts if count <= len(self.sources)):
            for way in WAYS:
                weight = 1 / count if way == "average" else 1.0
                yield Arm(f"{way}-{count}", "count", way, count, tuple((i, weight) for i in range(count)))

    def _weights(self) -> Iterator[Arm]:
        """Each of the first two files alone, as weak as it is in an average: what the others do is not in it."""
        for count in (count for count in self.counts if count <= len(self.sources)):
            for place in (0, 1):
                yield Arm(f"weight-{count}-{place + 1}", "weight", "alone", count, ((place, 1 / count),))

    def _generations(self) -> Iterator[Arm]:
        """A mix of two, that mix with a third file, that one with a fourth: each time half and half."""
        weights, before = {0: 1.0}, ""
        for generation in range(1, min(self.generations, len(self.sources) - 1) + 1):
            weights = {**{i: w / 2 for i, w in weights.items()}, generation: 0.5}
            name = f"generation-{generation}"
            yield Arm(name, "generation", "half and half", generation, tuple(weights.items()), before)
            before = name

    def _ratios(self) -> Iterator[Arm]:
        for share in self.ratios:
            yield Arm(f"ratio-{share:g}", "ratio", "average", share, ((0, 1 - share), (1, share)))


def called(files: Sequence[Path]) -> str:
    """The name of files that are attached together."""
    return " and ".join(file.stem for file in files)


def only(weights: Sequence[float], file: Path) -> Arm:
    """The arm of one mix that exists already."""
    return Arm("mix", "mix", "the mix", len(weights), tuple(enumerate(weights)), files=(file,))


def plain_average(count: int) -> Arm:
    """The arm of the plain average of so many files, which a chosen mix has to beat."""
    return Arm("plain-average", "mix", "the plain average", count, tuple((i, 1 / count) for i in range(count)))
