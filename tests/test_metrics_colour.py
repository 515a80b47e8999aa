"""Colours as people see them, against published values."""

from __future__ import annotations

import numpy as np
import pytest

from triptych.metrics.colour import KNOTS, colour_histogram, lab


@pytest.mark.parametrize(
    ("rgb", "expected"),  # CIELAB under D65 of the corners of sRGB
    [
        ((255, 255, 255), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 255, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
    ],
)
def test_lab(rgb: tuple[int, int, int], expected: tuple[float, float, float]) -> None:
    assert lab(np.array(rgb)) == pytest.approx(expected, abs=0.05)


def test_a_histogram_says_how_much_has_which_colour() -> None:
    picture = np.full((1, 8, 8, 3), 255, np.uint8)
    picture[0, :2] = 0
    (found,) = colour_histogram(picture).reshape(-1, *KNOTS)
    middle = (KNOTS[1] // 2, KNOTS[2] // 2)
    assert found[-1, *middle] == pytest.approx(0.75, abs=1e-3)
    assert found[0, *middle] == pytest.approx(0.25, abs=1e-3)


def test_its_mean_is_the_mean_colour() -> None:
    pictures = np.random.default_rng(0).integers(60, 196, (3, 9, 7, 3)).astype(np.uint8)
    found = colour_histogram(pictures).reshape(-1, *KNOTS)
    assert found.sum(axis=(1, 2, 3)) == pytest.approx(1)
    knots = [np.linspace(0, 100, KNOTS[0]), np.linspace(-90, 90, KNOTS[1]), np.linspace(-90, 90, KNOTS[2])]
    means = [np.einsum(f"nlab,{axis}->n", found, knot) for axis, knot in zip("lab", knots, strict=True)]
    assert np.stack(means, axis=-1) == pytest.approx(lab(pictures).mean(axis=(1, 2)), abs=1e-3)


def test_a_slight_change_of_colour_changes_it_slightly() -> None:
    def orange(green: int) -> np.ndarray:
        return colour_histogram(np.full((1, 4, 4, 3), (245, green, 40), np.uint8))

    small, large = (np.abs(orange(140) - orange(green)).sum() for green in (142, 200))
    assert 0 < small < 0.25 < 1 < large
