"""The memory plan: what it expects is what training takes, and what it plans fits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from tests.test_laws import unchanged
from tests.worlds import gap, trial
from triptych.base import Base
from triptych.errors import TriptychError
from triptych.training import loop
from triptych.training.fit import Fitted, Trial, fit
from triptych.training.memory import Counted, Plan
from triptych.units import bytes_of

GIVEN: dict[str, Any] = {"batch": 24, "steps": 2, "fixed_every": 0}
METHODS = ["lora", "textual-inversion", "hypernetwork", "dreambooth"]


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Plan]]:
    found: list[Plan] = []
    real = loop.plan

    def noted(*given: Any) -> Plan:
        found.append(real(*given))
        return found[-1]

    monkeypatch.setattr(loop, "plan", noted)
    yield found


def weights(base: Base) -> int:
    return sum(p.numel() * p.element_size() for module in base.modules().values() for p in module.parameters())


def measured(base: Base, trials: list[Trial], memory: int | None) -> tuple[int, list[Fitted]]:
    """What a training allocates at its peak, with the base."""
    with Counted() as counter:
        fitted = fit(base, trials, memory=memory)
    return counter.peak + weights(base), fitted


def test_the_counter_counts_what_lives() -> None:
    with Counted() as counter:
        first = torch.zeros(1000)
        view = first[10:]
        second = first + 1
        assert counter.live == 8000
        del second
        third = torch.ones(10)
        assert (counter.live, counter.peak) == (4040, 8000)
        first.add_(1)
        assert counter.live == 4040
        del first, third
        assert counter.live == 4000, "a view keeps the whole"
        del view
        assert counter.live == 0


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_the_expected_peak_is_the_measured_one(base: Base, method: str, plans: list[Plan]) -> None:
    with unchanged(base):
        peak, _ = measured(base, [trial(method, **GIVEN)], 10**12)
    assert plans[0].most_rows == plans[0].rows == (48 if method == "dreambooth" else 24)
    assert not plans[0].checkpointing
    assert plans[0].peak == pytest.approx(peak, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_smaller_budget_takes_more_passes_and_gives_the_same(base: Base, method: str, plans: list[Plan]) -> None:
    whole = fit(base, [trial(method, **GIVEN)], memory=10**12)[0]
    budget = round(0.6 * plans[0].a_pass) + plans[0].resting
    peak, (parts,) = measured(base, [trial(method, **GIVEN)], budget)
    assert 1 <= plans[1].most_rows < plans[1].rows
    assert plans[1].peak <= budget
    assert peak < 1.1 * budget
    judged = [name for name in whole.tensors if not (".k.linear" in name and name.endswith("bias"))]
    assert gap({n: whole.tensors[n] for n in judged}, {n: parts.tensors[n] for n in judged}) < 1e-4


@pytest.mark.slow
def test_where_not_one_row_fits_activations_are_recomputed(base: Base, plans: list[Plan]) -> None:
    one = trial("lora", **{**GIVEN, "batch": 1})
    told: list[str] = []
    fit(base, [one], memory=10**12, note=told.append)
    assert "1 row a pass, 1 a step, a step in one pass; expected peak" in told[0]
    budget = plans[0].peak - 1
    fit(base, [one], memory=budget, note=told.append)
    assert plans[1].checkpointing
    assert "with gradient checkpointing" in told[1]
    assert plans[1].peak < plans[0].peak
    with unchanged(base), pytest.raises(TriptychError, match="do not hold this training"):
        fit(base, [one], memory=10_000)


@pytest.mark.slow
def test_a_plan_changes_no_bits_of_what_is_trained(base: Base) -> None:
    several = [trial("lora", "a", 1), trial("lora", "b", 2), trial("textual-inversion", "c", 3)]
    for a, b in zip(fit(base, several), fit(base, several, memory=10**12), strict=True):
        assert gap(a.tensors, b.tensors) == 0


def test_sizes() -> None:
    assert [bytes_of(text) for text in ("12GB", "800 mb", "1.5GiB", "77")] == [12 * 10**9, 8 * 10**8, 3 * 2**29, 77]
    for text in ("", "GB", "12 apples", "0GB", "-1GB", "1e400GB", "nan"):
        with pytest.raises(ValueError):
            bytes_of(text)
