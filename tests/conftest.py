import os
from pathlib import Path

import pytest
import torch

from tests.worlds import pictures
from triptych.base import Base, tiny_base
from triptych.cli import QUIET

os.environ |= {"HF_HUB_OFFLINE": "1", **QUIET}
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has a cache of its own: nothing that one made can help or hide the failure of another."""
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP whose text tower is the tiny base's text encoder."""
    from recipes.random_base import save_clip

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


@pytest.fixture(params=[torch.float32], ids=["float32"])
def base(request: pytest.FixtureRequest, clip_folder: Path) -> Base:
    tiny = tiny_base(dtype=request.param)
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
