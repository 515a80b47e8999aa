"""The pictures of a sweep: the same prompts and seeds with every job, and with the bare base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..base import Base
from ..data.concept import Concept, fill
from ..exchange.artifact import Artifact, compose, with_words
from ..methods import method_named
from ..report.sweep import Shot
from ..sampling.generate import stream
from ..sampling.pictures import save_picture
from ..sampling.recipe import Recipe, Used
from ..sampling.request import Request
from ..study.layout import key
from ..study.workers import Task, Workers, share
from .board import At

COUNT = 2  # prompts, where none are given


class Trained(Protocol):
    """A job whose training has ended."""

    @property
    def name(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def says(self) -> str: ...
    @property
    def concept(self) -> Concept: ...
    @property
    def file(self) -> Path: ...
    @property
    def folder(self) -> Path: ...
    @property
    def artifact(self) -> Artifact: ...


@dataclass(frozen=True)
class Sampled:
    """The pictures of each job by name, and those of the bare base by name of the concept."""

    of: Mapping[str, Sequence[Shot]]
    bare: Mapping[str, Sequence[Shot]]


@dataclass(frozen=True)
class _Place:
    """A picture to sample: whose it is, its prompt, and its path."""

    owner: str | None
    prompt: str
    seed: int
    path: Path
    job: Trained | None


def sample_jobs(
    at: At, jobs: Sequence[Trained], prompts: Sequence[str], seeds: Sequence[int], workers: Workers | None
) -> Sampled:
    """Sample the pictures that are missing. Jobs that share the frozen base share the batches."""
    base = at.base
    templates = {job.concept.name: list(prompts) or _own_prompts(base, job.concept) for job in jobs}
    wanted = {
        job.name: [_place(base, job, t, seed) for t in templates[job.concept.name] for seed in seeds] for job in jobs
    }
    concepts = {job.concept.name: job for job in jobs}
    bare = {
        name: [_bare_place(base, job, t, seed) for t in templates[name] for seed in seeds]
        for name, job in concepts.items()
    }
    groups = [[place for places in bare.values() for place in places]]
    shared = [place for job in jobs if method_named(job.method).shares_a_pass for place in wanted[job.name]]
    size = base.description.sampling.batch
    groups += [shared[first : first + size] for first in range(0, len(shared), size)]
    groups += [wanted[job.name] for job in jobs if not method_named(job.method).shares_a_pass]
    missing = [[place for place in group if not place.path.is_file()] for group in groups]
    at.board.stage("sampling", sum(map(len, missing)))
    share(workers, [Task(_sample, (group,), len(group)) for group in missing if group], at, at.board)
    return Sampled({name: _shots(places) for name, places in wanted.items()}, {n: _shots(p) for n, p in bare.items()})


def _own_prompts(base: Base, concept: Concept) -> list[str]:
    description = base.description
    own = [description.captions[concept.kind], *description.tuning_prompts.get(concept.kind, ())]
    return list(dict.fromkeys(own))[:COUNT]


def _place(base: Base, job: Trained, template: str, seed: int) -> _Place:
    prompt = fill(template, job.says)
    owner = job.name if method_named(job.method).shares_a_pass else None
    return _Place(owner, prompt, seed, job.folder / f"{_name(base, prompt, seed)}.png", job)


def _bare_place(base: Base, job: Trained, template: str, seed: int) -> _Place:
    prompt = fill(template, job.concept.class_word)
    return _Place(None, prompt, seed, job.folder.parent / "base" / f"{_name(base, prompt, seed)}.png", None)


def _name(base: Base, *of: Any) -> str:
    return key(base.identity, str(base.dtype), base.resolution, base.description.sampling.decides, *of)


def _sample(at: At, places: Sequence[_Place]) -> None:
    """Sample pictures with the artifacts of their owners attached, and write each as its batch ends."""
    base = at.base
    jobs = {place.job.name: (place.owner, place.job) for place in places if place.job}
    parts = [part for owner, job in jobs.values() for part in with_words(job.artifact, owner=owner)]
    requests = [Request(place.prompt, (place.seed,), place.owner) for place in places]
    with compose(base, *parts):
        for i, picture in stream(base, requests):
            place = places[i]
            uses = [Used.named(place.job.file.name)] if place.job else []
            place.path.parent.mkdir(parents=True, exist_ok=True)
            save_picture(place.path, picture, Recipe.of(base, place.prompt, place.seed, uses))
            at.board.advance()


def _shots(places: Sequence[_Place]) -> list[Shot]:
    return [Shot(place.path, place.prompt, place.seed) for place in places]
