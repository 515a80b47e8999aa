"""The fixed-batch loss: it disturbs nothing, is what diffusers computes, chooses the best moment and the end."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.plain import first_fast
from tests.test_laws import SHARING, TRAINED, KilledError, kill_at, unchanged
from tests.worlds import WORD, call, examples, gap, trial, typed
from triptych.base import Base, generator, tiny_base
from triptych.errors import TriptychError
from triptych.exchange.artifact import Artifact
from triptych.methods import Training
from triptych.training.fit import Fitted, Trial, fit
from triptych.training.fixed_loss import FixedLoss, fixed_batch

HELD_OUT = examples(2, 9)
WILD = {
    "textual-inversion": (0.2, 2), "hypernetwork": (0.1, 1), "lora": (0.1, 1), "dreambooth": (0.06, 1),
    "dreambooth-lora": (0.1, 1), "pivotal": (0.1, 1), "layernorm": (0.3, 1), "svdiff": (0.3, 1), "p-plus": (0.5, 3),
    "custom-diffusion": (3.0, 1), "fine-tune": (0.06, 1),
}  # fmt: skip
# learning rate and seed with which the loss falls and rises again


def watched(name: str, owner: str | None = None, **given: object) -> Trial:
    return replace(trial(name, owner, **given), held_out=HELD_OUT)


def wild(name: str, owner: str | None = None, steps: int = 16, **given: object) -> Trial:
    lr, seed = WILD[name]
    return watched(name, owner, seed=seed, lr=lr, schedule="constant", fixed_every=2, steps=steps, **given)


def steps_of(fitted: Fitted) -> list[int]:
    return [done for done, _ in fitted.fixed]


@pytest.mark.slow
@pytest.mark.parametrize("name", first_fast(TRAINED[::2]))
def test_training_with_it_and_without_is_bit_equal(base: Base, name: str) -> None:
    without = fit(base, [trial(name, fixed_every=0)])[0]
    with unchanged(base):
        with_it = fit(base, [watched(name, fixed_every=2)])[0]
    assert gap(without.tensors, with_it.tensors) == 0
    assert without.losses == with_it.losses
    assert (steps_of(without), steps_of(with_it)) == ([], [0, 2, 4, 6])
    assert with_it.kept_step == 6


@pytest.mark.slow
def test_it_is_what_the_base_makes_of_the_held_out_pictures(base: Base) -> None:
    one = watched("textual-inversion")
    fitted = fit(base, [one])[0]
    noise = torch.stack([torch.randn(4, 8, 8, generator=generator("fixed", row)) for row in range(8)])
    times = torch.tensor([62, 187, 312, 437, 562, 687, 812, 937])
    latents = torch.stack([example.latent for example in HELD_OUT.each] * 4)
    alphas = base.process.schedule.alphas_cumprod[times].view(-1, 1, 1, 1)
    noisy = alphas.sqrt() * latents + (1 - alphas).sqrt() * noise
    with Artifact(one.method, one.settings, fitted.tensors).apply(base), torch.no_grad():
        predicted = base.denoiser.module(noisy, times, base.encode([f"a {WORD}"] * 8).hidden).sample
    assert fitted.fixed[-1] == (6, pytest.approx(float((predicted - noise).square().mean()), rel=1e-5))
    unseen = fit(base, [replace(one, held_out=None)])[0]
    assert unseen.fixed != fitted.fixed, "without held-out pictures, the training ones"


@pytest.mark.slow
def test_jointly_as_alone(base: Base) -> None:
    trials = [watched(name, name, fixed_every=3) for name in SHARING]
    trials[0] = replace(trials[0], settings=replace(trials[0].settings, steps=4))
    for one, together in zip(trials, fit(base, trials), strict=True):
        alone = fit(base, [replace(one, owner=None)])[0]
        assert steps_of(together) == steps_of(alone)
        assert [loss for _, loss in together.fixed] == pytest.approx([loss for _, loss in alone.fixed], abs=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", first_fast(TRAINED[::2]))
def test_the_best_is_kept(base: Base, name: str) -> None:
    best = fit(base, [wild(name, keep="best")])[0]
    assert 0 < best.kept_step < 16, best.fixed
    stopped_there = fit(base, [wild(name, steps=best.kept_step)])[0]
    assert gap(best.tensors, stopped_there.tensors) == 0


@pytest.mark.slow
def test_patience_ends_a_training_and_leaves_the_others_alone(base: Base) -> None:
    trials = [wild("textual-inversion", "ann", patience=2), watched("lora", "bob", fixed_every=2, steps=16)]
    early, other = fit(base, trials)
    assert len(early.losses) == early.kept_step < 16
    best = fit(base, [wild("textual-inversion", keep="best", patience=2)])[0]
    assert len(early.losses) == best.kept_step + 2 * 2
    assert len(other.losses) == 16
    alone = fit(base, [watched("lora", fixed_every=2, steps=16)])[0]
    assert [loss for _, loss in other.fixed] == pytest.approx([loss for _, loss in alone.fixed], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "step"), [(["dreambooth"], 3), (["dreambooth"], 11), (SHARING, 9)], ids=["early", "late", "jointly"]
)
def test_killed_and_resumed_keeps_the_same_best(base: Base, names: list[str], step: int, tmp_path: Path) -> None:
    trials = [wild(name, name if len(names) > 1 else None, keep="best", patience=5) for name in names]
    whole = fit(base, trials)
    with pytest.raises(KilledError):
        fit(base, trials, state=tmp_path / "state.pt", every=2, progress=kill_at(step))
    for a, b in zip(whole, fit(base, trials, state=tmp_path / "state.pt", every=2), strict=True):
        assert gap(a.tensors, b.tensors) == 0
        assert (a.losses, a.fixed, a.kept_step) == (b.losses, b.fixed, b.kept_step)


def test_the_best_is_of_the_smoothed_curve() -> None:
    kept = []
    training = Training(steps=12, fixed_every=2, keep="best", patience=3)
    loss = FixedLoss(fixed_batch([(HELD_OUT, "dog")], tiny_base().process), training, lambda: kept.append(1) or {})  # type: ignore[func-returns-value]
    for done, value in ((0, 0.1), (2, 0.9), (4, 0.8), (6, 0.2), (8, float("nan")), (10, 0.3)):
        loss.note(done, value)
        assert not loss.is_over
    assert loss.best_step == 6, "the start is not counted, and what is no number is never best"
    assert len(kept) == 3
    loss.note(12, 0.3)
    assert loss.is_over


def test_without_patience_no_step_searches_the_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    curve = FixedLoss(fixed_batch([(HELD_OUT, "dog")], tiny_base().process), Training(), dict, [(25, 1.0), (50, 2.0)])
    monkeypatch.setattr(FixedLoss, "best_step", property(lambda self: pytest.fail("searched")))
    assert not curve.is_over


def test_choosing_without_looking_is_refused(base: Base) -> None:
    with pytest.raises(TriptychError, match="fixed_every must be 1 or more"):
        fit(base, [trial("lora", fixed_every=0, keep="best")])


@pytest.mark.study
def test_a_study_chooses_by_pictures_that_neither_train_nor_judge(
    folder: Path, random_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    words = typed(random_base, "try", folder, "--budget", "quick", "--precision", "fp32", "--out", out)
    words += ["--methods", "lora,textual-inversion", "-s", "lora.steps=2", "-s", "textual-inversion.steps=2"]
    assert call(monkeypatch, *words, "-s", "lora.keep=best") == 0
    told = tomllib.loads((out / "study.toml").read_text())["study"]
    records = [json.loads(path.read_text()) for path in out.glob("trials/*/trial.json")]
    seen = {record["method"]: set(record["pictures"]) for record in records}
    spared = seen["textual-inversion"] - seen["lora"]
    assert len(spared) == max(1, told["pictures"] // 6)
    assert seen["lora"] < seen["textual-inversion"]
    assert not seen["textual-inversion"] & set(told["held_out"])
