"""Every shared option of a training changes its result as it should, and none changes a default training."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.test_laws import KilledError, kill_at, unchanged
from tests.worlds import examples, gap, trial
from triptych.base import Base, tiny_base
from triptych.errors import TriptychError
from triptych.methods import OPTIMIZERS, SCHEDULES, Training
from triptych.patching.patch import Tensors
from triptych.training.fit import Fitted, Trial, fit
from triptych.training.loss import Objective
from triptych.training.passes import Passes
from triptych.training.schedules import learning_rate

HERE = [name for name in OPTIMIZERS if name != "adamw8bit"]
RATES = {"prodigy": 5.0, "lion": 3e-4}  # prodigy grows from a small estimate: a factor stands for more steps


def one(base: Base, method: str = "lora", **given: Any) -> Fitted:
    return fit(base, [trial(method, **given)])[0]


def moved(tensors: Tensors) -> float:
    """How far LoRA has come: B begins at 0."""
    return max(float(tensor.abs().max()) for name, tensor in tensors.items() if "lora_B" in name)


# --- optimisers ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", HERE)
def test_every_optimiser_learns_and_differs_from_the_others(base: Base, name: str) -> None:
    given = {"steps": 30, "schedule": "constant", "lr": RATES.get(name, 2e-3), "fixed_every": 30}
    learned = one(base, optimizer=name, **given)
    assert learned.failure is None
    assert moved(learned.tensors) > 5e-5
    assert learned.fixed[-1][1] < learned.fixed[0][1], "the loss on the pictures it trains on falls"
    other = HERE[HERE.index(name) - 1]
    assert gap(learned.tensors, one(base, optimizer=other, **{**given, "lr": RATES.get(other, 2e-3)}).tensors) > 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", HERE)
def test_every_optimiser_resumes_to_the_bit(base: Base, name: str, tmp_path: Path) -> None:
    several = [trial("lora", f"owner {i}", i, optimizer=name, lr=RATES.get(name, 2e-3), ema=0.9) for i in range(2)]
    whole = fit(base, several)
    with pytest.raises(KilledError):
        fit(base, several, state=tmp_path / "state.pt", every=1, progress=kill_at(3))
    for a, b in zip(whole, fit(base, several, state=tmp_path / "state.pt"), strict=True):
        assert gap(a.tensors, b.tensors) == 0
        assert a.losses == b.losses


@pytest.mark.slow
@pytest.mark.parametrize("name", HERE)
def test_every_optimiser_in_one_pass_as_alone(base: Base, name: str) -> None:
    given = {"optimizer": name, "lr": RATES.get(name, 2e-3)}
    several = [trial("lora", "a", 1, **given), trial("lora", "b", 2), trial("lora", "c", 3, **given)]
    for together, each in zip(fit(base, several), several, strict=True):
        assert gap(together.tensors, fit(base, [replace(each, owner=None)])[0].tensors) < 2e-5


def test_an_optimiser_that_is_not_installed_is_a_sentence(base: Base) -> None:
    pytest.importorskip("torch")
    try:
        import bitsandbytes  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        with unchanged(base), pytest.raises(TriptychError, match="needs bitsandbytes"):
            one(base, optimizer="adamw8bit")


# --- schedules -------------------------------------------------------------------------------------------------------


def rates(**given: Any) -> list[float]:
    training = Training(lr=1.0, **{"steps": 8, **given})
    return [learning_rate(training, step) for step in range(training.steps)]


def test_schedules_are_their_formulas() -> None:
    assert rates(schedule="constant") == [1.0] * 8
    assert rates(schedule="linear") == pytest.approx([1 - i / 8 for i in range(8)])
    assert rates(schedule="polynomial", power=2.0) == pytest.approx([(1 - i / 8) ** 2 for i in range(8)])
    assert rates(schedule="polynomial") == rates(schedule="linear")
    assert rates(schedule="cosine-restarts") == pytest.approx(rates(schedule="cosine"))
    twice = rates(schedule="cosine-restarts", cycles=2)
    assert twice[:4] == pytest.approx(twice[4:])
    assert twice[:4] == pytest.approx(rates(schedule="cosine", steps=4))
    assert rates(schedule="rex") == pytest.approx([(1 - i / 8) / (0.5 + 0.5 * (1 - i / 8)) for i in range(8)])
    assert rates(schedule="constant", warmup=4, decay=3) == pytest.approx([0.25, 0.5, 0.75, 1, 1, 0.75, 0.5, 0.25])
    assert all(0 <= rate <= 1 for name in SCHEDULES for rate in rates(schedule=name, cycles=3, power=0.5))


@pytest.mark.slow
@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_trains(base: Base, name: str) -> None:
    learned, constant = one(base, schedule=name, cycles=2, power=2.0), one(base, schedule="constant")
    assert (gap(learned.tensors, constant.tensors) > 1e-5) == (name != "constant")


# --- accumulation and memory -----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "textual-inversion", "hypernetwork", "dreambooth"])
def test_accumulation_equals_the_large_batch(base: Base, method: str) -> None:
    whole = one(base, method, batch=4, min_snr=5.0)
    parts = one(base, method, batch=1, accumulate=4, min_snr=5.0)
    judged = [name for name in whole.tensors if not (".k.linear" in name and name.endswith("bias"))]
    assert gap({n: whole.tensors[n] for n in judged}, {n: parts.tensors[n] for n in judged}) < 2e-5
    assert whole.losses == pytest.approx(parts.losses, rel=1e-5)
    assert gap(whole.tensors, one(base, method, batch=1, min_snr=5.0).tensors) > 1e-4


@pytest.mark.slow
def test_jobs_with_and_without_accumulation_share_a_pass(base: Base) -> None:
    several = [
        trial("lora", "a", 1, batch=1, accumulate=3), trial("lora", "b", 2, batch=3),
        trial("lora", "c", 3, batch=1, accumulate=3),
    ]  # fmt: skip
    for together, each in zip(fit(base, several), several, strict=True):
        assert gap(together.tensors, fit(base, [replace(each, owner=None)])[0].tensors) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("most", [1, 2, 4, 100])
def test_passes_hold_every_row_once_and_are_not_too_large(base: Base, most: int, monkeypatch: Any) -> None:
    several = [trial("lora", "a", 1, batch=3), trial("textual-inversion", "b", 2, batch=2, accumulate=2)]
    calls: list[int] = []
    denoise = base.denoise

    def counted(noisy: torch.Tensor, *rest: Any) -> torch.Tensor:
        calls.append(len(noisy))
        return denoise(noisy, *rest)

    monkeypatch.setattr(base, "denoise", counted)
    bounded = fit(base, [replace(t, settings=replace(t.settings, fixed_every=0)) for t in several], most_rows=most)
    assert max(calls) <= most
    assert sum(calls) == 6 * (3 + 4)
    monkeypatch.undo()
    for a, b in zip(bounded, fit(base, several), strict=True):
        assert gap(a.tensors, b.tensors) < 1e-4
        assert a.losses == pytest.approx(b.losses, rel=1e-5)


@pytest.mark.slow
def test_where_memory_runs_out_it_goes_on_with_half_the_rows(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    several = [trial("lora", f"owner {i}", i, batch=3, fixed_every=0) for i in range(2)]
    whole, denoise, told = fit(base, several), base.denoise, list[str]()

    def small(noisy: torch.Tensor, *rest: Any) -> torch.Tensor:
        if len(noisy) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return denoise(noisy, *rest)

    monkeypatch.setattr(base, "denoise", small)
    for a, b in zip(whole, fit(base, several, note=told.append), strict=True):
        assert gap(a.tensors, b.tensors) < 2e-5
    assert told == [
        "memory ran out with 6 rows in a pass: it goes on with 3, to the same result",
        "memory ran out with 3 rows in a pass: it goes on with 2, to the same result",
    ]


def test_other_errors_are_not_taken_for_memory() -> None:
    def broken() -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    class Rows:
        rows = 4
        training = Training()

    with pytest.raises(RuntimeError, match="shapes"):
        Passes().retried([Rows()], broken, lambda: None)  # type: ignore[list-item]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "textual-inversion"])
def test_gradient_checkpointing_recomputes_and_gives_the_same_bits(
    base: Base, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, seen = one(base, method), list[int]()
    checkpoint = base.rows.checkpoint

    def noted(block: Any, *args: Any) -> Any:
        seen.append(1)
        return checkpoint(block, *args)

    monkeypatch.setattr(base.rows, "checkpoint", noted)
    with unchanged(base):
        assert gap(plain.tensors, one(base, method, checkpointing=True).tensors) < 1e-6
    assert seen
    assert not any(getattr(module, "gradient_checkpointing", False) for module in base.denoiser.module.modules())


# --- the loss --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_huber_is_the_square_far_below_its_scale_and_the_distance_far_above(base: Base) -> None:
    difference = torch.tensor([0.0, 0.01, 1.0, 100.0])
    process = base.process
    assert torch.allclose(Objective(process, 1e3).error(difference[:3], torch.zeros(3)), difference[:3] ** 2, atol=1e-3)
    small = Objective(process, 0.1).error(difference[3:], torch.zeros(1))
    assert float(small) == pytest.approx(2 * 0.1 * (100 - 0.1), rel=1e-4)
    plain, robust = one(base), one(base, huber=0.1)
    assert gap(plain.tensors, robust.tensors) > 1e-5
    assert robust.losses[0] < plain.losses[0]


@pytest.mark.slow
def test_jobs_with_different_losses_share_a_pass() -> None:
    base = tiny_base(kind="sd2")
    several = [trial("lora", "a", 1, huber=0.1), trial("lora", "b", 2), trial("lora", "c", 3, zero_snr=True)]
    for together, each in zip(fit(base, several), several, strict=True):
        alone = fit(base, [replace(each, owner=None)])[0]
        assert gap(together.tensors, alone.tensors) < 2e-5
        assert together.losses == pytest.approx(alone.losses, rel=1e-4)


@pytest.mark.slow
def test_debiased_weights_are_one_over_the_root_of_snr(base: Base) -> None:
    times = torch.tensor([0, 500, 999])
    kept = base.process.schedule.alphas_cumprod[times]
    assert torch.allclose(base.process.debiased(times), ((1 - kept) / kept).sqrt())
    velocity = tiny_base(kind="sd2").process
    assert torch.allclose(velocity.debiased(times), kept * ((1 - kept) / kept).sqrt(), atol=1e-5)
    assert gap(one(base).tensors, one(base, debiased=True).tensors) > 1e-5
    with pytest.raises(TriptychError, match="two weightings"):
        one(base, debiased=True, min_snr=5.0)


@pytest.mark.slow
def test_zero_snr_trains_on_a_process_that_ends_at_pure_noise() -> None:
    base = tiny_base(kind="sd2")
    process = base.process.zero_terminal()
    assert float(process.schedule.alphas_cumprod[-1]) == pytest.approx(0, abs=1e-7)
    assert float(base.process.schedule.alphas_cumprod[-1]) > 1e-5, "the base's own is not changed"
    clean, noise, last = torch.ones(1, 4, 2, 2), torch.zeros(1, 4, 2, 2), torch.tensor([999])
    assert (
        float(process.noised(clean, noise, last).abs().max())
        < 1e-3
        < float(base.process.noised(clean, noise, last).max())
    )
    plain, rescaled = one(base, fixed_every=3), one(base, zero_snr=True, fixed_every=3)
    assert gap(plain.tensors, rescaled.tensors) > 1e-5
    assert all(math.isfinite(loss) for loss in one(base, zero_snr=True, min_snr=5.0).losses)
    with pytest.raises(TriptychError, match="predicts the velocity"):
        one(tiny_base(), zero_snr=True)


@pytest.mark.slow
def test_noise_offset_shifts_whole_channels(base: Base) -> None:
    from triptych.data.examples import Source
    from triptych.training.draws import draw

    source = Source("instance", examples(4).each, ["a dog"] * 4, 4)
    plain = draw([source], Training(), 1, 0, base.process)
    shifted = draw([source], Training(noise_offset=0.5), 1, 0, base.process)
    differences = torch.stack(list(shifted.noise)) - torch.stack(list(plain.noise))
    flat = differences.flatten(2)
    assert float((flat - flat[..., :1]).abs().max()) < 1e-6, "one number for each channel"
    assert 0.1 < float(flat[..., 0].std()) < 1.0
    assert torch.equal(plain.times, shifted.times)
    assert gap(one(base).tensors, one(base, noise_offset=0.5).tensors) > 1e-5


@pytest.mark.slow
def test_dropped_captions_are_the_share_that_is_asked(base: Base) -> None:
    from triptych.data.examples import Source
    from triptych.training.draws import draw

    source = Source("instance", examples(4).each, ["a dog"] * 4, 4)
    prompts = [
        p for step in range(100) for p in draw([source], Training(drop_captions=0.25), 1, step, base.process).prompts
    ]
    assert 70 < prompts.count("") < 130
    assert gap(one(base).tensors, one(base, drop_captions=0.5).tensors) > 1e-5
    start = one(base, "textual-inversion", lr=0.0).tensors
    assert gap(start, one(base, "textual-inversion", drop_captions=1.0).tensors) == 0, "no caption names the word"


@pytest.mark.slow
def test_the_average_is_kept_and_training_goes_on_from_what_is_trained(base: Base) -> None:
    plain, mean = one(base, schedule="constant"), one(base, schedule="constant", ema=0.9)
    assert plain.losses == mean.losses, "the average does not change the training"
    assert 0 < moved(mean.tensors) < moved(plain.tensors)
    assert gap(plain.tensors, mean.tensors) > 1e-4
    several = [trial("lora", f"owner {i}", i, ema=0.9) for i in range(2)]
    for together, each in zip(fit(base, several), several, strict=True):
        assert gap(together.tensors, fit(base, [replace(each, owner=None)])[0].tensors) < 2e-5


@pytest.mark.slow
@pytest.mark.parametrize("given", [{"ema": 0.9}, {"optimizer": "schedule-free"}], ids=["ema", "schedule-free"])
def test_looking_at_what_is_kept_changes_nothing(base: Base, given: dict[str, Any]) -> None:
    looked, seen = [], []
    for every in (0, 2):
        fitted = fit(base, [trial("lora", fixed_every=every, **given)], watch=lambda m: seen.append(m.tensors(None)))[0]
        looked.append(fitted.tensors)
    assert gap(*looked) == 0
    assert gap(seen[-1], looked[1]) == 0, "the last moment is what is kept"
    assert len(seen) == 2 * 7


# --- the bits of a default training ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_options_that_are_off_are_no_options(base: Base) -> None:
    """The same as if nobody had asked: the values by which each option is off."""
    off: dict[str, Any] = {
        "accumulate": 1, "optimizer": "adamw", "decay": 0, "ema": 0.0, "huber": 0.0, "noise_offset": 0.0,
        "drop_captions": 0.0, "checkpointing": False, "debiased": False, "zero_snr": False,
    }  # fmt: skip
    assert gap(one(base).tensors, one(base, **off).tensors) == 0


def test_a_share_is_at_most_1(base: Base) -> None:
    with pytest.raises(TriptychError, match="drop_captions must be at most 1"):
        trial("lora", drop_captions=1.5)


def broken_trial() -> Trial:
    lost = examples(4, 1)
    for example in lost.each:
        example.latent[:] = torch.nan
    return replace(trial("lora", "b", 2, optimizer="lion", ema=0.5), examples=lost)


@pytest.mark.slow
def test_a_lost_loss_of_another_optimiser_leaves_the_others_alone(base: Base) -> None:
    sound = trial("lora", "a", 1)
    first, lost = fit(base, [sound, broken_trial()])
    assert "stopped being a number" in str(lost.failure)
    assert gap(first.tensors, fit(base, [replace(sound, owner=None)])[0].tensors) < 2e-5
