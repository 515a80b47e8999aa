"""Whole-model training in less memory: random rounding, masters off the card, fused steps, weights in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.plain import first_fast
from tests.test_laws import KilledError, kill_at, unchanged
from tests.worlds import gap, trial
from triptych.base import Base, tiny_base
from triptych.errors import TriptychError
from triptych.patching.aside import Aside, back, is_aside
from triptych.training.apart import FACTORED, SEPARABLE
from triptych.training.fit import Fitted, fit
from triptych.training.rounding import rounded

HERE = [name for name in SEPARABLE if name != "adamw8bit"]
CHEAP: dict[str, Any] = {"batch": 2, "steps": 3, "fixed_every": 0, "clip": 0.0}


@pytest.fixture
def half() -> Base:
    return tiny_base(dtype=torch.bfloat16)


def one(base: Base, **given: Any) -> Fitted:
    with unchanged(base):
        return fit(base, [trial("dreambooth", **{**CHEAP, **given})])[0]


# --- rounding --------------------------------------------------------------------------------------------------------


def test_random_rounding_has_the_mean_of_the_values() -> None:
    value = torch.tensor(1.0 + 2**-10)  # an eighth of the way from 1 to the next bfloat16
    several = rounded(value.expand(40_000), 3).float()
    assert set(several.unique().tolist()) == {1.0, 1.0 + 2**-7}
    assert float(several.mean()) == pytest.approx(float(value), abs=1e-4)
    assert torch.equal(rounded(value.expand(9), 3), rounded(value.expand(9), 3))
    assert not torch.equal(rounded(value.expand(99), 3), rounded(value.expand(99), 4))


def test_what_bfloat16_has_and_what_is_not_finite_stays() -> None:
    values = torch.tensor([0.0, -0.0, 1.0, -2.5, 3e38, float("inf"), -float("inf"), 1e-40]).bfloat16().float()
    assert torch.equal(rounded(values, 1).float(), values)
    assert rounded(torch.tensor([float("nan")]), 1).isnan().all()


@pytest.mark.thorough
@pytest.mark.slow
def test_masters_in_bf16_learn_what_rounding_to_the_nearest_loses(half: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of a hundredth of what bfloat16 can tell apart."""
    given = {"masters": "bf16", "lr": 1e-5, "schedule": "constant", "steps": 40}
    true = fit(half, [trial("dreambooth", **{**CHEAP, **given, "masters": "fp32"})])[0]
    learned = one(half, **given)
    monkeypatch.setattr("triptych.training.apart.rounded", lambda values, seed: values.bfloat16())
    lost = one(half, **given)

    def along(fitted: Fitted) -> float:
        """How far it went in the direction of float32 masters: 1 is as far as they."""
        flat = [torch.cat([t.double().flatten() for t in each.tensors.values()]) for each in (fitted, true)]
        return float(flat[0] @ flat[1] / (flat[1] @ flat[1]))

    assert along(lost) < 0.5
    assert along(learned) == pytest.approx(1, abs=0.1)


def test_masters_in_bf16_need_a_base_in_bf16(base: Base) -> None:
    with (
        unchanged(base),
        pytest.raises(TriptychError, match="a base that is opened in bf16, and this one is in float32"),
    ):
        fit(base, [trial("dreambooth", masters="bf16", **CHEAP)])


# --- fused steps -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("masters", ["fp32", "bf16", "cpu"])
@pytest.mark.parametrize("name", HERE)
def test_fused_steps_equal_those_after_the_backward_pass(base: Base, half: Base, name: str, masters: str) -> None:
    on = half if masters == "bf16" else base
    given = {"optimizer": name, "masters": masters, "text_lr": 1e-3, "ema": 0.0 if masters == "bf16" else 0.9}
    whole, fused = one(on, **given), one(on, **given, fused=True)
    if name in FACTORED and masters != "bf16":  # fused, they factor convolutions, which pytorch-optimizer hardly does
        assert whole.losses == pytest.approx(fused.losses, rel=0.02)
        return
    assert whole.losses == fused.losses
    assert gap(whole.tensors, fused.tensors) == 0


@pytest.mark.slow
def test_masters_off_the_card_change_no_bit(base: Base) -> None:
    """In float32 the copy that computes has the bits of its master."""
    given = {"clip": 0.5, "ema": 0.9, "rescue": 2.0, "fixed_every": 1, "keep": "best", "accumulate": 2, "text_lr": 1e-3}
    plain, away = one(base, **given), one(base, **given, masters="cpu")
    assert (plain.losses, plain.fixed) == (away.losses, away.fixed)
    assert gap(plain.tensors, away.tensors) == 0


@pytest.mark.slow
def test_masters_off_the_card_keep_what_bf16_weights_cannot(half: Base) -> None:
    given = {"lr": 1e-5, "schedule": "constant"}
    plain, away = one(half, **given), one(half, **given, masters="cpu")
    scale = max(float(t.abs().max()) for t in plain.tensors.values())
    assert 0 < scale < 1e-4
    means = [float(torch.cat([t.float().abs().flatten() for t in f.tensors.values()]).mean()) for f in (plain, away)]
    assert means[1] == pytest.approx(means[0], rel=0.1)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"fused": True, "clip": 1.0}, "cannot bound the norm of the whole gradient"),
        ({"fused": True, "accumulate": 2}, "a fused step has one pass"),
        ({"fused": True, "optimizer": "prodigy"}, "steps all its parameters together"),
        ({"masters": "bf16", "ema": 0.9}, "would stand still"),
    ],
)
def test_what_does_not_go_together_is_refused(half: Base, given: dict[str, Any], said: str) -> None:
    with unchanged(half), pytest.raises(TriptychError, match=said):
        fit(half, [trial("dreambooth", **{**CHEAP, **given})])


def test_a_fused_step_is_not_cut(base: Base) -> None:
    with unchanged(base), pytest.raises(TriptychError, match="all its 4 rows in one pass, and only 3 fit"):
        fit(base, [trial("dreambooth", fused=True, **CHEAP)], most_rows=3)


def test_memory_that_runs_out_in_a_fused_step_ends_it(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*rows: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(base, "denoise", none)
    with pytest.raises(TriptychError, match="cannot be begun again with fewer rows"):
        fit(base, [trial("dreambooth", fused=True, prior_weight=0, **CHEAP)])


def test_a_loss_that_is_not_finite_moves_nothing(base: Base) -> None:
    failed = one(base, fused=True, lr=1e30, steps=8)
    assert failed.failure is not None
    assert len(failed.losses) < 8


# --- states ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("masters", "fused"), first_fast([("bf16", True), ("fp32", False), ("cpu", True)], mark="thorough")
)
@pytest.mark.parametrize("name", first_fast(HERE, 2, mark="thorough"))
def test_it_resumes_to_the_bit(half: Base, name: str, masters: str, fused: bool, tmp_path: Path) -> None:
    asked = trial("dreambooth", optimizer=name, masters=masters, fused=fused, **{**CHEAP, "steps": 5})
    whole = fit(half, [asked])[0]
    with unchanged(half), pytest.raises(KilledError):
        fit(half, [asked], state=tmp_path / "state.pt", every=1, progress=kill_at(3))
    resumed = fit(half, [asked], state=tmp_path / "state.pt")[0]
    assert whole.losses == resumed.losses
    assert gap(whole.tensors, resumed.tensors) == 0


@pytest.mark.slow
@pytest.mark.parametrize("given", [{}, {"masters": "bf16", "fused": True}])
def test_adamw_in_8_bits_learns_resumes_and_keeps_a_quarter(half: Base, given: dict[str, Any], tmp_path: Path) -> None:
    """Where bitsandbytes is installed."""
    pytest.importorskip("bitsandbytes")
    more: dict[str, Any] = {**CHEAP, "steps": 30, "fixed_every": 30, "schedule": "constant", **given}
    asked = trial("dreambooth", optimizer="adamw8bit", **more)
    whole = fit(half, [asked])[0]
    assert whole.fixed[-1][1] < whole.fixed[0][1]
    with unchanged(half), pytest.raises(KilledError):
        fit(half, [asked], state=tmp_path / "state.pt", every=1, progress=kill_at(20))
    assert gap(whole.tensors, fit(half, [asked], state=tmp_path / "state.pt")[0].tensors) == 0
    plain = fit(half, [trial("dreambooth", optimizer="adamw", **more)])[0]
    assert 0 < gap(whole.tensors, plain.tensors) < 30e-3


# --- tensors in files ------------------------------------------------------------------------------------------------


def test_tensors_wait_in_a_file_and_come_back() -> None:
    with Aside() as aside:
        for tensor in (torch.randn(3, 4, 5, 5).to(memory_format=torch.channels_last), torch.randn(7).bfloat16()):
            kept = aside.put(tensor)
            assert is_aside(kept) and not is_aside(tensor)
            again = back(kept, torch.device("cpu"))
            assert torch.equal(again, tensor) and not is_aside(again)
            assert (again.stride(), again.dtype) == (tensor.stride(), tensor.dtype)


def test_a_full_disk_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("triptych.patching.aside.shutil.disk_usage", lambda folder: usage(10, 9, 1))
    with Aside() as aside, pytest.raises(TriptychError, match="no room on the disk"):
        aside.put(torch.zeros(100))
