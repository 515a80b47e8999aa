"""Examples of two sizes, with a crop and with weights, in one training."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.worlds import gap, pictures, trial
from triptych.base import Base, Framing, generator, tiny_base
from triptych.base.tiny import Kind
from triptych.data.examples import Example, Examples, Source
from triptych.methods import method_named
from triptych.training.draws import draw_rows
from triptych.training.fit import Trial, fit
from triptych.training.fixed_loss import fixed_batch
from triptych.training.loss import mean_error


def latent(height: int, width: int, seed: int) -> torch.Tensor:
    return torch.randn(4, height, width, generator=generator("size", seed))


LEFT = torch.zeros(8, 12)
LEFT[:, :5] = 1
SQUARE = Example(latent(8, 8, 1), "a {}", pictures(1)[0])
WIDE = Example(latent(8, 12, 2), "a large {}", pictures(1)[0], framing=Framing(40, 60, 3, 5), weights=LEFT)


def of_two_sizes(name: str = "lora", owner: str | None = None, wide: Example = WIDE, **given: object) -> Trial:
    tall = Example(latent(12, 8, 3), "a tall {}", pictures(1)[0])
    examples = Examples((SQUARE, wide, tall, replace(SQUARE, latent=latent(8, 8, 4))))
    return replace(trial(name, owner, batch=4, **given), examples=examples)


@torch.no_grad()
def expected(base: Base, one: Trial, step: int) -> float:
    """The loss of an untrained LoRA, each row by itself."""
    (source,) = one_source(base, one)
    batch = draw_rows(source, one.seed, step, base.process)
    losses = []
    for example, noise, time, prompt in zip(batch.examples, batch.noise, batch.times, batch.prompts, strict=True):
        clean, noise, time = example.latent[None], noise[None], time[None]
        noisy = base.process.noised(clean, noise, time)
        predicted = base.denoise(noisy, time, base.encode([prompt]), [example.framing])
        squared = (predicted - base.process.target(clean, noise, time)).square()[0]
        losses.append(squared[:, :, :5].mean() if example.weights is not None else squared.mean())
    return float(torch.stack(losses).mean())


def one_source(base: Base, one: Trial) -> list[Source]:
    return list(method_named(one.method).sources(base, one.settings, one.examples, one.class_word))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_two_sizes_and_weights_give_the_loss_of_each_row_by_itself(kind: Kind) -> None:
    base = tiny_base(kind=kind)
    one = of_two_sizes(lr=0.0, steps=3)
    (fitted,) = fit(base, [one])
    assert fitted.losses == pytest.approx([expected(base, one, step) for step in range(3)], rel=1e-5)


def test_what_weighs_nothing_does_not_count() -> None:
    """An error that is large on the right of the wide latent alone."""
    squared = torch.ones(2, 4, 8, 12)
    squared[:, :, :, 5:] = 100
    weighted, plain = mean_error(squared, [WIDE, replace(WIDE, weights=None)])
    assert weighted == 1
    assert plain == pytest.approx((5 + 7 * 100) / 12)
    (alone,) = mean_error(squared[1:], [replace(WIDE, weights=None)])
    assert alone == pytest.approx(float(plain))


@pytest.mark.slow
def test_even_weights_change_nothing_and_double_ones_neither() -> None:
    base = tiny_base()
    plain = fit(base, [of_two_sizes(wide=replace(WIDE, weights=None))])[0]
    for weights in (torch.ones(8, 12), torch.full((8, 12), 2.0)):
        even = fit(base, [of_two_sizes(wide=replace(WIDE, weights=weights))])[0]
        assert even.losses == pytest.approx(plain.losses, rel=1e-5)
    weighted = fit(base, [of_two_sizes()])[0]
    assert gap(weighted.tensors, plain.tensors) > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("names", [["lora", "textual-inversion", "hypernetwork"]])
def test_two_sizes_jointly_as_alone(names: list[str]) -> None:
    base = tiny_base()
    trials = [of_two_sizes(name, name, steps=3) for name in names]
    trials.append(replace(trial("lora", "square", seed=3, steps=3)))
    for one, together in zip(trials, fit(base, trials), strict=True):
        (alone,) = fit(base, [replace(one, owner=None)])
        assert together.losses == pytest.approx(alone.losses, abs=2e-5)
        assert together.fixed[-1][1] == pytest.approx(alone.fixed[-1][1], abs=2e-5)


@pytest.mark.slow
def test_sdxl_reads_the_framing() -> None:
    base = tiny_base(kind="sdxl")
    told = fit(base, [of_two_sizes(lr=0.0, steps=1)])[0].losses
    whole = fit(base, [of_two_sizes(wide=replace(WIDE, framing=None), lr=0.0, steps=1)])[0].losses
    assert told != whole
    assert fit(tiny_base(), [of_two_sizes(lr=0.0, steps=1)])[0].losses[0] > 0


def test_a_fixed_batch_has_the_sizes_of_its_examples() -> None:
    batch = fixed_batch([(of_two_sizes().examples, "dog")], tiny_base().process)
    assert [tuple(noise.shape[1:]) for noise in batch.noise[:4]] == [(8, 8), (8, 12), (12, 8), (8, 8)]


@pytest.mark.parametrize("weights", [torch.zeros(8, 8), -torch.ones(8, 8), torch.ones(4, 8)])
def test_weights_without_meaning_are_refused(weights: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="weights"):
        replace(SQUARE, weights=weights)
