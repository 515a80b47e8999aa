"""Prompts of different lengths in one batch, long prompts in chunks, and prompts that change while sampling."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.worlds import learned, trial
from triptych.base import Base, Conditioning, generator, tiny_base
from triptych.base.tiny import Kind
from triptych.data.examples import Examples
from triptych.exchange.artifact import Part, compose
from triptych.sampling.generate import sample_latents
from triptych.sampling.request import Request, Schedule
from triptych.training.fit import fit

KINDS: tuple[Kind, ...] = ("sd1", "sd2", "sdxl")
SHORT, LONG = "a dog", "a dog on a hill beside an old red house with a round blue door"  # the long one has three chunks


def reading(kind: Kind = "sd1", chunks: int = 3) -> Base:
    base = tiny_base(kind=kind)
    for text in base.texts:
        text.most_chunks = chunks
    return base


@torch.no_grad()
def denoised(base: Base, conditioning: Conditioning) -> torch.Tensor:
    noisy = torch.randn(1, *base.latent_shape, generator=generator("look")).expand(len(conditioning), -1, -1, -1)
    return base.denoise(noisy, torch.full((len(conditioning),), 300), conditioning)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_two_lengths_in_one_batch_are_denoised_as_each_alone(kind: Kind) -> None:
    base = reading(kind)
    with torch.no_grad():
        short, long = base.encode([SHORT]), base.encode([LONG])
        together = base.encode([SHORT, LONG])
    assert (short.hidden.shape[1], long.hidden.shape[1], together.hidden.shape[1]) == (24, 72, 72)
    assert together.mask is not None
    assert together.mask.sum(1).tolist() == [24, 72]
    found = denoised(base, together)
    assert torch.allclose(found[:1], denoised(base, short), atol=1e-5)
    assert torch.allclose(found[1:], denoised(base, long), atol=1e-5)
    assert torch.allclose(found, denoised(base, Conditioning.cat([short, long])), atol=1e-5)
    assert not torch.allclose(denoised(reading(kind, 1), reading(kind, 1).encode([LONG])), found[1:], atol=1e-3)


def test_parts_keep_their_mask() -> None:
    base = reading()
    with torch.no_grad():
        both = base.encode([SHORT, LONG])
    parts = both.split([1, 1])
    assert [part.full_mask().sum().item() for part in parts] == [24, 72]
    assert [len(row) for row in both.unmasked()] == [24, 72]
    assert torch.equal(both.rows(torch.tensor([1, 0])).full_mask(), both.full_mask().flip(0))
    assert Conditioning.cat([base.encode([SHORT])] * 2).mask is None


def test_chunks_of_a_prompt_have_its_owner() -> None:
    """A learned word in the third chunk is read as its owner's, and as nobody else's."""
    base = reading()
    words = {
        owner: learned(base, trial("textual-inversion", seed=seed, steps=2)) for owner, seed in (("ann", 1), ("bob", 2))
    }
    prompt = f"{LONG} a <concept>"
    with compose(base, *(Part(word, owner=owner) for owner, word in words.items())), torch.no_grad():
        together = base.encode_for([("ann", [SHORT, prompt]), ("bob", [prompt, SHORT])])
    for rows, word in ((slice(0, 2), words["ann"]), (slice(2, 4), words["bob"])):
        with word.apply(base), torch.no_grad():
            alone = base.encode([SHORT, prompt] if rows.start == 0 else [prompt, SHORT])
        assert torch.allclose(together.rows(rows).hidden, alone.hidden, atol=1e-6)
        assert torch.equal(together.rows(rows).full_mask(), alone.full_mask())
    assert not torch.allclose(together.hidden[1], together.hidden[2], atol=1e-4)


@pytest.mark.slow
def test_two_lengths_are_trained_together_as_alone() -> None:
    base = reading()
    long = trial("lora", "ann", steps=3)

    templates = [f"{LONG} and {{}}", "a {}"] * 2
    long = replace(
        long,
        examples=Examples(tuple(replace(e, template=t) for e, t in zip(long.examples.each, templates, strict=True))),
    )
    short = trial("lora", "bob", seed=2, steps=3)
    together = fit(base, [long, short])
    for one, found in zip((long, short), together, strict=True):
        (alone,) = fit(base, [replace(one, owner=None)])
        assert found.losses == pytest.approx(alone.losses, abs=2e-5)


def test_a_schedule_gives_another_prompt_from_its_step_on() -> None:
    base = tiny_base()
    sampling = base.description.sampling

    def drawn(prompt: Schedule | str) -> torch.Tensor:
        return sample_latents(base, [Request(prompt, (1,)), Request("the sun", (2,))], sampling)

    dog, cat = drawn("a dog"), drawn("a cat")
    turned = drawn(Schedule(((2, "a dog"), (4, "a cat"))))
    assert torch.equal(drawn(Schedule(((4, "a dog"),))), dog)
    assert torch.equal(turned[1], dog[1]), "the other picture keeps its prompt"
    assert not torch.allclose(turned[0], dog[0], atol=1e-4)
    assert not torch.allclose(turned[0], cat[0], atol=1e-4)


def test_each_prompt_of_a_schedule_is_encoded_once() -> None:
    base = tiny_base()
    encode, seen = base.encode, list[str]()

    def counted(prompts: list[str]) -> Conditioning:
        seen.extend(prompts)
        return encode(prompts)

    base.encode = counted  # type: ignore[assignment]
    sample_latents(base, [Request(lambda step, steps: "ab"[step % 2], (1,))], base.description.sampling)
    assert sorted(seen) == ["", "", "a", "b"]
