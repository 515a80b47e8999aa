"""Pictures made again from what they say: ours bit for bit; those of A1111 and ComfyUI as far as can be."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from sd_parsers import ParserManager

from tests.worlds import call, learned, pictures, trial, typed
from triptych.app.again import again_request, read_again
from triptych.app.asked import SampleRequest
from triptych.base import Base, Place, Sampling
from triptych.data.prompts import Line
from triptych.errors import TriptychError
from triptych.exchange.saving import save
from triptych.sampling.infotext import read_infotext
from triptych.sampling.pictures import texts_of
from triptych.sampling.recipe import Recipe

A1111 = """a (red:1.3) dog,
in the sun <lora:fox:0.7>
Negative prompt: blurry, Negative
Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6.5, Seed: 77, Size: 20x16, Model hash: 0123456789, \
Model: dream, Variation seed: 5, Variation seed strength: 0.25, Clip skip: 2, ENSD: 31337, Denoising strength: 0.6, \
Hires upscale: 2, Hires steps: 9, Hires upscaler: 4x-UltraSharp, \
Lora hashes: "fox: 0123456789ab, owl: c", Emphasis: No norm, Version: v1.10.1"""

COMFY = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 7, "steps": 12, "cfg": 5.5, "sampler_name": "dpmpp_2m", "scheduler": "karras", "denoise": 1,
            "model": ["10", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0],
        },
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "dream.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 20, "height": 16, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a (red:1.3) embedding:q dog", "clip": ["11", 0]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["4", 1]}},
    "10": {
        "class_type": "LoraLoader",
        "inputs": {"lora_name": "sub/fox.safetensors", "strength_model": 0.8, "strength_clip": 0.5, "model": ["4", 0]},
    },
    "11": {"class_type": "CLIPSetLastLayer", "inputs": {"stop_at_clip_layer": -2, "clip": ["10", 1]}},
}  # fmt: skip


def picture_with(path: Path, **texts: str) -> Path:
    info = PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)
    return path


def test_a1111s_text() -> None:
    read = read_infotext(A1111)
    assert read.prompt == "a (red:1.3) dog,\nin the sun <lora:fox:0.7>"
    assert read.negative == "blurry, Negative"
    assert read.settings["Lora hashes"] == "fox: 0123456789ab, owl: c"
    assert read.settings["Schedule type"] == "Karras"
    assert read_infotext("only a prompt, with: a colon").settings == {}
    assert read_infotext("").prompt == ""


def test_what_a_picture_of_a1111_says(tmp_path: Path) -> None:
    again = read_again(picture_with(tmp_path / "a.png", parameters=A1111))
    line, controls = again.line, again.controls
    assert (line.seed, line.steps, line.guidance, line.sampler) == (77, 20, 6.5, "dpm++-karras")
    assert (controls.width, controls.height, controls.clip_skip, controls.emphasis) == (20, 16, 2, "no-norm")
    assert (controls.variation_seed, controls.variation_strength) == (5, 0.25)
    assert (controls.hires, controls.hires_denoise, controls.hires_by, controls.hires_shrink) == (2, 0.6, "pixel", 0)
    assert again.notes[1:] == (
        "the upscaler '4x-UltraSharp' is not known here: pixels are enlarged in its place",
        "ENSD: 31337 is not used", "Hires steps: 9 is not used",
    )  # fmt: skip


def test_what_a_picture_of_comfyui_says(tmp_path: Path) -> None:
    again = read_again(picture_with(tmp_path / "a.png", prompt=json.dumps(COMFY)))
    line = again.line
    assert line.prompt == "a (red:1.3) q dog <lora:fox:0.5:0.8>"
    assert (line.negative, line.seed, line.steps, line.guidance) == ("blurry", 7, 12, 5.5)
    assert line.sampler == "dpm++-karras"
    assert (again.controls.width, again.controls.height, again.controls.clip_skip) == (20, 16, 2)
    assert (again.controls.emphasis, again.made.base) == ("comfy", "dream.safetensors")


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        ({}, "nothing in"), ({"prompt": "[1]"}, "none of ComfyUI's"), ({"prompt": "{}"}, "no sampler"),
        ({"triptych": "{}"}, "another version"), ({"triptych": "["}, "another version"),
    ],
)  # fmt: skip
def test_pictures_that_say_nothing(texts: dict[str, str], why: str, tmp_path: Path) -> None:
    with pytest.raises(TriptychError, match=why):
        read_again(picture_with(tmp_path / "a.png", **texts))


def test_what_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no")
    for name, why in (("a.png", "is no picture that can be read"), ("b.png", "there is no picture")):
        with pytest.raises(TriptychError, match=why):
            texts_of(tmp_path / name)


def files(base: Base, tmp_path: Path) -> Path:
    made = {"fox": "lora", "q": "textual-inversion", "owl": "hypernetwork"}
    for name, method in made.items():
        save(learned(base, trial(method)), tmp_path / "library" / f"{name}.safetensors")
    save(learned(base, trial("lora", seed=3)), tmp_path / "hat.safetensors")
    pictures(1, size=32)[0].save(tmp_path / "start.png")
    return tmp_path / "library"


@pytest.mark.slow
@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_ours_again_bit_for_bit(
    form: str, base: Base, tmp_path: Path, random_base: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    library = files(base, tmp_path)
    suffix = {"png": "png", "jpeg": "jpg", "webp": "webp"}[form]
    prompt = "a ([red:blue:0.5]:1.3) q [<lora:fox:0.7>::0.5] AND a sun :0.3 <hypernet:owl:0.5>"
    words = typed(random_base, "generate", prompt, "--library", library, "--out", tmp_path / "out", "--format", form)
    more = ["--use", f"{tmp_path / 'hat.safetensors'}:0.6@0.25-1", "--seed", "5", "--steps", "6", "--cfg", "3"]
    more += ["--variation-seed", "9", "--variation-strength", "0.2", "--clip-skip", "2", "--sampler", "euler a"]
    more += ["--width", "20", "--negative", "a (cat:1.2)", "--emphasis", "comfy", "--pag", "0.5", "--hires", "2"]
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, *words, *more, "--from", tmp_path / "start.png", "--denoise", "0.7") == 0
    first = tmp_path / "out" / f"00000.{suffix}"
    again = typed(random_base, "generate", "--again", first, "--library", library, "--out", tmp_path / "again")
    assert call(monkeypatch, *again, "--format", form) == 0
    second = tmp_path / "again" / f"00000.{suffix}"
    assert np.array_equal(np.asarray(Image.open(first)), np.asarray(Image.open(second)))
    assert texts_of(first) == texts_of(second)
    assert "another base" not in capsys.readouterr().err
    assert str(tmp_path) not in json.dumps(texts_of(first))
    other = [str(tmp_path / "other") if word == str(tmp_path / "again") else word for word in again]
    assert call(monkeypatch, *other, "--format", form, "--steps", "3", "--seed", "8", "--clip-skip", "1") == 0
    told = json.loads(texts_of(tmp_path / "other" / f"00000.{suffix}")["triptych"])
    sampling = told["sampling"]
    assert (sampling["steps"], told["seed"], told["prompt"], sampling["guidance"]) == (3, 8, prompt, 3.0)
    read = ParserManager().parse(first)
    assert read is not None
    assert read.prompts[0].value.startswith(prompt)
    assert read.samplers[0].name == "Euler a"


@pytest.mark.slow
def test_files_that_are_gone_or_others(
    base: Base, tmp_path: Path, random_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    library = files(base, tmp_path)
    words = typed(random_base, "generate", "a <lora:fox:1> dog", "--library", library, "--out", tmp_path / "out")
    assert call(monkeypatch, *words, "--use", tmp_path / "hat.safetensors") == 0
    again = typed(random_base, "generate", "--again", tmp_path / "out" / "00000.png", "--out", tmp_path / "again")
    assert call(monkeypatch, *again, "--library", library) == 2
    assert "was made with hat.safetensors" in capsys.readouterr().err
    save(learned(base, trial("lora", seed=8)), library / "fox.safetensors")
    found = ("--use", tmp_path / "hat.safetensors")
    assert call(monkeypatch, *again, "--library", library, *found) == 0
    assert "fox.safetensors is not the file of that name" in capsys.readouterr().err


@pytest.mark.slow
def test_a_picture_of_a1111_can_be_given(
    base: Base, tmp_path: Path, random_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    library = files(base, tmp_path)
    given = picture_with(tmp_path / "a.png", parameters=A1111)
    words = typed(random_base, "generate", "--again", given, "--library", library, "--out", tmp_path / "out")
    assert call(monkeypatch, *words) == 0
    told = capsys.readouterr().err
    assert "ENSD: 31337 is not used" in told and "of the same kind, and not the same" in told
    assert Image.open(tmp_path / "out" / "00000.png").size == (40, 32)


@pytest.mark.slow
def test_what_is_stated_overrides_even_where_it_is_the_default(
    base: Base, tmp_path: Path, random_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hat = tmp_path / "hat.safetensors"
    save(learned(base, trial("lora", seed=3)), hat)
    pictures(1, size=32)[0].save(tmp_path / "start.png")
    words = typed(
        random_base, "generate", "a dog", "--out", tmp_path / "out", "--seed", "5", "--use", f"{hat}:0.123456789"
    )
    more = ("--negative", "cat", "--width", "20", "--clip-skip", "2", "--late-steps", "--steps", "2")
    assert call(monkeypatch, *words, *more) == 0
    again = typed(random_base, "generate", "--again", tmp_path / "out" / "00000.png", "--out", tmp_path / "again")
    stated = ("--negative", "", "--width", "0", "--clip-skip", "1", "--seed", "0", "--use", f"{hat}:0.5")
    assert call(monkeypatch, *again, "--use", hat) == 0
    assert call(monkeypatch, *again, *stated, "--from", tmp_path / "start.png") == 0
    as_it_was, changed = (json.loads(texts_of(tmp_path / "again" / f"0000{i}.png")["triptych"]) for i in range(2))
    assert as_it_was == json.loads(texts_of(tmp_path / "out" / "00000.png")["triptych"])
    assert (changed["seed"], changed["sampling"]["negative"], changed["size"]) == (0, "", [16, 16])
    assert (changed["controls"]["clip_skip"], changed["controls"]["late_steps"]) == (1, True)
    assert (changed["uses"][0]["text"], changed["start"]["name"]) == (0.5, "start.png")


def test_a_stated_base_and_precision_stay(tmp_path: Path) -> None:
    told = Recipe("a dog", 1, Sampling("ddim", 2, 1.0), "demo-b", "", (16, 16), "bfloat16")
    given = picture_with(tmp_path / "a.png", triptych=json.dumps(asdict(told)))
    request = SampleRequest([Line("")])
    _, place = again_request(given, request, Place())
    assert (place.source, place.precision) == ("demo-b", "bf16")
    _, place = again_request(given, request, Place(), {"source", "precision"})
    assert (place.source, place.precision) == ("demo", "auto")
