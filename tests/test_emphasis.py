"""Weights act on hidden states as in A1111, ComfyUI and compel; long prompts are read in chunks of whole words."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from compel import Compel, DownweightMode
from torch import Tensor

from tests.worlds import learned, trial
from triptych.base import Base, tiny_base
from triptych.base.emphasis import Chunk
from triptych.base.tiny import Kind
from triptych.prompt.runs import BREAK, Weighted
from triptych.prompt.weights import read_emphasis

KINDS: tuple[Kind, ...] = ("sd1", "sd2", "sdxl")
MODES = ("a1111", "no-norm", "comfy", "compel")


def weighted(text: str, mode: str = "a1111") -> Weighted:
    dialect = mode if mode in ("comfy", "compel") else "a1111"
    return Weighted(read_emphasis(text, dialect).runs, mode)


@torch.no_grad()
def hidden(base: Base, *prompts: str | Weighted) -> Tensor:
    return base.encode(prompts).hidden


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", MODES)
def test_weight_1_is_the_plain_prompt(kind: Kind, mode: str) -> None:
    base = tiny_base(kind=kind)
    assert torch.equal(hidden(base, Weighted((("a red dog", 1.0),), mode)), hidden(base, "a red dog"))


def test_a1111_multiplies_and_keeps_the_mean(base: Base) -> None:
    plain = hidden(base, "red dog")[0]
    column = torch.ones(24, 1)
    column[4:7] = 1.5  # start, r, e, d, then d, o, g
    expected = plain * column
    assert torch.allclose(hidden(base, weighted("red (dog:1.5)", "no-norm"))[0], expected, atol=1e-6)
    expected = expected * (plain.mean() / expected.mean())
    got = hidden(base, "a cat", weighted("red (dog:1.5)"))
    assert torch.allclose(got[1], expected, atol=1e-5)
    assert got[1].mean().item() == pytest.approx(plain.mean().item(), abs=1e-6)
    assert torch.equal(got[0], hidden(base, "a cat", "a dog")[0]), "another prompt of the batch is as it was"


@pytest.mark.slow
@pytest.mark.parametrize(
    "prompt", ["red (dog)1.4", "(red)1.2 (dog)0.5", "(red)0.3 big (dog)0.6", "red++ dog-", "red dog"]
)
def test_compel_itself(base: Base, prompt: str) -> None:
    """compel is the oracle for its own mode, and for ComfyUI's where no weight is below 1."""
    text = base.texts[0]
    text.tokenizer.model_max_length = 24
    oracle = Compel(text.tokenizer, text.encoder, downweight_mode=DownweightMode.REMOVE)
    with torch.no_grad():
        expected = oracle(prompt)[0]
    assert torch.allclose(hidden(base, weighted(prompt, "compel"))[0], expected, atol=1e-5)


def test_comfy_weighs_against_the_empty_prompt(base: Base) -> None:
    plain, empty = hidden(base, "red dog")[0], hidden(base, "")[0]
    got = hidden(base, weighted("red (dog:0.4)", "comfy"))[0]
    expected = plain.clone()
    expected[4:7] = empty[4:7] + 0.4 * (plain[4:7] - empty[4:7])
    assert torch.allclose(got, expected, atol=1e-6)


def test_the_pooled_state_is_untouched() -> None:
    base = tiny_base(kind="sdxl")
    for mode in MODES:
        with torch.no_grad():
            got = base.encode([weighted("a (red:1.5) dog" if mode != "compel" else "a (red)0.5 dog", mode), "a dog"])
            plain = base.encode(["a red dog", "a dog"])
        assert torch.allclose(got.pooled, plain.pooled, atol=1e-6), mode  # type: ignore[arg-type]
        assert not torch.allclose(got.hidden[0], plain.hidden[0], atol=1e-4), mode
        assert torch.allclose(got.hidden[1], plain.hidden[1], atol=1e-6), mode


def ids(base: Base, prompt: Weighted) -> list[Chunk]:
    return base.texts[0].chunks([prompt])[0]


def sizes(base: Base, prompt: str) -> list[int]:
    return [len(chunk.ids) for chunk in ids(base, weighted(prompt))]


def test_long_prompts_in_chunks(base: Base) -> None:
    """A chunk of the tiny base has 22 tokens; a letter is a token."""
    assert sizes(base, "a") == [1]
    assert sizes(base, "dog " * 9) == [21, 6]  # words are kept whole
    assert sizes(base, "dog dog, cat cat cat cat cat cat") == [7, 18]  # after the comma
    assert sizes(base, "a BREAK dog BREAK") == [1, 3, 0]
    assert sizes(base, "x" * 50) == [22, 22, 6]
    assert [len(chunk.ids) for chunk in base.texts[0].chunks(["dog " * 50])[0]] == [22], "a caption is one chunk here"
    assert hidden(base, weighted("dog " * 9)).shape[1] == 48


def test_weights_go_on_over_chunks(base: Base) -> None:
    first, second = ids(base, weighted("dog dog dog dog dog dog (dog dog:1.3)"))
    assert first.weights == (*[1.0] * 18, *[1.3] * 3)
    assert second.weights == (1.3,) * 3


def test_a_learned_word_is_never_split(base: Base) -> None:
    word = learned(base, trial("textual-inversion", vectors=5))
    with word.apply(base):
        first, second = ids(base, weighted("dog dog dog dog dog dog a (<concept>:1.4) dog"))
        assert (len(first.ids), len(second.ids)) == (19, 8)
        assert second.weights == (*[1.4] * 5, *[1.0] * 3)
        known = len(base.texts[0].tokenizer)
        assert second.ids[:5] == tuple(range(known, known + 5))
        inside = hidden(base, weighted("a (<concept>:1.4)", "no-norm"))  # the mean is near 0 here: no scale to keep
    renamed = replace(word, tensors={name: 2 * tensor for name, tensor in word.tensors.items()})
    with renamed.apply(base):
        assert not torch.allclose(hidden(base, weighted("a (<concept>:1.4)", "no-norm")), inside, atol=1e-4)


def test_weights_keep_the_owner(base: Base) -> None:
    """In each mode the rows beside a chunk have the owner of its prompt."""
    word = learned(base, trial("textual-inversion"))
    for mode in MODES:
        prompt = weighted("a (<concept>)0.6 dog" if mode == "compel" else "a (<concept>:0.6) dog", mode)
        with word.apply(base, owner="ann"), torch.no_grad():
            both = base.encode_for([("ann", ["a dog", prompt]), ("bob", [prompt])])
        with word.apply(base):
            alone = hidden(base, prompt)
        assert torch.allclose(both.hidden[1], alone[0], atol=1e-6), mode
        assert torch.allclose(both.hidden[2], hidden(base, prompt)[0], atol=1e-6), mode
        assert not torch.allclose(both.hidden[1], both.hidden[2], atol=1e-3), mode


def test_an_empty_prompt_says_nothing() -> None:
    assert not Weighted((("", 1.0),))
    assert not Weighted((BREAK, (" ", 1.2)))
    assert weighted("a")
