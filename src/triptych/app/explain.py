"""What each file adds to a picture: the same picture without each of them in turn, and without all."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..base import Base, Place
from ..errors import TriptychError
from ..files.atomic import make_folder, write_bytes, write_text
from ..metrics import Shown
from ..metrics.encoders import ImageEncoder
from ..metrics.prompt_fidelity import PromptFidelity
from ..metrics.subject_fidelity import SubjectFidelity
from ..prompt.words import whole_word
from ..report.compared import Block, Compared, write_compared, write_sheet
from ..sampling.recipe import Used
from ..scores import BASE
from ..study.progress import Progress, Silent
from .asked import SampleRequest, settled
from .jobs import Notes
from .judges import Judges, values_of
from .sample import Reading, Sampled, named, write_pictures

if TYPE_CHECKING:
    from PIL.Image import Image

REPORT = ("explain.png", "explain.html", "explain.json")  # the files that are written besides the pictures
FIDELITIES = (SubjectFidelity(), PromptFidelity())


@dataclass(frozen=True)
class Added:
    """What a file adds to a picture, or several files together.

    Attributes:
        without: the picture without it.
        distance: 1 - cosine of the features of the pictures with and without it, 0 to 2.
        fidelity: name of a criterion -> its value without the file.
    """

    name: str
    without: Path
    distance: float
    fidelity: dict[str, float]


@dataclass(frozen=True)
class Explained:
    """A picture with everything, and what each file adds to it. `fidelity`: name of a criterion -> its value."""

    picture: Path
    prompt: str
    seed: int
    fidelity: dict[str, float]
    files: tuple[Added, ...]


@dataclass(frozen=True)
class _Shot:
    """A picture that was sampled without some files: its number, and the name of what is left out."""

    number: int
    left_out: str
    path: Path
    sampled: Sampled


def explain(
    request: SampleRequest, place: Place, out: Path, progress: Progress, judges: Judges, opened: Callable[[Place], Base]
) -> list[Explained]:
    """Sample pictures, and each again without each of its files; write a sheet, a page and explain.json.

    An embedding that is left out leaves its word as the base reads it.

    Raises:
        TriptychError: bad input, or nothing is attached.
    """
    lines = [replace(line, seed=settled(request.seed_of(line))) for line in request.prompts]
    request, note = replace(request, prompts=lines), Notes(progress)
    reading = Reading.of(request, note)
    files = reading.files
    if not files:
        raise TriptychError("nothing is attached to the pictures, so that there is nothing to explain")
    make_folder(out)
    place = named(place, request.library)
    base = opened(place)
    encoder = judges.encoder(base)
    names = _names(files)
    progress.stage("sampling", (1 + len(files) + (len(files) > 1)) * len(lines) * request.count)
    with_all = write_pictures(reading, base, place, out, progress)
    shots = [_Shot(number, "", path, sampled) for number, (path, sampled) in enumerate(with_all)]
    left_out = [(names[used], reading.without([used])) for used in files]
    left_out += [("any file", reading.without(files))] if len(files) > 1 else []
    for k, (name, less) in enumerate(left_out):
        for number, sampled in less.sampled(base, Silent()):
            path = out / f"{shots[number].path.stem}-without-{k + 1}.png"
            _write(path, sampled.picture)
            shots.append(_Shot(number, name, path, sampled))
            progress.advance()
    note.count()
    explained = _measured(shots, [name for name, _ in left_out], base, encoder, judges, reading.words)
    _write_report(explained, encoder.name, out)
    return explained


def _names(files: Sequence[Used]) -> dict[Used, str]:
    """The name of each file, with its strength where two have the same."""
    stems = [used.file.stem for used in files]
    return {
        used: used.file.stem if stems.count(used.file.stem) == 1 else f"{used.file.stem}:{used.text:g}"
        for used in files
    }


def _measured(
    shots: Sequence[_Shot], names: Sequence[str], base: Base, encoder: ImageEncoder, judges: Judges,
    words: Sequence[str],
) -> list[Explained]:  # fmt: skip
    pictures = [shot.sampled.picture for shot in shots]
    features = encoder.images(pictures).numpy()
    fidelity = _fidelity(shots, names[-1], base, encoder, judges, words) if judges.concept else {}
    place = {(shot.number, shot.left_out): i for i, shot in enumerate(shots)}
    found = []
    for i, shot in enumerate(shot for shot in shots if not shot.left_out):
        added = []
        for name in names:
            k = place[shot.number, name]
            distance = max(1 - float(features[i] @ features[k]), 0.0)
            added.append(Added(name, shots[k].path, distance, fidelity.get(shots[k].path, {})))
        text, seed = shot.sampled.job.prompt.text, shot.sampled.single.seeds[0]
        found.append(Explained(shot.path, text, seed, fidelity.get(shot.path, {}), tuple(added)))
    return found


def _fidelity(
    shots: Sequence[_Shot], bare: str, base: Base, encoder: ImageEncoder, judges: Judges, words: Sequence[str]
) -> dict[Path, dict[str, float]]:
    """Of each picture its likeness to the concept's pictures, and how much of its prompt is in it."""
    concept = judges.concept
    assert concept is not None
    pictures = []
    for shot in shots:
        prompt = shot.sampled.job.prompt.text
        for word in (*words, concept.token):
            prompt = whole_word(word).sub(lambda _: concept.class_word, prompt)
        method = BASE if shot.left_out == bare else shot.left_out or "everything"
        pictures.append(Shown(method, 0, "concept", prompt, shot.sampled.single.seeds[0], shot.path, str(shot.path)))
    return values_of(judges.evidence(base, concept, pictures, encoder), FIDELITIES)


def _write_report(explained: Sequence[Explained], encoder: str, out: Path) -> None:
    columns = ["everything", *(f"without {added.name}" for added in explained[0].files)]
    cells = [[row.picture, *(added.without for added in row.files)] for row in explained]
    captions = [
        [_said(row.fidelity), *(_said({"distance": added.distance, **added.fidelity}) for added in row.files)]
        for row in explained
    ]
    rows = [f"{row.prompt}, seed {row.seed}" for row in explained]
    compared = Compared("What each file adds", ["the files attached"], [Block("", columns, rows, cells, captions)])
    sheet, page, data = (out / name for name in REPORT)
    write_sheet(compared, sheet)
    write_compared(compared, page)
    told = {"encoder": encoder, "pictures": [asdict(picture) for picture in explained], "mean": _means(explained)}
    write_text(data, json.dumps(told, indent=1, default=lambda path: path.name))


def _means(explained: Sequence[Explained]) -> dict[str, float]:
    """Name of what was left out -> mean distance over the pictures."""
    names = [added.name for added in explained[0].files]
    return {
        name: sum(picture.files[i].distance for picture in explained) / len(explained) for i, name in enumerate(names)
    }


def _said(values: dict[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in values.items())


def _write(path: Path, picture: Image) -> None:
    buffer = io.BytesIO()
    picture.save(buffer, "png")
    write_bytes(path, buffer.getvalue())
