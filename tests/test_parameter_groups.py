"""A method may train its parameters in groups, each at a learning rate of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
import torch

from tests.worlds import gap, trial
from triptych.base import Base
from triptych.methods import method_named
from triptych.methods.lora import Lora
from triptych.patching.patch import Learned
from triptych.training.fit import fit


@pytest.fixture
def lora_plus(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """LoRA with a group for A and one for B, as LoRA+ has it (arXiv:2402.12354); the rates may be filled in."""
    rates: dict[str, float] = {}

    def groups(self: Learned) -> Mapping[str, Sequence[torch.Tensor]]:
        return {half: [t for name, t in self.learned.items() if f"lora_{half}" in name] for half in "AB"}

    monkeypatch.setattr(Learned, "parameters", groups)
    monkeypatch.setattr(Lora, "rates", lambda self, settings: rates)
    return rates


@pytest.mark.slow
def test_groups_at_one_rate_learn_the_same(base: Base, lora_plus: dict[str, float]) -> None:
    one = trial("lora")
    grouped = fit(base, [one])[0].tensors
    lora_plus["B"] = one.settings.lr
    assert gap(grouped, fit(base, [one])[0].tensors) == 0
    lora_plus["B"] = 4 * one.settings.lr
    assert gap(grouped, fit(base, [one])[0].tensors) > 1e-3


def test_a_group_at_rate_0_stays_where_it_starts(base: Base, lora_plus: dict[str, float]) -> None:
    one = trial("lora")
    lora_plus["A"] = 0.0
    learned, start = fit(base, [one])[0].tensors, method_named("lora").start(base, one.settings, one.seed)
    assert {name for name in start if not torch.equal(start[name], learned[name])} == {
        name for name in start if "lora_B" in name
    }


def test_a_rate_for_a_group_that_is_not_there_is_an_error(base: Base, lora_plus: dict[str, float]) -> None:
    lora_plus["C"] = 1.0
    with pytest.raises(ValueError, match="groups are"):
        fit(base, [trial("lora")])
