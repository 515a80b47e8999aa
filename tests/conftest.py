"""What every test has. Nothing here loads torch before a test asks for it."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from tests.plain import pictures
from triptych.cli import QUIET

if TYPE_CHECKING:
    from triptych.base import Base

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # small models are fastest so; torch reads it on loading
os.environ |= {"HF_HUB_OFFLINE": "1", **ONE_THREAD, **QUIET}


settings.register_profile("any machine", suppress_health_check=[HealthCheck.too_slow])  # or one with other work
settings.load_profile("any machine")

FEW = 3  # cases of one test in the fast lane, spread evenly over all of them


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow the cases of a test that repeat it beyond a few."""
    cases: dict[tuple[object, str], list[pytest.Item]] = {}
    for item in items:
        cases.setdefault((item.path, getattr(item, "originalname", item.name)), []).append(item)
    for own in cases.values():
        kept = {round(i * (len(own) - 1) / (FEW - 1)) for i in range(FEW)}
        for place, item in enumerate(own):
            if len(own) > FEW and place not in kept:
                item.add_marker("slow")


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has a cache of its own: nothing that one made can help or hide the failure of another."""
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C does what it does in a terminal, also where the tests were started with SIGINT ignored (nohup, `&`)."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """A process of xdist dies of a report with names that are no Unicode; the report shows them escaped instead."""
    return _escaped((yield))


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_escaped(key): _escaped(one) for key, one in value.items()}
    return type(value)(map(_escaped, value)) if isinstance(value, list | tuple) else value


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP whose text tower is the tiny base's text encoder."""
    from recipes.random_base import save_clip
    from triptych.base import tiny_base

    folder = tmp_path_factory.mktemp("clip")
    save_clip(tiny_base().texts[0].encoder, folder, 16)
    return folder


@pytest.fixture(scope="session")
def random_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny diffusers base, its CLIP, and two encoders, all random."""
    from recipes.random_base import save_base, save_encoders

    folder = tmp_path_factory.mktemp("random")
    save_base(folder / "base", "tiny")
    save_encoders(folder)
    return folder


@pytest.fixture
def base(clip_folder: Path) -> Base:
    from triptych.base import tiny_base

    tiny = tiny_base()
    tiny.clip_source = str(clip_folder)
    return tiny


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine pictures of noise, three with captions."""
    place = tmp_path_factory.mktemp("noise-dog")
    for i, picture in enumerate(pictures(9, size=24)):
        picture.save(place / f"{i}.png")
        if i < 3:
            (place / f"{i}.txt").write_text("a <concept> in the sun")
    return place
