"""What a picture says of how it was made: read by sd-parsers, by A1111's own rule, and free of the user's paths."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from sd_parsers import ParserManager

from tests.worlds import call, learned, trial, typed
from triptych.base import Base
from triptych.errors import TriptychError
from triptych.exchange.saving import save
from triptych.sampling.generate import settings_for
from triptych.sampling.pictures import save_picture
from triptych.sampling.recipe import ModelFile, Recipe, Used
from triptych.sampling.samplers import SAMPLERS, sampler_named

KNOWN = {  # A1111 1.10: its samplers and schedule types
    "DPM++ 2M", "DPM++ SDE", "DPM++ 2M SDE", "DPM++ 2M SDE Heun", "DPM++ 2S a", "DPM++ 3M SDE", "Euler a", "Euler",
    "LMS", "Heun", "DPM2", "DPM2 a", "DPM fast", "DPM adaptive", "Restart", "DDIM", "DDIM CFG++", "PLMS", "UniPC",
    "LCM",
}  # fmt: skip
SCHEDULES = {"Automatic", "Uniform", "Karras", "Exponential", "Polyexponential", "SGM Uniform", "Simple", "Normal"}
FIELD = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')  # a field of A1111's last line


def fields(text: str) -> dict[str, str]:
    """A picture's settings as A1111 takes them."""
    found = dict(FIELD.findall(text.split("\n")[-1].partition(", Hashes: ")[0]))
    return {name: json.loads(value) if value.startswith('"') else value for name, value in found.items()}


def recipe_of(base: Base, prompt: str = "a dog", **how: object) -> Recipe:
    return replace(Recipe.of(base, prompt, 5, sampling=settings_for(base, steps=4, guidance=6.5)), **how)


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_have_names_that_a1111_knows(name: str, base: Base, tmp_path: Path) -> None:
    recipe = recipe_of(base, sampling=settings_for(base, sampler=name, negative="red, ugly"))
    save_picture(tmp_path / "a.png", Image.new("RGB", (8, 8)), recipe)
    read = ParserManager().parse(tmp_path / "a.png")
    assert read is not None
    (sampler,) = read.samplers
    assert sampler.name == SAMPLERS[name].a1111
    assert sampler.name in KNOWN
    assert sampler.parameters.get("scheduler", "Uniform") in SCHEDULES
    assert (sampler.parameters["seed"], sampler.parameters["steps"]) == ("5", str(recipe.sampling.steps))
    assert [prompt.value for prompt in read.prompts] == ["a dog"]
    assert [prompt.value for prompt in read.negative_prompts] == ["red, ugly"]


def test_samplers_are_told_apart(base: Base) -> None:
    told = [fields(recipe_of(base, sampling=settings_for(base, sampler=name)).infotext()) for name in SAMPLERS]
    assert len({(one["Sampler"], one.get("Schedule type")) for one in told}) == len(SAMPLERS)


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("Euler a", "euler-a"), ("EULER_ANCESTRAL", "euler-a"), ("k_euler_a", "euler-a"), ("Euler", "euler"),
        ("DPM++ 2M", "dpm++"), ("dpmpp_2m", "dpm++"), ("DPM++ 2M Karras", "dpm++-karras"), ("UniPC", "unipc"),
        ("uni_pc", "unipc"), ("PLMS", "pndm"), ("DDIMScheduler", "ddim"), ("Heun", "heun"), ("k_lms", "lms"),
        ("dpm++ karras", "dpm++-karras"),
    ],
)  # fmt: skip
def test_samplers_by_any_spelling(spelling: str, name: str) -> None:
    assert sampler_named(spelling) == name


@pytest.mark.parametrize("changes", [{"guidance": float("nan")}, {"guidance": float("inf")}, {"guidance": 1e6}])
def test_absurd_guidance_is_refused(changes: dict[str, float], base: Base) -> None:
    with pytest.raises(TriptychError, match="guidance is a number from 0 to 100"):
        settings_for(base, **changes)


def test_values_with_commas_and_colons_are_quoted(base: Base) -> None:
    files = [
        ModelFile("my, own: model.safetensors", "c0ffee" * 10),
        ModelFile('a "b", c.safetensors', "ba5e" * 16, "f" * 12),
    ]
    text = recipe_of(base, model=files[0], uses=[Used(files[1], "lora")]).infotext()
    told = fields(text)
    assert (told["Model"], told["Model hash"]) == ("my, own: model", "c0ffeec0ff")
    assert told["Lora hashes"] == 'a "b", c: ffffffffffff'
    assert told["Version"].startswith("triptych")


@pytest.mark.slow
def test_every_file_of_a_picture(
    base: Base, tmp_path: Path, random_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hashes as A1111 and Civitai know them; what was attached beside the prompt is a tag in it; no paths."""
    library = tmp_path / "library"
    made = {"hat": "lora", "owl": "hypernetwork", "mylion": "textual-inversion", "unread": "textual-inversion"}
    for name, method in made.items():
        save(learned(base, trial(method)), library / f"{name}.safetensors")
    save(learned(base, trial("lora", seed=3)), tmp_path / "fox.safetensors")
    words = typed(random_base, "generate", "a <lora:hat:0.5> mylion", "--library", library, "--steps", "1")
    uses = ("--use", tmp_path / "fox.safetensors:0.3", "--use", library / "owl.safetensors")
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, *words, *uses, "--use", library / "unread.safetensors", "--out", "out") == 0
    text = Image.open("out/00000.png").text
    sha = {
        path.stem: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (*library.glob("*"), Path("fox.safetensors"))
    }
    told = fields(text["parameters"])
    hat, fox = (library / "hat.safetensors").read_bytes(), Path("fox.safetensors").read_bytes()
    tensors = {
        name: hashlib.sha256(b[8 + int.from_bytes(b[:8], "little") :]).hexdigest()[:12]
        for name, b in (("fox", fox), ("hat", hat))
    }
    assert told["Lora hashes"] == f"fox: {tensors['fox']}, hat: {tensors['hat']}"
    assert told["TI hashes"] == f"mylion: {sha['mylion'][:12]}"
    read = ParserManager().parse(Path("out/00000.png"))
    assert read is not None
    assert read.metadata["Hashes"] == {
        "lora:fox": sha["fox"][:10], "lora:hat": sha["hat"][:10], "embed:mylion": sha["mylion"][:10],
        "hypernet:owl": sha["owl"][:10],
    }  # fmt: skip
    assert read.prompts[0].value == "a <lora:hat:0.5> mylion <lora:fox:0.3> <hypernet:owl:1>"
    assert not re.search(rf"{re.escape(str(tmp_path))}|{re.escape(str(random_base))}", json.dumps(text))
    uses_told = {use["file"]["name"]: use for use in json.loads(text["triptych"])["uses"]}
    assert uses_told["fox.safetensors"]["denoiser"] == 0.3
    assert uses_told["unread.safetensors"]["called"] is False


def test_a_checkpoint_has_a_hash(tmp_path: Path, base: Base) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "my model.safetensors")
    model = ModelFile.of(tmp_path / "my model.safetensors")
    save_picture(tmp_path / "a.png", Image.new("RGB", (8, 8)), recipe_of(base, model=model))
    read = ParserManager().parse(tmp_path / "a.png")
    assert read is not None
    (found,) = read.models
    digest = hashlib.sha256((tmp_path / "my model.safetensors").read_bytes()).hexdigest()
    assert (found.name, found.hash) == ("my model", digest[:10])
