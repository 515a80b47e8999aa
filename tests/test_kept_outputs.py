"""Methods with a prior can keep the base's outputs in place of its pictures of the class."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.plain import first_fast
from tests.test_laws import KilledError, kill_at, unchanged
from tests.worlds import FAST, examples, gap, learned, settings, trial
from triptych.app.remarks import remarks_on
from triptych.base import Base, generator, tiny_base
from triptych.data.examples import Examples
from triptych.exchange.artifact import Artifact, Part
from triptych.methods import PriorMethod, methods
from triptych.sampling.generate import sample_latents
from triptych.training.fit import Fitted, Trial, fit

KEEPING = [name for name, method in methods().items() if isinstance(method, PriorMethod)]
OUTPUTS: dict[str, Any] = {"prior": "outputs", "fixed_every": 0}


@pytest.fixture(autouse=True)
def sampled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the calls by which the base draws pictures of the class."""
    found: list[int] = []

    def counted(*given: Any) -> Tensor:
        found.append(1)
        return sample_latents(*given)

    monkeypatch.setattr("triptych.sampling.prior.sample_latents", counted)
    return found


@pytest.fixture
def half() -> Base:
    return tiny_base(dtype=torch.bfloat16)


def one(base: Base, method: str, **given: Any) -> Fitted:
    return fit(base, [trial(method, **{**OUTPUTS, **given})])[0]


@torch.no_grad()
def of_class(base: Base) -> Tensor:
    """What the base predicts for noise and the class word."""
    noisy = torch.randn(8, 4, 8, 8, generator=generator("class"), dtype=torch.get_default_dtype())
    return base.denoise(noisy, torch.linspace(50, 950, 8).long(), base.encode(["a dog"] * 8))


@pytest.mark.parametrize("name", first_fast(KEEPING, mark="thorough"))
def test_the_class_stays_nearer_to_the_base_and_no_pictures_are_sampled(
    base: Base, name: str, sampled: list[int]
) -> None:
    plain, away = of_class(base), dict[float, float]()
    for weight in (0.0, 1.0, 10.0):
        given = {"steps": 40, "schedule": "constant", "prior_weight": weight, "lr": 2 * FAST[name]["lr"]}
        with unchanged(base):
            fitted = one(base, name, **given)
        assert fitted.failure is None
        with Artifact(name, settings(name), fitted.tensors).apply(base):
            away[weight] = float((of_class(base) - plain).norm())
    assert away[0.0] > 1.2 * away[1.0]
    assert away[1.0] > away[10.0] > 0
    assert not sampled
    fit(base, [trial(name, steps=1)])
    assert sampled, "by default they are"


@pytest.mark.parametrize(
    ("name", "given"),
    first_fast([
        ("dreambooth", {"text_lr": 1e-3}), ("dreambooth-lora", {}), ("custom-diffusion", {"word_lr": 0.0}),
        ("svdiff", {}),
        ("dreambooth", {"drop_captions": 0.5, "min_snr": 5.0, "huber": 0.1, "noise_offset": 0.1}),
        ("dreambooth", {"checkpointing": True, "accumulate": 2}),
    ], mark="thorough"),
)  # fmt: skip
def test_what_is_not_trained_yet_has_no_loss_on_them(base: Base, name: str, given: dict[str, Any]) -> None:
    """The base's own outputs are the target, also beside attached files, and whatever else the loss weighs."""
    below = learned(base, trial("lora", seed=7, lr=0.05, text_lr=1e-2))
    still = {"lr": 0.0, **given, **({"text_lr": 1e-30} if "text_lr" in given else {})}
    for on in ([], [Part(below)]):
        alone, kept = (
            fit(base, [trial(name, **{**OUTPUTS, **still, "prior_weight": weight})], on=on)[0] for weight in (0.0, 50.0)
        )
        assert kept.losses == pytest.approx(alone.losses, abs=1e-4)
    moved = one(base, name, **{**given, "prior_weight": 50.0})
    assert moved.losses[-1] > moved.losses[0] - 0.5
    assert moved.losses != kept.losses


def test_several_sizes_and_masks(base: Base) -> None:
    """The rows are grouped by size, and what a mask leaves out of the concept is kept of the base."""
    square = examples(2).each
    wide = [replace(e, latent=e.latent.repeat(1, 1, 2), weights=torch.ones(8, 16).triu()) for e in examples(2, 5).each]
    mixed = Trial("dreambooth-lora", settings("dreambooth-lora", **OUTPUTS), Examples((*square, *wide)), "dog")
    sources = mixed.kind.sources(base, mixed.settings, mixed.examples, "dog")
    assert [source.purpose for source in sources] == ["instance", "prior"]
    assert all(e.as_base and e.weights is None for e in sources[1].examples)
    assert sources[1].prompts == ["a dog"] * 4
    still = replace(mixed, settings=replace(mixed.settings, lr=0.0))
    free = replace(still, settings=replace(still.settings, prior_weight=0.0))
    assert fit(base, [still])[0].losses == pytest.approx(fit(base, [free])[0].losses, abs=1e-5)
    own = replace(mixed.examples, prior=examples(3, 9, ("a small {}",)).each)
    (_, theirs) = mixed.kind.sources(base, mixed.settings, own, "dog")
    assert theirs.prompts == ["a small dog"] * 3
    assert all(e.as_base for e in theirs.examples), "the user's own pictures of the class stand for the training's"


@pytest.mark.slow
def test_in_one_pass_as_alone_in_any_cut_and_resumed(base: Base, tmp_path: Path) -> None:
    several = [
        trial("dreambooth-lora", "a", 1, **OUTPUTS), trial("lora", "b", 2), trial("svdiff", "c", 3, **OUTPUTS),
        trial("textual-inversion", "d", 4), trial("dreambooth-lora", "e", 5, **OUTPUTS),
        trial("custom-diffusion", "f", 6, **OUTPUTS), trial("dreambooth-lora", "g", 7),
    ]  # fmt: skip
    with unchanged(base):
        together = fit(base, several)
    for fitted, each in zip(together, several, strict=True):
        assert gap(fitted.tensors, fit(base, [replace(each, owner=None)])[0].tensors) < 2e-4
    for cut in ({"most_rows": 5}, {"memory": 10**10}):
        for a, b in zip(together, fit(base, several, **cut), strict=True):
            assert gap(a.tensors, b.tensors) < 2e-4
    with pytest.raises(KilledError):
        fit(base, several, state=tmp_path / "state.pt", every=1, progress=kill_at(3))
    for a, b in zip(together, fit(base, several, state=tmp_path / "state.pt"), strict=True):
        assert gap(a.tensors, b.tensors) == 0
        assert a.losses == b.losses


@pytest.mark.thorough
@pytest.mark.parametrize("masters", ["fp32", "bf16", "cpu"])
def test_whole_models_in_less_memory(half: Base, masters: str, tmp_path: Path) -> None:
    given: dict[str, Any] = {"masters": masters, "clip": 0.0, "text_lr": 1e-3, "lr": 1e-3, **OUTPUTS}
    with unchanged(half):
        plain, fused = (one(half, "dreambooth", **given, fused=fused) for fused in (False, True))
    if masters != "bf16":  # which rounds at random, by the order of the steps
        assert gap(plain.tensors, fused.tensors) == 0
    free = one(half, "dreambooth", **{**given, "prior_weight": 0.0})
    assert gap(plain.tensors, free.tensors) > 1e-4
    asked = trial("dreambooth", **given, fused=True)
    with pytest.raises(KilledError):
        fit(half, [asked], state=tmp_path / "state.pt", every=1, progress=kill_at(3))
    assert gap(fused.tensors, fit(half, [asked], state=tmp_path / "state.pt")[0].tensors) == 0
    planned = fit(half, [asked], memory=10**10)[0]
    assert gap(fused.tensors, planned.tensors) == 0


def test_the_count_of_pictures_does_nothing_then_and_it_is_said(base: Base) -> None:
    given = {"prior": "outputs", "prior_pictures": 9}
    found = remarks_on(base, "dreambooth", given, settings("dreambooth", **given), "dog", examples(3))
    assert "dreambooth: prior_pictures does nothing with prior outputs" in found
