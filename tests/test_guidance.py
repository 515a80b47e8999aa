"""Prompts with AND, schedules and weights guide a picture; one call of the denoiser a step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import triptych
from tests.worlds import learned, trial
from triptych.base import Base, tiny_base
from triptych.errors import TriptychError
from triptych.exchange.saving import save
from triptych.options import EMPHASIS
from triptych.sampling.generate import sample, sample_latents, settings_for
from triptych.sampling.prompts import Markup
from triptych.sampling.request import Request, Schedule
from triptych.study.progress import Silent

PLAIN = Markup()


def drawn(base: Base, text: str, markup: Markup = PLAIN, negative: str = "", **how: float | str) -> Tensor:
    sampling = settings_for(base, **how)
    guides = markup.prompt(text, sampling.steps).guides
    away = markup.negative(negative, sampling.steps).guides[0].prompt
    return sample_latents(base, [Request(guides, (1,), negative=away)], sampling)[0]


def plain(base: Base, text: str, **how: float | str) -> Tensor:
    return sample_latents(base, [Request(text, (1,))], settings_for(base, **how))[0]


@pytest.mark.slow
def test_a_prompt_without_markup_is_the_text(base: Base) -> None:
    for emphasis in EMPHASIS:
        assert torch.equal(drawn(base, "a red dog", Markup(emphasis)), plain(base, "a red dog"))


def test_none_reads_no_markup(base: Base) -> None:
    text = "a [red:blue:2] (dog:1.3) AND b"
    (guide,) = Markup("none").prompt(text, 4).guides
    assert guide.prompt.runs == ((text, 1.0),)  # type: ignore[union-attr]


@pytest.mark.slow
def test_schedules(base: Base) -> None:
    one, two = drawn(base, "[dog:cat:0.5]"), drawn(base, "[dog:cat:2]")
    assert torch.equal(one, two)
    assert torch.equal(drawn(base, "[dog:cat:1.0]"), plain(base, "dog"))
    assert torch.equal(drawn(base, "[dog:cat:0]"), plain(base, "cat"))
    assert not torch.allclose(one, plain(base, "dog"), atol=1e-2)
    assert not torch.equal(drawn(base, "[dog:cat:2]", Markup(late=True)), two)
    assert torch.equal(drawn(base, "[dog:cat:2]", Markup(late=True)), drawn(base, "[dog:cat:3]"))
    assert not torch.equal(drawn(base, "dog", negative="[red:blue:2]"), drawn(base, "dog", negative="red"))


def test_steps_of_a_sampler_of_second_order() -> None:
    """Heun calls the denoiser seven times in four steps."""
    schedule = Schedule(((2, "a"), (4, "b")))
    assert "".join(str(schedule(call, 7)) for call in range(7)) == "aaaabbb"
    assert "".join(str(schedule(call, 4)) for call in range(4)) == "aabb"


def test_and_is_the_sum_of_differences(base: Base) -> None:
    """One step of Euler is linear in the guidance: what AND gives is the sum that the paper states."""
    how = {"steps": 1, "sampler": "euler", "guidance": 3.0}
    a, b, u = (plain(base, text, **{**how, "guidance": 1.0}) for text in ("a dog", "red", ""))
    got = drawn(base, "a dog :1.2 AND red :-0.5", **how)
    assert torch.allclose(got, u + 3 * (1.2 * (a - u) - 0.5 * (b - u)), atol=1e-2)
    at_one = drawn(base, "a dog AND red", **{**how, "guidance": 1.0})
    assert torch.allclose(at_one, a + b - u, atol=1e-2), "guidance 1 needs the unconditional rows, too"


@pytest.mark.slow
def test_and_in_a_batch_is_as_alone(base: Base) -> None:
    lora = learned(base, trial("lora"))
    sampling = settings_for(base)
    asked = ["a dog AND red :0.4", "a cat", "(sun:1.3) AND [a:b:2] AND c"]
    singles = [Request(PLAIN.prompt(text, 4).guides, (i,), "aab"[i]) for i, text in enumerate(asked)]
    with lora.apply(base, owner="a"):
        together = sample_latents(base, singles, sampling)
        for i, single in enumerate(singles):
            assert torch.allclose(sample_latents(base, [single], sampling)[0], together[i], atol=1e-2)


def test_one_call_a_step(base: Base) -> None:
    calls, denoise = [], base.denoise
    base.denoise = lambda noisy, *more: calls.append(len(noisy)) or denoise(noisy, *more)  # type: ignore[method-assign]
    drawn(base, "a AND b AND [c:d:2]")
    assert calls == [4] * 4


def test_remarks_have_the_position_in_the_whole_prompt() -> None:
    read = PLAIN.prompt("a cat AND a 16:9 dog) AND [b|c:3] (d:1.2.3)", 10)
    text = "a cat AND a 16:9 dog) AND [b|c:3] (d:1.2.3)"
    found = {(remark.position, remark.piece) for remark in read.remarks}
    assert (text.index(")"), ")") in found
    assert (text.index("["), "[b|c:3]") in found
    assert all(text[remark.position :].startswith(remark.piece) for remark in read.remarks)


def test_blend_is_written_as_in_a1111_and_acts_as_in_compel(base: Base) -> None:
    blend, compel = (
        drawn(base, text, Markup(mode)) for mode, text in (("blend", "a (red:0.3) dog"), ("compel", "a (red)0.3 dog"))
    )
    assert torch.equal(blend, compel)
    assert not torch.equal(blend, drawn(base, "a (red:0.3) dog"))


def test_unknown_emphasis_is_refused() -> None:
    with pytest.raises(TriptychError, match="did you mean 'comfy'"):
        Markup("comfyui")


@pytest.mark.slow
def test_from_python(base: Base, tmp_path: Path) -> None:
    """`triptych.generate` reads markup and tags as the command does, and says what is not used."""
    lora = learned(base, trial("lora"))
    save(lora, tmp_path / "fox.safetensors")
    told = Told()
    one, two = triptych.generate(
        base, "a (dog:1.2) <lora:fox:0.5> [a|b]", (1, 2), library=tmp_path, negative="red)", progress=told, steps=2
    )
    assert told.notes == ["')' at position 3: read as text, for it closes nothing"]
    assert not np.array_equal(np.asarray(one), np.asarray(two))
    with lora.apply(base, 0.5):
        guides = PLAIN.prompt("a (dog:1.2) [a|b]", 2).guides
        ((alone,),) = sample(base, [Request(guides, (2,), negative="red)")], settings_for(base, steps=2))
    assert np.abs(np.asarray(two).astype(int) - np.asarray(alone)).max() <= 1


SIGNS = "ab ,()[]:|\\.01-+<>\n"
TINY = tiny_base()


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.one_of(st.sampled_from(SIGNS), st.sampled_from(["AND ", " BREAK ", ":0.5]", "(a:1.3)"])), max_size=20)
)
def test_no_prompt_crashes(pieces: list[str]) -> None:
    for emphasis in EMPHASIS:
        for read in (Markup(emphasis).prompt("".join(pieces), 3), Markup(emphasis).negative("".join(pieces), 3)):
            with torch.no_grad():
                hidden = TINY.encode([guide.at(call, 3) for guide in read.guides for call in range(3)]).hidden
            assert hidden.isfinite().all()


class Told(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)
