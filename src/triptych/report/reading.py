"""Reads a study folder into frozen values. Only verdict.json is required; other missing files are left out."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import Remedy, TriptychError
from ..records import JudgedRecord, Log, PointRecord, PointsRecord, SheetRecord, TrialRecord
from ..scores import Score, read_scores
from ..verdict import Verdict

PICTURES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True)
class Study:
    """The content of study.toml. Strings are as the user wrote them; the page escapes them."""

    folder: str = "your pictures"
    base: str = "?"
    kind: str = "subject"
    class_word: str = "subject"
    token: str = ""
    budget: str = "?"
    version: str = "?"
    command: str = ""
    deciding: str = ""  # the command that would decide what is open
    resolution: int = 0
    pictures: int = 0
    methods: tuple[str, ...] = ()
    titles: Mapping[str, str] = field(default_factory=dict)  # method -> its title
    held_out: tuple[str, ...] = ()
    broken: tuple[tuple[str, str], ...] = ()  # file, reason
    sampling: tuple[tuple[str, str], ...] = ()  # setting, value
    encoders: tuple[tuple[str, str], ...] = ()  # what it encodes ("image" or "text"), its name
    prior: Mapping[str, float] = field(default_factory=dict)  # what was taken as known of the spread between trainings


@dataclass(frozen=True)
class Picture:
    path: Path
    prompt: str
    seed: int


@dataclass(frozen=True)
class Sheet:
    """The pictures of one method and one role; `role` is "concept", "class" or "unrelated"."""

    method: str
    replicate: int
    role: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Trial:
    method: str
    replicate: int
    steps: int
    rate: float  # learning rate
    says: str  # the words that name the concept for this method
    settings: tuple[tuple[str, str], ...]
    losses: tuple[tuple[int, float], ...]  # step, loss
    fixed: tuple[tuple[int, float], ...] = ()  # step, loss on the fixed batch of held-out pictures
    pictures: tuple[str, ...] = ()  # the file names of its training pictures
    kept_step: int = 0  # the step whose tensors were kept


@dataclass(frozen=True)
class Reading:
    """A study folder as values."""

    study: Study
    verdict: Verdict
    sheets: tuple[Sheet, ...]
    trials: tuple[Trial, ...]
    scores: Mapping[str, tuple[Score, ...]]  # of each picture, by its path relative to the folder
    thumbs: tuple[Path, ...]
    artifacts: tuple[Path, ...]
    points: tuple[PointRecord, ...] = ()  # the strengths and moments that were tried on the choosing prompts
    judged: JudgedRecord | None = None  # the decisions on files, where files were judged and nothing was trained


def read(folder: Path) -> Reading:
    """Read everything that the report shows.

    Raises:
        TriptychError: there is no verdict in the folder, or a file of the study cannot be read.
    """
    try:
        text = (folder / "verdict.json").read_text(encoding="utf-8")
    except OSError as error:
        raise TriptychError(f"{folder} holds no verdict.json", Remedy.FINISHED_STUDY) from error
    verdict = Verdict.from_json(text)
    try:
        return Reading(
            study=_study(folder / "study.toml"),
            verdict=verdict,
            sheets=tuple(_sheet(path.parent) for path in sorted(folder.glob(f"sheets/*/{SheetRecord.NAME}"))),
            trials=tuple(_trial(path.parent) for path in sorted(folder.glob(f"trials/*/{TrialRecord.NAME}"))),
            scores=_scores(folder / "scores.jsonl"),
            thumbs=_thumbs(folder / "thumbs"),
            artifacts=tuple(path for path in sorted(folder.glob("artifacts/*")) if _is_model(path)),
            points=PointsRecord.read(folder).points if (folder / PointsRecord.NAME).is_file() else (),
            judged=JudgedRecord.read(folder) if (folder / JudgedRecord.NAME).is_file() else None,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TriptychError(
            f"a file of the study {folder} cannot be read: {error}; run `triptych try` on it again"
        ) from error


def _is_model(path: Path) -> bool:
    """Whether a file is one to download, not the notes beside it."""
    return path.is_file() and path.suffix != ".json"


def _study(path: Path) -> Study:
    tables = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    table: dict[str, Any] = tables.get("study", {})
    plain = {
        name: table[name]
        for name in ("folder", "base", "kind", "token", "budget", "version", "command", "deciding")
        if name in table
    }
    return Study(
        **{name: str(value) for name, value in plain.items()},
        class_word=str(table.get("class", "subject")),
        resolution=int(table.get("resolution", 0)),
        pictures=int(table.get("pictures", 0)),
        methods=tuple(table.get("methods", ())),
        titles={str(name): str(title) for name, title in table.get("titles", {}).items()},
        held_out=tuple(table.get("held_out", ())),
        broken=tuple((str(entry["file"]), str(entry["reason"])) for entry in table.get("broken", ())),
        sampling=_pairs(tables.get("sampling", {})),
        encoders=_pairs(tables.get("encoders", {})),
        prior={str(name): float(value) for name, value in tables.get("prior", {}).items()},
    )


def _pairs(table: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (name, ", ".join(map(str, value)) if isinstance(value, list) else str(value)) for name, value in table.items()
    )


def _sheet(folder: Path) -> Sheet:
    record = SheetRecord.read(folder)
    pictures = tuple(Picture(folder / entry.file, entry.prompt, entry.seed) for entry in record.pictures)
    return Sheet(
        record.method, record.replicate, record.role, tuple(picture for picture in pictures if picture.path.exists())
    )


def _trial(folder: Path) -> Trial:
    record, log = TrialRecord.read(folder), Log.read(folder)
    return Trial(
        record.method, record.replicate, record.steps, record.lr, record.says, _pairs(record.settings), log.losses,
        log.fixed, record.pictures, record.kept_step or record.steps,
    )  # fmt: skip


def _scores(path: Path) -> dict[str, tuple[Score, ...]]:
    found: dict[str, tuple[Score, ...]] = {}
    for score in read_scores(path) if path.exists() else []:
        if score.picture:
            found[score.picture] = (*found.get(score.picture, ()), score)
    return found


def _thumbs(folder: Path) -> tuple[Path, ...]:
    pictures = [path for path in folder.glob("*") if path.suffix.lower() in PICTURES]
    return tuple(sorted(pictures, key=lambda path: (len(path.stem), path.stem)))
