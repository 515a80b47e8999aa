"""The memory plan: what it expects is what training takes, and what it plans fits."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from tests.plain import first_fast
from tests.test_laws import unchanged
from tests.worlds import gap, trial
from triptych.base import Base, tiny_base
from triptych.errors import TriptychError
from triptych.training import loop
from triptych.training.fit import Fitted, Trial, fit, fits
from triptych.training.memory import Arrangement, Counted, Plan
from triptych.training.moments import Moment
from triptych.training.sharing import fitting_passes
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


def measured_with(
    method: str, given: dict[str, Any], memory: int = 10**12, halved: bool = False, of_steps: bool = False
) -> tuple[int, Fitted]:
    """What a training allocates at its peak, with the base, opened for it: weights that leave memory count.

    It is taken after the plan, whose trials may take more; `of_steps`: before weights that waited in files come back.
    """
    with Counted() as counter:
        base = tiny_base(dtype=torch.bfloat16 if halved else torch.float32)
        gc.collect()

        def planned(moment: Moment) -> None:
            if not moment.done:
                counter.peak = counter.live

        def stepped(*_: int) -> None:
            steps.append(counter.peak)

        steps: list[int] = []
        with unchanged(base):
            fitted = fit(base, [trial(method, **given)], memory=memory, watch=planned, progress=stepped)[0]
            peak = counter.peak
    return (steps[-1] if of_steps else peak), fitted


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
    assert plans[0].arrangement == Arrangement()
    assert plans[0].peak == pytest.approx(peak, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("method", first_fast(METHODS, 2, mark="thorough"))
def test_a_smaller_budget_takes_more_passes_and_gives_the_same(base: Base, method: str, plans: list[Plan]) -> None:
    whole = fit(base, [trial(method, **GIVEN)], memory=10**12)[0]
    budget = round(0.6 * plans[0].a_pass) + plans[0].resting
    peak, (parts,) = measured(base, [trial(method, **GIVEN)], budget)
    assert 1 <= plans[1].most_rows < plans[1].rows
    assert plans[1].peak <= budget
    assert peak < 1.1 * budget
    judged = [name for name in whole.tensors if not (".k.linear" in name and name.endswith("bias"))]
    assert gap({n: whole.tensors[n] for n in judged}, {n: parts.tensors[n] for n in judged}) < 1e-4


@pytest.mark.thorough
@pytest.mark.slow
def test_where_not_one_row_fits_other_networks_wait_then_activations_are_recomputed(
    base: Base, plans: list[Plan]
) -> None:
    one = {**GIVEN, "batch": 1}
    told: list[str] = []
    whole = fit(base, [trial("lora", **one)], memory=10**12, note=told.append)[0]
    for _ in range(3):
        budget = plans[-1].peak - 1
        peak, again = measured_with("lora", one, budget, of_steps=True)
        assert gap(whole.tensors, again.tensors) < 1e-6
        assert plans[-1].peak <= budget
        assert plans[-1].peak == pytest.approx(peak, rel=0.1)
    ways = [(plan.arrangement.checkpointing, plan.arrangement.offload) for plan in plans]
    assert ways == [(False, "none"), (False, "idle"), (True, "idle"), (True, "all")]
    assert "1 row a pass, 1 a step, a step in one pass; expected peak" in told[0]
    assert "one pass, with gradient checkpointing, weights that are not trained in files; expected" in str(plans[-1])
    with unchanged(base), pytest.raises(TriptychError, match="do not hold this training"):
        fit(base, [trial("lora", **one)], memory=10_000)


WHOLE = {
    "fused": {"fused": True}, "fused-bf16-adafactor": {"masters": "bf16", "fused": True, "optimizer": "adafactor"},
    "fused-came": {"optimizer": "came", "fused": True}, "lion": {"optimizer": "lion"}, "ema": {"ema": 0.9},
    "recomputed": {"checkpointing": True, "fused": True},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLE)
def test_the_expected_peak_of_whole_model_training_is_the_measured_one(name: str, plans: list[Plan]) -> None:
    """With one row, so that weights, gradients and states are most of it."""
    given = {"batch": 1, "prior_weight": 0, "steps": 2, "fixed_every": 0, "clip": 0.0, **WHOLE[name]}
    peak, _ = measured_with("dreambooth", given, halved="bf16" in name)
    assert plans[0].peak == pytest.approx(peak, rel=0.1)


@pytest.mark.thorough
@pytest.mark.slow
def test_what_would_save_memory_is_named_and_saves_it(plans: list[Plan]) -> None:
    base = tiny_base(dtype=torch.bfloat16)
    given = {"batch": 1, "prior_weight": 0, "steps": 1, "fixed_every": 0}
    with pytest.raises(TriptychError) as refused:
        fit(base, [trial("dreambooth", **given)], memory=10_000)
    for words in ("fused=true with clip=0", "masters=bf16", "optimizer=adafactor"):
        assert words in str(refused.value)
    usual, _ = measured_with("dreambooth", given, halved=True)
    small = {"fused": True, "clip": 0.0, "masters": "bf16", "optimizer": "adafactor", "checkpointing": True}
    least, _ = measured_with("dreambooth", {**given, **small}, halved=True)
    assert least < 0.5 * usual


def test_trainings_are_grouped_into_passes_that_fit() -> None:
    several = [trial("lora", str(i)) for i in range(11)] + [trial("dreambooth"), trial("lora", "x", frozen="fp8")]
    for most, sizes in {1: [1] * 11, 3: [3, 3, 3, 2], 4: [3, 3, 3, 2], 8: [6, 5], 11: [11]}.items():
        passes = list(fitting_passes(several, lambda joint, most=most: len(joint) <= most))  # type: ignore[misc]
        assert [len(joint) for joint in passes] == [*sizes, 1, 1]
        assert [one for joint in passes for one in joint] == several


@pytest.mark.thorough
@pytest.mark.slow
def test_jobs_of_a_pass_are_as_many_as_memory_holds(base: Base, plans: list[Plan]) -> None:
    several = [trial("lora", str(i), i, batch=2, fixed_every=0, steps=2) for i in range(6)]
    with unchanged(base):
        assert fits(base, several, 10**12)
        assert fits(base, several, plans[-1].peak)
        assert not fits(base, several, plans[-1].peak - 1)
        assert fits(base, several[:3], plans[0].peak - 1)
        assert not fits(base, several, 10_000)
    peak, _ = measured(base, several[:3], None)
    assert peak < plans[0].peak


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
