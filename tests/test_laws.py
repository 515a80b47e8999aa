"""The laws, each over every method, on the tiny base."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.plain import first_fast
from tests.worlds import FAST, gap, learned, look, settings, trial
from triptych.base import Base, tiny_base
from triptych.errors import TriptychError
from triptych.exchange.artifact import Artifact, Part, compose
from triptych.exchange.formats import open_artifact
from triptych.exchange.saving import save
from triptych.methods import method_named, methods
from triptych.sampling.generate import sample
from triptych.sampling.request import Request
from triptych.training.fit import Fitted, Trial, fit
from triptych.training.loop import Progress
from triptych.verdict.words import TITLES, title

ALL = sorted(methods())
TRAINED = [name for name in ALL if name != "aesthetic-gradients"]
SHARING = [name for name in TRAINED if methods()[name].shares_a_pass]


@contextmanager
def unchanged(base: Base) -> Iterator[None]:
    before, seen = base.fingerprint(), look(base)
    spell, encode = base.texts[0].spell, base.encode
    yield
    assert base.fingerprint() == before
    assert torch.equal(look(base), seen)
    assert (base.texts[0].spell, base.encode, base.pile) == (spell, encode, [])
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in base.denoiser.module.modules())
    assert not any(p.requires_grad or p.grad is not None for m in base.modules().values() for p in m.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_leaving_restores_the_base_bit_for_bit(base: Base, name: str) -> None:
    with unchanged(base):
        artifact = learned(base, trial(name))
    with unchanged(base), artifact.apply(base) as patch:
        patch.set_strength(0.3)
    with unchanged(base), pytest.raises(KeyError), artifact.apply(base, 0.7):
        raise KeyError("boom")


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_strength_0_is_the_base_and_1_the_artifact(base: Base, name: str) -> None:
    artifact, plain = learned(base, trial(name)), look(base)
    with artifact.apply(base) as patch:
        one = look(base)
        patch.set_strength(0)
        assert torch.equal(look(base), plain)
        patch.set_strength(0.5)
        half = look(base)
        patch.set_strength(1)
        assert torch.equal(look(base), one)
    assert not torch.equal(one, plain)
    assert not torch.equal(half, one)
    assert not torch.equal(half, plain)
    for strength, expected in ((0, plain), (0.5, half), (1, one)):
        with artifact.apply(base, strength) as patch:
            assert torch.equal(look(base), expected)
            assert gap(patch.tensors(), artifact.tensors) == 0


def pairs() -> list[tuple[str, str]]:
    """Each method with the next two that it can be used with."""
    found = []
    for i, first in enumerate(ALL):
        others = [name for name in (*ALL[i + 1 :], *ALL[:i]) if not hold_the_same(first, name)]
        found += [(first, name) for name in others[:2]]
    return found


def hold_the_same(first: str, second: str) -> bool:
    """Whether two methods lay claim to the same thing, such as the word."""
    one, other = (method_named(name).claim(settings(name)) for name in (first, second))
    return one is not None and one == other


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second"), first_fast(pairs(), 2))
def test_different_methods_compose_in_any_order(base: Base, first: str, second: str) -> None:
    a, b = learned(base, trial(first)), learned(base, trial(second, seed=2))
    with unchanged(base), compose(base, Part(a, 0.8), Part(b)) as (patch, _):
        one = look(base)
        patch.set_strength(0)  # also where it lies under the other
        without = look(base)
    with compose(base, Part(b), Part(a, 0.8)):
        assert torch.equal(look(base), one)
    with b.apply(base):
        assert torch.equal(look(base), without)


@pytest.mark.slow
def test_several_of_one_method(base: Base) -> None:
    for name in ("lora", "dreambooth"):
        a, b = learned(base, trial(name)), learned(base, trial(name, seed=2))
        with compose(base, Part(a), Part(b)):
            one = look(base)
        with compose(base, Part(b), Part(a)):
            assert torch.allclose(look(base), one, atol=1e-5)
    a, b = learned(base, trial("hypernetwork", spread=0.3)), learned(base, trial("hypernetwork", seed=2, spread=0.3))
    with compose(base, Part(a), Part(b)):
        one = look(base)
    with compose(base, Part(b), Part(a)):
        assert not torch.allclose(look(base), one, atol=1e-4), "hypernetworks chain, so their order shows"


@pytest.mark.slow
@pytest.mark.parametrize("first", ["textual-inversion", "aesthetic-gradients", "pivotal", "custom-diffusion"])
def test_meaningless_pairs_are_refused(base: Base, first: str) -> None:
    artifact = learned(base, trial(first))
    for second in ALL:
        if hold_the_same(first, second):
            other = artifact if second == first else learned(base, trial(second))
            with pytest.raises(TriptychError, match="both hold"), compose(base, Part(artifact), Part(other)):
                pass


def test_an_embedding_without_a_start_word_is_all_or_nothing(base: Base) -> None:
    word = learned(base, trial("textual-inversion"))
    bare = Artifact(word.method, method_named(word.method).configure({"start_word": ""}), word.tensors)
    with bare.apply(base), bare.apply(tiny_base(), 0):
        pass
    with pytest.raises(TriptychError, match="strength is 0 or 1"), bare.apply(base, 0.5):
        pass


def test_weights_cannot_have_an_owner(base: Base) -> None:
    artifact = learned(base, trial("dreambooth"))
    with pytest.raises(TriptychError, match="moves the base's own weights"), artifact.apply(base, 1.0, "ann"):
        pass


@pytest.mark.parametrize("name", TRAINED)
def test_fit_moves_finite_tensors(base: Base, name: str) -> None:
    one = trial(name)
    fitted = fit(base, [one])[0]
    start = method_named(name).start(base, one.settings, one.seed)
    assert all(tensor.isfinite().all() for tensor in fitted.tensors.values())
    assert gap(fitted.tensors, start or {k: torch.zeros_like(v) for k, v in fitted.tensors.items()}) > 1e-4
    assert len(fitted.losses) == one.settings.steps


@pytest.mark.parametrize("name", TRAINED)
def test_learning_rate_0_learns_nothing(base: Base, name: str) -> None:
    rates = [entry.name for entry in fields(settings(name)) if entry.name == "lr" or entry.name.endswith("_lr")]
    one = trial(name, **dict.fromkeys(rates, 0.0))
    fitted = fit(base, [one])[0]
    start = method_named(name).start(base, one.settings, one.seed)
    assert gap(fitted.tensors, start or {k: torch.zeros_like(v) for k, v in fitted.tensors.items()}) == 0


def joined(steps: tuple[int, int, int]) -> list[Trial]:
    return [
        trial("textual-inversion", "ann", 1, steps=steps[0]),
        trial("hypernetwork", "bob", 2, 3, steps=steps[1]),
        trial("lora", "cid", 3, 2, steps=steps[2]),
        trial("textual-inversion", "dee", 4, 3, steps=steps[0], lr=3e-2),
        trial("hypernetwork", "eve", 5, steps=steps[2], lr=1e-3),
    ]


def seen_through(base: Base, one: Trial, fitted: Fitted) -> torch.Tensor:
    with Artifact(one.method, one.settings, fitted.tensors).apply(base):
        return look(base)


def check_joint(base: Base, trials: list[Trial], tolerance: float) -> None:
    """The biases of a hypernetwork's key nets have no true gradient (softmax ignores what is added to all keys), so
    rounding moves them: they are judged by what they draw."""
    for one, together in zip(trials, fit(base, trials), strict=True):
        alone = fit(base, [Trial(one.method, one.settings, one.examples, one.class_word, one.seed)])[0]
        judged = {name for name in alone.tensors if not (".k.linear" in name and name.endswith("bias"))}
        assert gap({n: together.tensors[n] for n in judged}, {n: alone.tensors[n] for n in judged}) < tolerance
        assert (seen_through(base, one, together) - seen_through(base, one, alone)).abs().max() < tolerance


@pytest.mark.slow
@pytest.mark.parametrize("steps", [(6, 6, 6), (6, 2, 4)])
def test_jointly_as_alone(base: Base, steps: tuple[int, int, int]) -> None:
    check_joint(base, joined(steps), 2e-5)


@pytest.mark.slow
def test_jointly_as_alone_under_gradient_checkpointing(base: Base) -> None:
    base.denoiser.module.enable_gradient_checkpointing(base.rows.checkpoint)
    base.denoiser.module.train()
    check_joint(base, joined((4, 2, 3)), 2e-5)


@pytest.mark.slow
def test_jointly_as_alone_in_float64() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        base = tiny_base(dtype=torch.float64)
        check_joint(base, joined((6, 2, 4)), 1e-9)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.slow
def test_drawn_together_as_alone(base: Base) -> None:
    sharing = ["textual-inversion", "hypernetwork", "lora", "aesthetic-gradients"]
    artifacts = {name: learned(base, trial(name)) for name in sharing}
    requests = [
        Request("a <concept> dog", tuple(range(i, i + 2)), owner) for i, owner in enumerate([*artifacts, "bare"])
    ]
    with compose(base, *(Part(artifact, owner=owner) for owner, artifact in artifacts.items())):
        together = sample(base, requests)
    for request, pictures in zip(requests, together, strict=True):
        parts = [Part(artifact) for owner, artifact in artifacts.items() if owner == request.owner]
        with compose(base, *parts):
            alone = sample(base, [Request(request.prompt, request.seeds)])[0]
        for a, b in zip(pictures, alone, strict=True):
            differences = torch.tensor(list(a.tobytes())).int() - torch.tensor(list(b.tobytes())).int()
            assert differences.abs().max() <= 1


@pytest.mark.parametrize("name", ALL)
def test_saved_and_opened_is_the_same(base: Base, name: str, tmp_path: Path) -> None:
    artifact = learned(base, trial(name))
    save(artifact, tmp_path / "a.safetensors")
    opened = open_artifact(tmp_path / "a.safetensors")
    assert opened.settings == artifact.settings
    with artifact.apply(base):
        one = look(base)
    with opened.apply(base):
        assert torch.equal(look(base), one)


class KilledError(Exception):
    pass


def kill_at(step: int) -> Progress:
    def progress(done: int, total: int) -> None:
        if done == step:
            raise KilledError

    return progress


def fits(base: Base, trials: list[Trial], **options: Any) -> list[Fitted]:
    return fit(base, trials, every=2, **options)


@pytest.mark.slow
@pytest.mark.parametrize("names", [["dreambooth"], SHARING], ids=lambda names: "+".join(names))
def test_killed_and_resumed_equals_uninterrupted(base: Base, names: list[str], tmp_path: Path) -> None:
    owners = names if len(names) > 1 else [None]
    trials = [trial(name, owner) for name, owner in zip(names, owners, strict=True)]
    whole = fits(base, trials)
    for step in (1, 4):  # before the first state, and after one
        state = tmp_path / f"{step}.pt"
        with unchanged(base), pytest.raises(KilledError):
            fits(base, trials, state=state, progress=kill_at(step))
        for a, b in zip(whole, fits(base, trials, state=state), strict=True):
            assert gap(a.tensors, b.tensors) == 0
            assert a.losses == b.losses


def test_every_method_explains_itself() -> None:
    for name, one in methods().items():
        assert len(one.explanation) > 40, name
        assert title(name) == one.title or name not in TITLES, "the verdict knows titles without importing methods"
        assert name in FAST
