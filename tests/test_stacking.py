"""Jobs of equal shape train in one storage, and each comes out as if it had been alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.test_laws import KilledError, kill_at
from tests.worlds import examples, gap, trial
from triptych.base import Base
from triptych.training import stacking
from triptych.training.fit import Fitted, Trial, fit

Given = list[dict[str, Any]]
ALIKE: Given = [{}, {}, {}]
RATES: Given = [{}, {"lr": 1e-3}, {"schedule": "constant", "warmup": 2, "weight_decay": 0.1}]
CLIPS: Given = [{"clip": 1e-3}, {}, {"clip": 1e-4}]
STEPS: Given = [{"steps": 2}, {"steps": 6}, {"steps": 4}]


def trials(method: str, given: Given, owned: bool = True) -> list[Trial]:
    return [trial(method, f"owner {i}" if owned else None, i, **one) for i, one in enumerate(given)]


def compare(a: Fitted, b: Fitted, tolerance: float) -> None:
    """Without the biases of key nets, which have no true gradient: softmax ignores what is added to all keys."""
    judged = [name for name in a.tensors if not (".k.linear" in name and name.endswith("bias"))]
    assert gap({n: a.tensors[n] for n in judged}, {n: b.tensors[n] for n in judged}) < tolerance
    assert a.losses == pytest.approx(b.losses, abs=tolerance)


@pytest.fixture
def formed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    """How many jobs each stack had, and whether one step moved them all."""
    seen: list[tuple[int, bool]] = []

    class Seen(stacking.StackedJobs):
        def step(self, *given: Any) -> None:
            seen.append((len(self.jobs), self.alike))
            super().step(*given)

    monkeypatch.setattr(stacking, "StackedJobs", Seen)
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("given", [ALIKE, RATES, CLIPS, STEPS], ids=["alike", "rates", "clips", "steps"])
@pytest.mark.parametrize("method", ["lora", "hypernetwork"])
def test_each_as_alone(base: Base, method: str, given: Given, formed: list[tuple[int, bool]]) -> None:
    together = fit(base, trials(method, given))
    assert formed[0] == (3, given in (ALIKE, CLIPS))
    assert formed[-1][0] == (2 if given is STEPS else 3)
    for fitted, one in zip(together, trials(method, given, owned=False), strict=True):
        compare(fitted, fit(base, [one])[0], 2e-5)


@pytest.mark.slow
def test_a_clip_of_0_bounds_nothing(base: Base) -> None:
    free, bounded = ([{"clip": clip}, {"clip": 1e-3}] for clip in (0.0, 1e9))
    for a, b in zip(fit(base, trials("lora", free)), fit(base, trials("lora", bounded)), strict=True):
        assert gap(a.tensors, b.tensors) == 0
    alone = [fit(base, trials("lora", [one], owned=False))[0] for one in ({"clip": 0.0}, {"clip": 1e9})]
    assert gap(alone[0].tensors, alone[1].tensors) == 0


@pytest.mark.slow
def test_a_lost_loss_leaves_the_others_alone(base: Base, formed: list[tuple[int, bool]]) -> None:
    several = trials("lora", ALIKE)
    broken = examples(4, 1)
    broken.each[2].latent[:] = torch.nan
    several[1] = Trial("lora", several[1].settings, broken, "dog", 1, "owner 1")
    fitted = fit(base, several)
    assert "stopped being a number" in str(fitted[1].failure)
    assert {len(fitted[0].losses), len(fitted[2].losses)} == {6}
    assert formed[0][0] == 3
    assert formed[-1][0] == 2
    for place in (0, 2):
        compare(fitted[place], fit(base, trials("lora", ALIKE, owned=False)[place : place + 1])[0], 2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("given", [ALIKE, STEPS], ids=["alike", "steps"])
def test_killed_and_resumed_is_the_same_to_the_bit(base: Base, given: Given, tmp_path: Path) -> None:
    several = [*trials("lora", given), trial("textual-inversion", "word")]
    whole = fit(base, several, every=1)
    for step in (1, 3):
        state = tmp_path / f"{step}.pt"
        with pytest.raises(KilledError):
            fit(base, several, state=state, every=1, progress=kill_at(step))
        for a, b in zip(whole, fit(base, several, state=state, every=1), strict=True):
            assert gap(a.tensors, b.tensors) == 0
            assert a.losses == b.losses
    assert not base.changes.stacks


@pytest.mark.slow
def test_different_methods_in_one_pass_form_stacks_of_their_own(base: Base, formed: list[tuple[int, bool]]) -> None:
    mixed = [
        trial("lora", "a", 1, steps=3), trial("hypernetwork", "b", 2, steps=3),
        trial("textual-inversion", "c", 3, steps=3), trial("lora", "d", 4, steps=3),
        trial("lora", "e", 5, steps=3, rank=2), trial("hypernetwork", "f", 6, steps=3),
    ]  # fmt: skip
    together = fit(base, mixed)
    assert formed[:2] == [(2, True), (2, True)]
    for fitted, one in zip(together, mixed, strict=True):
        alone = Trial(one.method, one.settings, one.examples, one.class_word, one.seed)
        compare(fitted, fit(base, [alone])[0], 2e-5)
