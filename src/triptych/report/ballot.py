"""The blind vote: pairs of pictures of the same prompt and seed by two rows, for a person to choose from.

The person sees no row's name until the vote is over. Sides, prompts and order follow from the seed of the study. Every
pair of methods is shown about as often as any other, and those with the recommended method twice as often.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import combinations, cycle, islice
from pathlib import Path
from random import Random

from PIL import Image

from ..verdict.words import title
from .grid import asked, judged_sheets
from .reading import Picture, Reading

PAIRS = 20
Shown = dict[str, dict[tuple[str, int], Picture]]  # row -> prompt and seed -> its picture


@dataclass(frozen=True)
class Pair:
    """Two pictures of one prompt and seed, as the person sees them. `left` and `right` are rows."""

    prompt: str
    seed: int
    left: str
    right: str


@dataclass(frozen=True)
class Side:
    """One picture of a pair on the page. `file` is relative to the study folder."""

    row: str
    file: str


@dataclass(frozen=True)
class Ballot:
    """What the page needs for a vote. `study` identifies the pictures by their pixels."""

    study: str
    pairs: tuple[tuple[Pair, Side, Side], ...]

    @property
    def files(self) -> frozenset[str]:
        """The pictures of all pairs."""
        return frozenset(side.file for _, left, right in self.pairs for side in (left, right))


def ballot(reading: Reading, folder: Path, count: int = PAIRS) -> Ballot | None:
    """The pairs of a study; None where fewer than two methods have pictures of the same prompt and seed."""
    known = shown(reading, folder)
    pairs = list(islice(_pairs(reading, known), count))
    Random(f"order {reading.verdict.seed}").shuffle(pairs)  # so that no row is expected in the next pair
    if not pairs:
        return None

    def side(row: str, pair: Pair) -> Side:
        return Side(row, known[row][pair.prompt, pair.seed].path.relative_to(folder).as_posix())

    return Ballot(digest(known, pairs), tuple((pair, side(pair.left, pair), side(pair.right, pair)) for pair in pairs))


def in_words(ballot: Ballot) -> dict[str, object]:
    """The ballot as the page reads it: each side with the title of its row."""
    return {
        "study": ballot.study,
        "pairs": [
            {"prompt": pair.prompt, "seed": pair.seed, "left": _side(left), "right": _side(right)}
            for pair, left, right in ballot.pairs
        ],
    }


def _side(side: Side) -> dict[str, str]:
    return {"row": side.row, "title": title(side.row), "file": side.file}


def shown(reading: Reading, folder: Path) -> Shown:
    """The pictures of every method's first training, by the prompt with the class word and the seed."""
    sheets = judged_sheets(reading, "concept", folder)
    return {
        row: {(asked(picture, reading, folder), picture.seed): picture for picture in sheets[row].pictures}
        for row in reading.verdict.methods
        if row in sheets
    }


def digest(known: Shown, pairs: Sequence[Pair]) -> str:
    """16 hex digits over the pixels of all pictures of the pairs, in order.

    Raises:
        KeyError: the study has no such picture.
    """
    whole = sha256()
    for pair in pairs:
        for row in (pair.left, pair.right):
            with Image.open(known[row][pair.prompt, pair.seed].path) as picture:
                whole.update(sha256(picture.convert("RGB").tobytes()).digest())
    return whole.hexdigest()[:16]


def _pairs(reading: Reading, known: Shown) -> Iterator[Pair]:
    """Pairs of pictures, as many as there are; a pair of methods has no prompt and seed twice."""
    random = Random(f"vote {reading.verdict.seed}")
    left_over = {
        two: random.sample(both, len(both))
        for two in combinations(sorted(known), 2)
        if (both := sorted(known[two[0]].keys() & known[two[1]].keys()))
    }
    for two in cycle(_turns(list(left_over), reading.verdict.recommendation.choice.method, random)):
        if not any(left_over.values()):
            return
        if left_over[two]:
            prompt, seed = left_over[two].pop()
            left, right = random.sample(two, 2)
            yield Pair(prompt, seed, left, right)


def _turns(pairs: Sequence[tuple[str, str]], recommended: str | None, random: Random) -> list[tuple[str, str]]:
    """Every pair of methods once, those with the recommended one twice and first."""
    first = [two for two in pairs if recommended in two]
    others = [two for two in pairs if recommended not in two]
    return [two for group in (first, first, others) for two in random.sample(group, len(group))]
