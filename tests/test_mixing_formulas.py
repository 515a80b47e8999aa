"""Every formula against plain arithmetic on random tensors, and against sd-mecha's own results."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import pytest
import torch
from torch import Tensor

from triptych.base import generator
from triptych.errors import TriptychError
from triptych.mixing.formulas import FORMULAS, Given
from triptych.mixing.settings import Settings


def randoms(count: int, shape: Sequence[int] = (10, 10), seed: int = 5) -> list[Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(tuple(shape), generator=random) for _ in range(count)]


def mixed(
    name: str, tensors: Sequence[Tensor], weights: Sequence[float], base: Tensor | None = None, **settings: Any
) -> Tensor:
    given = Given(tensors, weights, base, Settings(**settings), lambda i: generator("test", settings.get("seed", 0), i))
    return FORMULAS[name].apply(given)


def theirs(name: str, *given: Any, **more: Any) -> Tensor:
    """sd-mecha's function on plain tensors."""
    from sd_mecha.extensions import merge_methods  # takes seconds

    method = merge_methods.resolve(name)
    found: Tensor = method.__wrapped__(*given, **more)
    return found


def elected(changes: Sequence[Tensor]) -> Tensor:
    """The mean of those values that have the sign of the sum, one value after the other."""
    columns = zip(*(change.flatten().tolist() for change in changes), strict=True)
    found = []
    for column in columns:
        sign = 1 if sum(column) > 0 else -1
        agree = [value for value in column if value * sign > 0]
        found.append(sum(agree) / len(agree) if agree else 0.0)
    return torch.tensor(found).reshape(changes[0].shape)


def test_weighted_sum() -> None:
    a, b, c = randoms(3)
    assert torch.allclose(mixed("weighted-sum", [a, b, c], [0.5, 0.2, 0.3]), 0.5 * a + 0.2 * b + 0.3 * c, atol=1e-6)
    theirs_found = torch.lerp(a, b, torch.tensor(0.4))
    assert torch.allclose(mixed("weighted-sum", [a, b], [0.6, 0.4]), theirs_found, atol=1e-6)


def test_add_difference() -> None:
    a, b, c, base = randoms(4)
    found = mixed("add-difference", [a, b, c], [1.0, 0.7, -0.2], base)
    assert torch.allclose(found, a + 0.7 * (b - base) - 0.2 * (c - base), atol=1e-6)


def test_train_difference() -> None:
    a, b, base = randoms(3)
    a[0], b[0] = base[0], base[0]  # nothing learned and nothing missing: the first file stays
    found = mixed("train-difference", [a, b], [1.0, 0.8], base)
    mask = theirs("train_difference_mask", a, b, base, 0.8)
    assert torch.allclose(found, a + mask * (b - base), atol=1e-6)
    assert torch.equal(found[0], a[0])


def test_slerp() -> None:
    a, b = randoms(2)
    for share in (0.0, 0.3, 1.0):
        found = mixed("slerp", [a, b], [1 - share, share])
        assert torch.allclose(found, theirs("slerp", a, b, torch.tensor(share)), atol=1e-5)
    halfway = mixed("slerp", [a, b], [1, 1])
    assert float(halfway.norm()) == pytest.approx(float(a.norm() + b.norm()) / 2, rel=1e-5)
    assert torch.allclose(mixed("slerp", [a, a], [1, 1]), a)
    assert torch.equal(mixed("slerp", [a, torch.zeros_like(a)], [1, 1]), a / 2)


def test_cosine() -> None:
    a, b = randoms(2)
    found = mixed("cosine", [a, b], [0.7, 0.3])
    assert torch.allclose(found, theirs("add_cosine_a", a, b, torch.tensor(0.3)), atol=1e-5)
    for column in range(10):
        alike = float(a[:, column] @ b[:, column] / a[:, column].norm() / b[:, column].norm())
        k = 1 - min(max(alike - 0.3, 0), 1)
        assert torch.allclose(found[:, column], a[:, column] + k * (b - a)[:, column], atol=1e-5)


@pytest.mark.parametrize("count", [2, 3])
def test_ties(count: int) -> None:
    *tensors, base = randoms(count + 1)
    found = mixed("ties", tensors, [1.0] * count, base, density=0.2, scale=0.5)
    trimmed = []
    for tensor in tensors:
        change = tensor - base
        least = sorted(change.abs().flatten().tolist())[-20]
        trimmed.append(torch.where(change.abs() >= least, change, 0))
    assert torch.allclose(found, base + 0.5 * elected(trimmed), atol=1e-5)
    # sd-mecha's k counts otherwise: its 0.185 keeps 20 of 100 values
    summed = theirs("ties_sum", *(tensor - base for tensor in tensors), k=0.185, vote_sgn=True)
    assert torch.allclose(found, base + 0.5 * summed, atol=1e-5)


def test_ties_weighs_the_changes() -> None:
    a, b = torch.tensor([4.0, 1.0, 3.0]), torch.tensor([2.0, -3.0, 1.0])
    found = mixed("ties", [a, b], [0.75, 0.25], density=1.0)
    assert torch.allclose(found, torch.tensor([3.5, -3.0 if 0.25 * 3 > 0.75 else 0.0, 2.5]))


def test_dare() -> None:
    a, b, base = randoms(3)
    found = mixed("dare", [a, b], [1.0, 0.5], base, drop=0.6, seed=4, scale=2.0)
    kept = [torch.rand(a.shape, generator=generator("test", 4, i)) >= 0.6 for i in range(2)]
    expected = base + 2.0 * ((a - base) * kept[0] + 0.5 * (b - base) * kept[1]) / 0.4
    assert torch.allclose(found, expected, atol=1e-5)
    assert torch.equal(found, mixed("dare", [a, b], [1.0, 0.5], base, drop=0.6, seed=4, scale=2.0))
    assert not torch.equal(found, mixed("dare", [a, b], [1.0, 0.5], base, drop=0.6, seed=5, scale=2.0))
    summed = mixed("dare", [a, b], [1.0, 0.5], base, drop=0.0)
    assert torch.allclose(summed, mixed("add-difference", [base, a, b], [1.0, 1.0, 0.5], base), atol=1e-5)


def test_dare_keeps_the_mean() -> None:
    ones = torch.ones(400, 400)
    found = mixed("dare", [ones], [1.0], drop=0.9)
    assert float((found == 0).float().mean()) == pytest.approx(0.9, abs=0.01)
    assert float(found.mean()) == pytest.approx(1.0, abs=0.03)


def test_della() -> None:
    a, b, base = randoms(3)
    found = mixed("della", [a, b], [1.0, 1.0], base, drop=0.5, window=0.2, seed=2)
    kept = []
    for place, tensor in enumerate((a, b)):
        change = tensor - base
        order = sorted(range(100), key=lambda i, change=change: abs(float(change.flatten()[i])))
        rates = torch.zeros(100)
        for rank, i in enumerate(order):
            rates[i] = 0.6 - 0.2 * rank / 100
        rates = rates.reshape(change.shape)
        kept.append(change * (torch.rand(change.shape, generator=generator("test", 2, place)) >= rates) / (1 - rates))
    assert torch.allclose(found, base + elected(kept), atol=1e-5)


def test_della_drops_small_values_more_often() -> None:
    values = torch.cat([torch.full((5000,), 0.1), torch.full((5000,), 9.0)])
    found = mixed("della", [values], [1.0], drop=0.5, window=0.8)
    assert float((found[:5000] == 0).float().mean()) == pytest.approx(0.7, abs=0.03)
    assert float((found[5000:] == 0).float().mean()) == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize("count", [2, 3])
def test_model_stock(count: int) -> None:
    *tensors, base = randoms(count + 1)
    found = mixed("model-stock", tensors, [1.0] * count, base)
    flat = [(tensor - base).flatten() for tensor in tensors]
    cosines = [float(a @ b / a.norm() / b.norm()) for a, b in combinations(flat, 2)]
    alike = sum(cosines) / len(cosines)
    t = count * alike / (1 + (count - 1) * alike)
    assert torch.allclose(found, base + t * sum(tensor - base for tensor in tensors) / count, atol=1e-5)
    if count == 2:
        stock = theirs("model_stock", *flat)
        assert torch.allclose(found, base + stock.reshape(base.shape), atol=1e-5)


@pytest.mark.parametrize("name", FORMULAS)
def test_a_formula_of_one_file_twice_is_that_file(name: str) -> None:
    """A mix of a file with itself is that file, where nothing is dropped at random; train difference adds nothing."""
    a, base = randoms(2)
    weights = [0.5, 0.5] if name == "weighted-sum" else [1.0, 1.0]
    if name == "dare":
        weights = [0.5, 0.5]
    found = mixed(name, [a, a], weights, base, drop=0.0, window=0.0, density=1.0)
    expected = 2 * a - base if name == "add-difference" else a
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("name", [name for name, formula in FORMULAS.items() if formula.changes])
@pytest.mark.parametrize("shape", [(), (7,), (3, 4), (3, 2, 3, 3)])
def test_a_formula_takes_every_shape(name: str, shape: tuple[int, ...]) -> None:
    found = mixed(name, randoms(2, shape), [0.5, 0.5])
    assert found.shape == shape and found.isfinite().all()


def test_a_rate_that_drops_all_is_refused() -> None:
    with pytest.raises(TriptychError, match="drop must be below 1"):
        mixed("dare", randoms(2), [1, 1], drop=1.0)
