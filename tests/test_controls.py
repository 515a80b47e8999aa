"""Sizes, seeds, guidance and layers: each control does what it says, and without it a picture is what it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.worlds import call, learned, trial, typed
from triptych.base import Base, generator, tiny_base
from triptych.errors import TriptychError
from triptych.sampling.controls import Controls
from triptych.sampling.generate import sample_latents, settings_for
from triptych.sampling.guidance import rescaled
from triptych.sampling.noise import noise_of, slerp
from triptych.sampling.request import Request

SHAPE = (4, 8, 8)


def drawn(base: Base, variations: tuple[int, ...] = (), **controls: object) -> Tensor:
    request = Request("a red dog", (1,), variations=variations)
    return sample_latents(base, [request], settings_for(base), Controls(**controls))  # type: ignore[arg-type]


def test_the_defaults_change_nothing(base: Base) -> None:
    assert torch.equal(drawn(base), sample_latents(base, [Request("a red dog", (1,))], settings_for(base)))
    assert torch.equal(drawn(base, (5,), variation_strength=0.0), drawn(base))


@pytest.mark.parametrize("kind", ["sd1", "sd2", "sdxl"])
def test_sizes(kind: str) -> None:
    base = tiny_base(kind=kind)  # type: ignore[arg-type]
    assert drawn(base, width=24, height=12).shape == (1, 4, 6, 12)
    assert [picture.size for picture in base.decode(drawn(base, width=24, height=12))] == [(24, 12)]
    with pytest.raises(TriptychError, match="width of a picture is a multiple of 4 on this base, such as 20, not 21"):
        drawn(base, width=21)


def test_notes_on_sizes(base: Base) -> None:
    assert Controls().notes(base) == []
    assert "this base was made for" in Controls(width=64).notes(base)[0]
    assert "does not read them" in Controls(crop="0,4").notes(base)[0]
    assert not Controls(crop="0,4", original_size="64x64").notes(tiny_base(kind="sdxl"))
    assert "always reads the same layer" in Controls(clip_skip=2).notes(tiny_base(kind="sdxl"))[0]


def test_sdxl_is_told_sizes() -> None:
    base = tiny_base(kind="sdxl")
    told, denoise = [], base.denoise
    base.denoise = lambda *given: told.append(given[3]) or denoise(*given)  # type: ignore[method-assign]
    plain, small = drawn(base), drawn(base, original_size="8x12", crop="2,4")
    assert told[0] is None
    assert [tuple(framing) for framing in told[-1]] == [(12, 8, 4, 2)] * 2
    assert not torch.equal(plain, small)


def noise(seed: int = 1, **how: object) -> Tensor:
    return noise_of(generator("draw", seed), seed, SHAPE, **how)  # type: ignore[arg-type]


def test_variations_go_from_one_noise_to_the_other() -> None:
    one, other = noise(1), noise(2)
    assert torch.equal(noise(1, variation=2, strength=0.0), one)
    assert torch.equal(noise(1, variation=2, strength=1.0), other)
    mixed = [noise(1, variation=2, strength=share) for share in (0.2, 0.5, 0.8)]
    far = [float((each - one).norm()) for each in mixed]
    assert far == sorted(far)
    assert all(abs(float(each.std()) - 1) < 0.1 for each in mixed), "a straight line would have 0.71 in the middle"
    assert torch.allclose(slerp(one, one * 1.0001, 0.3), one, atol=1e-3)


def test_the_picture_follows_its_variation(base: Base) -> None:
    plain = drawn(base)
    assert not torch.equal(drawn(base, (7,), variation_strength=0.3), plain)
    other = sample_latents(base, [Request("a red dog", (7,))], settings_for(base))
    assert torch.equal(drawn(base, (7,), variation_strength=1.0), other), "a sampler without noise of its own"


def test_noise_of_another_size_lies_in_the_middle() -> None:
    small = noise_of(generator("draw", 1), 1, (4, 4, 4))
    assert torch.equal(noise(1, resized=(4, 4, 4))[:, 2:6, 2:6], small)
    assert not torch.equal(noise(1, resized=(4, 4, 4)), noise(1))
    large = noise_of(generator("draw", 1), 1, (4, 12, 16))
    assert torch.equal(noise(1, resized=(4, 12, 16)), large[:, 2:10, 4:12])
    assert torch.equal(noise(1, resized=SHAPE), noise(1))


def test_clip_skip(base: Base) -> None:
    """The layer before the last, with the final norm, as diffusers' pipeline has it."""
    text = base.texts[0]
    with torch.no_grad():
        ids = text._ids(text.chunks(["a red dog"])[0])
        read = text.encoder(ids, output_hidden_states=True)
        tower = getattr(text.encoder, "text_model", text.encoder)
        expected = tower.final_layer_norm(read.hidden_states[-2])
    seen, encode = [], base.encode
    base.encode = lambda prompts: seen.append(encode(prompts)) or seen[-1]
    skipped = drawn(base, clip_skip=2)
    assert torch.allclose(seen[-1].hidden[1], expected[0], atol=1e-6)
    assert not torch.equal(skipped, drawn(base))
    with pytest.raises(TriptychError, match="has 2 layers, and cannot skip 6"):
        drawn(base, clip_skip=7)


def test_rescaled_guidance(base: Base) -> None:
    guided, conditional = torch.randn(2, *SHAPE) * 5, torch.randn(2, *SHAPE)
    whole = rescaled(guided, conditional, 1.0)
    assert torch.allclose(whole.std(dim=(1, 2, 3)), conditional.std(dim=(1, 2, 3)))
    assert torch.equal(rescaled(guided, conditional, 0.0), guided)
    assert not torch.equal(drawn(base, cfg_rescale=0.7), drawn(base))


def test_freeu_is_put_back(base: Base) -> None:
    plain = drawn(base)
    assert not torch.equal(drawn(base, freeu="1.5,1.6,0.9,0.2"), plain)
    assert torch.equal(drawn(base), plain)
    with pytest.raises(TriptychError, match="four numbers"):
        Controls(freeu="1.5,1.6")


@pytest.mark.slow
def test_perturbed_attention(base: Base) -> None:
    """Rows with their own value as attention; scale 0 is the plain picture; one call a step, also for owners."""
    plain = drawn(base)
    strong = drawn(base, pag=3.0)
    assert not torch.equal(strong, plain)
    assert torch.equal(drawn(base), plain), "the hooks are gone"
    lora = learned(base, trial("lora"))
    drawing, controls = settings_for(base), Controls(pag=2.0)
    singles = [Request("a dog", (1,), "a"), Request("a cat AND red", (2,), "b")]
    with lora.apply(base, owner="b"):
        together = sample_latents(base, singles, drawing, controls)
        for i, single in enumerate(singles):
            assert torch.allclose(sample_latents(base, [single], drawing, controls)[0], together[i], atol=1e-2)
    at_one = replace(drawing, guidance=1.0)
    changed, plain = sample_latents(base, [singles[0]], at_one, controls), sample_latents(base, [singles[0]], at_one)
    assert not torch.equal(changed, plain)


def test_a_transformer_has_neither() -> None:
    base = tiny_base(kind="zimage")
    for controls in ({"freeu": "1,1,1,1"}, {"pag": 1.0}):
        with pytest.raises(TriptychError, match="the denoiser of"):
            drawn(base, **controls)


@pytest.mark.parametrize(
    ("controls", "why"),
    [
        ({"variation_strength": 2.0}, "variation strength is a number from 0 to 1"),
        ({"emphasis": "comfyui"}, "did you mean 'comfy'"),
        ({"seed_resize": "12"}, "seed resize is given as 512x768"),
        ({"crop": "a,b"}, "crop is given as 0,64"),
        ({"clip_skip": 0}, "clip skip must be at least 1"),
    ],
)
def test_bad_controls_are_refused(controls: dict[str, object], why: str) -> None:
    with pytest.raises(TriptychError, match=why):
        Controls(**controls)  # type: ignore[arg-type]


@pytest.mark.slow
def test_from_the_command_line(
    tmp_path: Path, random_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.txt").write_text("a dog --w 24 --h 8\na (cat:1.2\n")
    words = typed(random_base, "generate", "--prompts", tmp_path / "p.txt", "--out", tmp_path / "out", "-n", "2")
    more = ("--variation-seed", "5", "--variation-strength", "0.5", "--clip-skip", "2", "--pag", "1")
    assert call(monkeypatch, *words, *more, "--cfg-rescale", "0.5", "--freeu", "1.1,1.2,0.9,0.8") == 0
    told = capsys.readouterr().err
    assert "'(' at position 2: not closed, so its weight goes on to the end" in told
    pictures = [Image.open(path) for path in sorted((tmp_path / "out").glob("*.png"))]
    assert [picture.size for picture in pictures] == [(24, 8), (24, 8), (16, 16), (16, 16)]
    told = pictures[1].text["parameters"]  # type: ignore[attr-defined]
    for part in (
        "Seed: 0,", "Size: 24x8", "Variation seed: 6, Variation seed strength: 0.5", "Clip skip: 2", "PAG scale: 1.0"
    ):  # fmt: skip
        assert part in told
