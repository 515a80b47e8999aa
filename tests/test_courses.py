"""Strengths that come and go inside a picture, and the weights of blocks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.worlds import call, learned, trial, typed
from triptych.base import Base, tiny_base
from triptych.base.blocks import LISTS, block_of, block_weights, weight_of
from triptych.errors import TriptychError
from triptych.exchange.artifact import Artifact, Part, compose
from triptych.exchange.saving import save
from triptych.patching.adapters import by_layer
from triptych.prompt.calls import read_calls
from triptych.prompt.courses import Ramp, Window, read_course
from triptych.sampling.generate import sample_latents, settings_for
from triptych.sampling.moves import Move
from triptych.sampling.request import Request
from triptych.training.fit import fit


def factors(course: object, steps: int = 10) -> list[float]:
    return [round(course(step, steps), 3) for step in range(steps)]  # type: ignore[operator]


def test_windows_and_ramps() -> None:
    assert read_course("0.8", "x") == (0.8, None)
    strength, window = read_course("0.8@0.2-0.7", "x")
    assert (strength, factors(window)) == (0.8, [0, 0, 1, 1, 1, 1, 1, 0, 0, 0])
    strength, ramp = read_course("0@0,1@0.5", "x")
    assert (strength, factors(ramp)) == (1, [0, 0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1, 1])
    assert factors(read_course("-1@0.2,1@0.4", "x")[1]) == [-1, -1, -1, 0, 1, 1, 1, 1, 1, 1]
    assert factors(read_course("0.5@0.3", "x")[1]) == [0.5] * 10


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0.8@0.7-0.2", "ends before it begins"), ("1@0.5,0@0.2", "do not rise"), ("1,0@0.5", "needs its share"),
        ("1@5", "from 0 to 1"), ("x@0.1-0.5", "is not a number"), ("1@a", "is not a number"),
    ],
)  # fmt: skip
def test_what_is_no_course(text: str, why: str) -> None:
    with pytest.raises(TriptychError, match=why):
        read_course(text, f"fox:{text}")


@pytest.mark.parametrize(
    ("prompt", "text", "course"),
    [
        ("a [<lora:x:1>::0.5] dog", "a [::0.5] dog", [1] * 5 + [0] * 5),
        ("a [<lora:x:1>:3] dog", "a [ :3] dog", [0] * 3 + [1] * 7),
        ("a [cat:<lora:x:1> dog:3]", "a [cat: dog:3]", [0] * 3 + [1] * 7),
        ("[<lora:x>|red] dog", "[ |red] dog", [1, 0] * 5),
        ("<lora:x:1:stop=4> dog", "dog", [1] * 4 + [0] * 6),
        ("<lora:x:1:start=4> dog", "dog", [0] * 4 + [1] * 6),
        ("<lora:x:1:step=2-5> dog", "dog", [0] * 2 + [1] * 3 + [0] * 5),
        ("<lora:x:0.7@0-0.5> dog", "dog", [1] * 5 + [0] * 5),
        ("[<lora:x:1:start=2>::0.5] dog", "[::0.5] dog", [0] * 2 + [1] * 3 + [0] * 5),
    ],
)
def test_tags_come_and_go(prompt: str, text: str, course: list[float]) -> None:
    read = read_calls(prompt)
    assert factors(read.calls[0].course) == course
    assert read.text.replace(" ", "") == text.replace(" ", "")


def test_a_tag_without_brackets_has_no_course() -> None:
    assert read_calls("a [cat:dog:3] <lora:x:1>").calls[0].course is None


def drawn(base: Base, artifact: Artifact, course: object, strength: float = 1.0) -> torch.Tensor:
    part = Part(artifact, strength)
    with compose(base, part) as (patch,):
        moves = [Move(patch, strength, course, part.changes_text)] if course else []  # type: ignore[arg-type]
        return sample_latents(base, [Request("a <concept> dog", (1,))], settings_for(base), moves=moves)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "hypernetwork", "dreambooth", "textual-inversion", "aesthetic-gradients"])
def test_a_course_lies_between_on_and_off(base: Base, method: str) -> None:
    """Always 1 is the artifact, always 0 is the plain picture, bit for bit; half the way is neither."""
    artifact = learned(base, trial(method)) if method != "aesthetic-gradients" else aesthetic(base)
    plain = sample_latents(base, [Request("a <concept> dog", (1,))], settings_for(base))
    on = drawn(base, artifact, None)
    assert torch.equal(drawn(base, artifact, Window(0, 1)), on)
    assert torch.equal(drawn(base, artifact, Window(0, 0)), plain)
    half = drawn(base, artifact, Window(0, 0.5))
    assert not torch.equal(half, on) and not torch.equal(half, plain)
    if method != "textual-inversion" or artifact.settings.start_word:
        ramp = drawn(base, artifact, Ramp(((0, 0), (1, 1))))
        assert not torch.equal(ramp, on) and not torch.equal(ramp, plain)
    again = sample_latents(base, [Request("a <concept> dog", (1,))], settings_for(base))
    assert torch.equal(again, plain), "the base is as it was"


def aesthetic(base: Base) -> Artifact:
    one = trial("aesthetic-gradients")
    return Artifact(one.method, one.settings, fit(base, [one])[0].tensors)


@pytest.mark.slow
def test_the_strength_is_put_back(base: Base) -> None:
    artifact = learned(base, trial("lora"))
    with compose(base, Part(artifact, 0.5)) as (patch,):
        before = sample_latents(base, [Request("a dog", (1,))], settings_for(base))
        sample_latents(base, [Request("a dog", (1,))], settings_for(base), moves=[Move(patch, 0.5, Window(0, 0.5))])
        assert torch.equal(sample_latents(base, [Request("a dog", (1,))], settings_for(base)), before)


def test_blocks_have_the_names_that_lists_have() -> None:
    assert block_of("unet.down_blocks.0.attentions.1.proj_in.lora_A.weight") == "IN02"
    assert block_of("unet.down_blocks.2.attentions.0.x") == "IN07"
    assert block_of("unet.down_blocks.1.downsamplers.0.conv.x") == "IN06"
    assert block_of("unet.mid_block.attentions.0.x") == "M00"
    assert block_of("unet.up_blocks.1.attentions.0.x") == "OUT03"
    assert block_of("unet.up_blocks.3.resnets.2.x") == "OUT11"
    assert block_of("unet.up_blocks.0.upsamplers.0.conv.x") == "OUT02"
    assert block_of("unet.conv_in.x") == "IN00"
    assert block_of("text_encoder.text_model.encoder.layers.0.x") == "BASE"
    assert all(len(names) == length for length, names in LISTS.items())


def test_weights_of_blocks() -> None:
    middle = block_weights("MIDD")
    assert weight_of("unet.mid_block.attentions.0.x", middle) == 1
    assert weight_of("unet.down_blocks.0.attentions.0.x", middle) == 0
    assert weight_of("unet.conv_in.x", middle) == 0  # which the list of 17 leaves out
    assert weight_of("unet.up_blocks.0.attentions.2.x", block_weights("0,0,0,0,0,0,0,0,0.5,0,0,0")) == 0.5
    for text, why in (("MID", "did you mean 'MIDD'"), ("1,0,1", "are 3 numbers"), ("1,x,1", "is not a number")):
        with pytest.raises(TriptychError, match=why):
            block_weights(text)


@pytest.mark.slow
def test_blocks_and_courses_from_the_command_line(
    base: Base, tmp_path: Path, random_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lora = learned(base, trial("lora"))
    lora = replace(lora, tensors={name: 5 * tensor for name, tensor in lora.tensors.items()})
    save(lora, tmp_path / "library" / "fox.safetensors")
    fox = tmp_path / "library" / "fox.safetensors"

    def picture(name: str, prompt: str, *more: str | Path) -> np.ndarray:
        words = typed(random_base, "generate", prompt, "--out", tmp_path / name, "--precision", "fp32", *more)
        assert call(monkeypatch, *words, "--library", tmp_path / "library") == 0
        return np.asarray(Image.open(tmp_path / name / "00000.png")).astype(int)

    plain, whole = picture("plain", "a dog"), picture("whole", "<lora:fox:1> a dog")
    assert np.array_equal(picture("none", "<lora:fox:1:lbw=NONE> a dog"), plain)
    assert np.array_equal(picture("all", f"<lora:fox:1:lbw={','.join('1' * 26)}> a dog"), whole)
    parts = [picture(name, f"<lora:fox:1:lbw={name}> a dog") for name in ("INALL", "MIDD", "OUTALL")]
    assert all((part != whole).any() for part in parts)
    assert np.array_equal(picture("off", "[<lora:fox:1>::0] a dog"), plain)
    half = picture("half", "[<lora:fox:1>::0.5] a dog")
    assert (half != plain).any() and (half != whole).any()
    assert np.array_equal(picture("window", "a dog", "--use", f"{fox}:1@0-0.5"), half)


@pytest.mark.slow
def test_aesthetic_embeddings_by_tag(
    base: Base, tmp_path: Path, random_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save(aesthetic(base), tmp_path / "library" / "aesthetic_embeddings" / "sun.safetensors")
    found = []
    for name, tag in (("none", ""), ("zero", "<aesthetic:sun:0>"), ("on", "<aesthetic:sun:1>")):
        words = typed(random_base, "generate", f"a dog {tag}", "--out", tmp_path / name, "--precision", "fp32")
        assert call(monkeypatch, *words, "--library", tmp_path / "library") == 0
        found.append(np.asarray(Image.open(tmp_path / name / "00000.png")))
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])
    words = typed(
        random_base, "generate", "a <aesthetic:son> dog", "--out", tmp_path, "--library", tmp_path / "library"
    )
    assert call(monkeypatch, *words) == 2
    assert "no aesthetic embedding called 'son'; did you mean 'sun'" in capsys.readouterr().err


@pytest.mark.slow
def test_blocks_of_another_family_are_said(
    base: Base, tmp_path: Path, random_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save(learned(base, trial("lora")), tmp_path / "library" / "fox.safetensors")
    weights = ",".join("1" * 12)
    words = typed(random_base, "generate", f"<lora:fox:1:lbw={weights}> dog", "--out", tmp_path / "out", "--steps", "1")
    assert call(monkeypatch, *words, "--library", tmp_path / "library") == 0
    assert "is for another family than" in capsys.readouterr().err


def test_a_tiny_base_has_blocks_of_these_names() -> None:
    paths = by_layer(learned(tiny_base(), trial("lora")).tensors)
    assert {block_of(f"{path}.x") for path in paths} == {"IN01", "IN04", "M00", "OUT00", "OUT01", "OUT03", "OUT04"}
