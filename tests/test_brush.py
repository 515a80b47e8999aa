"""The likeness of drawings: what it overlooks, and what it is found by."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recipes.demo_base.brush import Redrawing, discriminants
from recipes.demo_base.compose import Pixels, plain
from recipes.demo_base.judge.exam import open_base, reconstruct
from recipes.demo_base.likeness import held_for_itself, one_character, recognised, turned
from tests.drawn import DEMO


def test_what_varies_between_views_of_one_drawing_counts_little() -> None:
    random = torch.Generator().manual_seed(0)
    drawings, views = 60, 6
    own = torch.randn(drawings, 1, 3, generator=random).expand(-1, views, -1)
    brush = 20 * torch.randn(drawings, views, 2, generator=random)
    never = torch.ones(drawings, views, 1)
    found = discriminants(torch.cat([own + 0.1 * torch.randn(own.shape, generator=random), brush, never], dim=-1))
    seen = (torch.cat([own, brush, never], dim=-1) - found["mean"]) @ found["directions"].float()
    assert not found["directions"][-1].any()
    seen = torch.nn.functional.normalize(seen, dim=-1)
    same = (seen[:, 0] * seen[:, 1]).sum(dim=-1)
    others = (seen[:, 0] * seen.roll(1, dims=0)[:, 1]).sum(dim=-1)
    assert same.mean() > 0.9 and others.mean() < 0.3


@pytest.fixture(scope="module")
def redraw() -> Redrawing:
    return Redrawing(open_base(DEMO, "cpu"))


def square() -> Pixels:
    """An orange square on blue."""
    picture = plain((50, 105, 220), 64)
    picture[16:48, 16:48] = (245, 140, 40)
    return picture


@pytest.mark.slow
def test_a_drawing_is_redrawn_as_freely_as_it_was_noised(redraw: Redrawing) -> None:
    still, little, much = (
        np.stack(redraw([square()] * 4, snr, torch.Generator().manual_seed(1))).astype(float) for snr in (None, 30, 1.5)
    )
    assert np.abs(still[0] - reconstruct(redraw.base.vae, [square()] * 4)[0].astype(float)).max() <= 1
    assert 0 < np.abs(little - still).mean() < np.abs(much - still).mean() < 40


def unit(*shape: int, seed: int) -> torch.Tensor:
    features = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(features, dim=-1)


def test_an_eye_that_knows_drawings_is_told_from_one_that_guesses() -> None:
    knows, guesses = unit(60, 1, 16, seed=0).expand(-1, 4, -1), unit(60, 4, 16, seed=1)
    assert recognised(knows) == 1 and recognised(guesses) == pytest.approx(1 / 60, abs=0.03)
    hues = [unit(40, 4, 16, seed=seed) for seed in range(3)]
    assert held_for_itself([each[:, :1].expand(-1, 4, -1) for each in hues]) == 1
    assert held_for_itself(hues) == pytest.approx(1 / 3, abs=0.08)
    hands = [("cat", "here"), ("cat", "there"), ("monkey", "there")]
    alike = {who: unit(1, 1, 16, seed=i).expand(9, 4, -1) for i, who in enumerate(hands)}
    assert one_character(alike) == 1
    assert one_character({who: unit(9, 4, 16, seed=i) for i, who in enumerate(hands)}) == pytest.approx(0.5, abs=0.08)


def test_a_hue_is_turned_and_nothing_else() -> None:
    picture = np.zeros((2, 2, 4), np.uint8)
    picture[0] = (200, 0, 0, 255)
    picture[1, 0] = (100, 0, 0, 128)  # half transparent, premultiplied
    found = turned(picture, 120).astype(int)
    assert (found[..., 3] == picture[..., 3]).all() and not found[1, 1].any()
    assert found[0] == pytest.approx(np.array([[0, 200, 0, 255]] * 2), abs=6)
    assert found[1, 0] == pytest.approx(np.array([0, 100, 0, 128]), abs=6)
    assert turned(picture, 0).astype(int) == pytest.approx(picture.astype(int), abs=6)
