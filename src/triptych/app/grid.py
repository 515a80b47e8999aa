"""The jobs of a sweep: a grid of folders, methods, settings and seeds, or a TOML list of jobs."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import product
from pathlib import Path
from typing import Any, get_type_hints

from ..data.concept import layouts_in
from ..errors import TriptychError, did_you_mean
from ..methods import Method, method_named
from ..settings import Value

ENTRIES = ("method", "folder", "seed", "settings")  # of a job in a TOML list


@dataclass(frozen=True)
class Wanted:
    """One job: a method, the folder of its concept, the settings that differ from the base's own, and a seed.

    `only` has the words of its concept, where the folder shows several.
    """

    method: str
    folder: Path
    settings: Mapping[str, Value] = field(default_factory=dict)
    seed: int = 0
    only: str = ""


def grid(
    folders: Sequence[Path], methods: Sequence[str], given: Sequence[tuple[str, Value]], seeds: Sequence[int]
) -> list[Wanted]:
    """Every combination.

    `given` are settings as typed: KEY or METHOD.KEY, and its alternatives. Numbers and choices are separated by
    commas. Texts that may contain commas, such as the layers of a hypernetwork, are separated by "|".

    Raises:
        TriptychError: an unknown method, a setting that none of the methods has, or a value that does not fit.
    """
    known = {name: method_named(name) for name in methods}
    _check_names(known, given)
    found = []
    for folder, (name, method) in product(folders, known.items()):
        own = {key: _alternatives(method, key, text) for key, text in _own(method, given)}
        for values, seed in product(product(*own.values()), seeds):
            found.append(Wanted(name, folder, dict(zip(own, values, strict=True)), seed))
    return found


def read_jobs(path: Path) -> list[Wanted]:
    """The jobs of a TOML file: tables `[[job]]` with `method`, `folder`, `seed` and `settings`.

    A list stands for its alternatives. Folders are relative to the file.

    Raises:
        TriptychError: the file cannot be read, or a job has an unknown entry or lacks one.
    """
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TriptychError(f"cannot read the jobs in {path}: {error}") from error
    jobs = said.pop("job", None)
    if said or not isinstance(jobs, list) or not jobs:
        raise TriptychError(f"{path} must hold jobs and nothing else: tables [[job]] with method, folder, settings")
    return [wanted for number, job in enumerate(jobs, 1) for wanted in _jobs_of(f"job {number} in {path}", job, path)]


def _jobs_of(where: str, job: Mapping[str, Any], path: Path) -> list[Wanted]:
    for name in job:
        if name not in ENTRIES:
            raise TriptychError(f"{where} has an unknown entry {name!r}{did_you_mean(name, ENTRIES)}")
    for name in ("method", "folder"):
        if name not in job:
            raise TriptychError(f"{where} names no {name}")
    settings = job.get("settings", {})
    if not isinstance(settings, dict):
        raise TriptychError(f"{where}: settings must be a table, such as settings = {{ rank = [4, 8] }}")
    seeds = _listed(job.get("seed", 0))
    if any(type(seed) is not int or seed < 0 for seed in seeds):
        raise TriptychError(f"{where}: seed must be a whole number from 0 on, or a list of them, not {job['seed']!r}")
    methods, folders = _listed(job["method"]), _listed(job["folder"])
    if not all(isinstance(text, str) for text in (*methods, *folders)):
        raise TriptychError(f"{where}: method and folder must be texts, or lists of texts")
    found = []
    for method, folder, seed in product(methods, folders, seeds):
        for values in product(*map(_listed, settings.values())):
            own = dict(zip(settings, values, strict=True))
            method_named(method).configure(own)
            found.append(Wanted(method, path.parent / folder, own, seed))
    return found


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) and value else [value]


def _check_names(methods: Mapping[str, Method[Any]], given: Iterable[tuple[str, Value]]) -> None:
    """
    Raises:
        TriptychError: a setting is for no chosen method.
    """
    for name, _ in given:
        of, dot, key = name.rpartition(".")
        if dot and of not in methods:
            raise TriptychError(f"the setting {name} is for {of}, which is not swept{did_you_mean(of, methods)}")
        having = [method for method in methods.values() if key in _names(method)]
        if not having:
            every = {setting for method in methods.values() for setting in _names(method)}
            raise TriptychError(f"no method of the sweep has a setting {key!r}{did_you_mean(key, every)}")


def _own(method: Method[Any], given: Sequence[tuple[str, Value]]) -> list[tuple[str, Value]]:
    """The settings for one method. Those that name it come last and override."""
    plain = {name: text for name, text in given if "." not in name and name in _names(method)}
    named = {name.rpartition(".")[2]: text for name, text in given if name.rpartition(".")[0] == method.name}
    return list((plain | named).items())


def _names(method: Method[Any]) -> set[str]:
    return {entry.name for entry in fields(method.settings_class)}


def _alternatives(method: Method[Any], key: str, text: Value) -> list[Value]:
    """The values that a setting takes, each checked."""
    entry = {entry.name: entry for entry in fields(method.settings_class)}.get(key)
    is_text = entry is not None and get_type_hints(method.settings_class)[key] is str and not entry.metadata["choices"]
    parts = str(text).split("|" if is_text else ",")
    values = list(dict.fromkeys(part.strip() for part in parts))
    return [getattr(method.configure({key: value}), key) for value in values]


def for_each_concept(wanted: Sequence[Wanted], words: Mapping[str, str | None]) -> list[Wanted]:
    """The jobs, one for each concept that their folders show.

    Args:
        words: of `Concept.open`: what the user says of all folders.
    """
    chosen = {name: word for name, word in words.items() if name != "kind"}
    layouts = {folder: layouts_in(folder, **chosen) for folder in dict.fromkeys(job.folder for job in wanted)}
    return [replace(job, only=layout.words) for job in wanted for layout in layouts[job.folder]]


def varied(wanted: Sequence[Wanted]) -> list[str]:
    """The settings that differ between the jobs of one method, in the order of their first mention."""
    values: dict[tuple[str, str], set[str]] = {}
    counts: dict[str, int] = {}
    for job in wanted:
        counts[job.method] = counts.get(job.method, 0) + 1
        for key, value in job.settings.items():
            values.setdefault((key, job.method), set()).add(str(value))
    having = {
        (key, method): sum(key in job.settings for job in wanted if job.method == method) for key, method in values
    }
    return list(dict.fromkeys(
        key for (key, method), seen in values.items() if len(seen) > 1 or having[key, method] < counts[method]
    ))  # fmt: skip


def names(wanted: Sequence[Wanted]) -> list[str]:
    """A name for each job, of what makes it differ: folder, method, settings, seed.

    Raises:
        TriptychError: two jobs are the same.
    """
    differing, seeds = varied(wanted), {job.seed for job in wanted}
    concepts = {(job.folder, job.only) for job in wanted}
    found = []
    for job in wanted:
        parts = [job.only or job.folder.resolve().name] if len(concepts) > 1 else []
        parts += [job.method, *(f"{key}={job.settings[key]}" for key in differing if key in job.settings)]
        parts += [f"seed={job.seed}"] if len(seeds) > 1 else []
        found.append(re.sub(r"[^\w.=+-]+", "_", " ".join(parts)).strip("_."))
    for i, name in enumerate(found):
        if name in found[:i]:
            raise TriptychError(f"two jobs of the sweep are the same, or their folders have one name: {name}")
    return found
