"""Folders as other programs keep them, and prompts that call files by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.worlds import call, learned, trial, typed
from triptych.base import Base, Place
from triptych.errors import TriptychError
from triptych.exchange.artifact import Artifact, Part, compose
from triptych.exchange.conversion import Order, convert
from triptych.exchange.saving import save
from triptych.files.library import Call, Library, calls, sidecar
from triptych.sampling.generate import Request, draw


@pytest.mark.parametrize(
    ("prompt", "text", "called"),
    [
        ("a dog", "a dog", []),
        ("a <lora:x:0.5> dog", "a dog", [Call("lora", "x", (0.5,))]),
        ("<hypernet:y:1><lyco:z:0.2:1> dog", "dog", [Call("hypernet", "y", (1.0,)), Call("lora", "z", (0.2, 1.0))]),
        ("dog <lora:x>", "dog", [Call("lora", "x")]),
        ("dog <lora:x:te=0.5:unet=1>", "dog", [Call("lora", "x", (0.5, 1.0))]),
        ("a <concept> dog", "a <concept> dog", []),
    ],
)
def test_what_a_prompt_calls(prompt: str, text: str, called: list[Call]) -> None:
    assert calls(prompt) == (text, called)


def test_a_strength_must_be_a_number() -> None:
    with pytest.raises(TriptychError, match=r"write <lora:NAME:0\.8>"):
        calls("<lora:x:much>")


LAYOUTS = {
    "A1111": {"lora": "models/Lora/animals", "hypernet": "models/hypernetworks", "embedding": "embeddings"},
    "ComfyUI": {"lora": "models/loras", "hypernet": "models/hypernetworks", "embedding": "models/embeddings"},
    "elsewhere": {"lora": "far/loras", "hypernet": "far/hyper", "embedding": "far/words"},
    "side by side": {"lora": ".", "hypernet": ".", "embedding": "."},
}


def filled(base: Base, root: Path, layout: str) -> dict[str, Artifact]:
    """A library with one file of each kind."""
    places = LAYOUTS[layout]
    made = {
        "lora": learned(base, trial("lora")),
        "hypernet": learned(base, trial("hypernetwork")),
        "embedding": learned(base, trial("textual-inversion")),
    }
    for kind, artifact in made.items():
        save(artifact, root / places[kind] / f"my-{kind}.safetensors")
    if layout == "elsewhere":
        lines = "base_path: far\n  loras: |\n    nowhere\n    loras\n  hypernetworks: hyper\n  embeddings: words"
        (root / "extra_model_paths.yaml").write_text(f"comfyui:\n  {lines}\n")
    return made


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_prompts_call_files_of_every_layout(
    layout: str, base: Base, tmp_path: Path, random_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = filled(base, tmp_path / "library", layout)
    (tmp_path / "prompts.txt").write_text(
        "a dog\na <lora:my-lora:0.5> dog\na my-embedding dog\n<hypernet:my-hypernet:0.7> a MY-embedding dog\n"
    )
    words = typed(random_base, "generate", "--prompts", tmp_path / "prompts.txt", "--out", tmp_path / "out")
    assert call(monkeypatch, *words, "--library", tmp_path / "library", "--precision", "fp32") == 0
    drawn = [np.asarray(Image.open(path)).astype(int) for path in sorted((tmp_path / "out").glob("*.png"))]
    opened = Place(str(random_base / "base"), precision="fp32").open()
    parts = [
        [],
        [Part(made["lora"], 0.5)],
        [Part(made["embedding"])],
        [Part(made["embedding"]), Part(made["hypernet"], 0.7)],
    ]
    said = ["a dog", "a dog", "a <concept> dog", "a <concept> dog"]
    for got, used, prompt in zip(drawn, parts, said, strict=True):
        with compose(opened, *used):
            alone = draw(opened, [Request(prompt, (0,))])[0][0]
        assert np.abs(got - np.asarray(alone).astype(int)).max() <= 1
    assert np.abs(drawn[0] - drawn[1]).max() > 1


def test_text_encoders_and_unet_may_have_strengths_of_their_own(
    base: Base, tmp_path: Path, random_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = filled(base, tmp_path / "library", "A1111")
    for name, prompt in (("zero", "a <lora:my-lora:1:0> dog"), ("whole", "a <lora:my-lora:0:1> dog")):
        words = typed(random_base, "generate", prompt, "--out", tmp_path / name, "--library", tmp_path / "library")
        assert call(monkeypatch, *words, "--precision", "fp32") == 0
    opened = Place(str(random_base / "base"), precision="fp32").open()
    plain = np.asarray(draw(opened, [Request("a dog", (0,))])[0][0])
    assert np.array_equal(np.asarray(Image.open(tmp_path / "zero" / "00000.png")), plain)
    with made["lora"].apply(opened):
        whole = np.asarray(draw(opened, [Request("a dog", (0,))])[0][0])
    assert np.array_equal(np.asarray(Image.open(tmp_path / "whole" / "00000.png")), whole)
    assert not np.array_equal(whole, plain)


def test_what_cannot_be_called(
    tmp_path: Path, random_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "library" / "loras").mkdir(parents=True)
    save_file({"a": torch.zeros(1)}, tmp_path / "library" / "loras" / "fox.safetensors")
    library = ("--library", tmp_path / "library")
    for prompt, more, why in (
        ("<lora:fox> dog", (), "--library DIR"),
        ("<lora:fix> dog", library, "did you mean 'fox'"),
        ("<lora:../../etc/passwd> dog", library, "has no LoRA called"),
        ("<lora:fox> dog", library, "no kind that triptych knows"),
        ("a dog", ("--library", tmp_path / "nothing"), "no library folder"),
    ):
        assert call(monkeypatch, *typed(random_base, "generate", prompt, "--out", tmp_path / "out", *more)) == 2
        told = capsys.readouterr().err.strip()
        assert why in told
        assert len(told.splitlines()) == 1


def test_names_that_training_gave(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "v12.safetensors", {"ss_output_name": "fox"})
    assert Library(tmp_path).find("lora", "fox") == tmp_path / "v12.safetensors"


def test_longer_names_of_embeddings_win(tmp_path: Path) -> None:
    for name in ("cat", "cat-big", "dog"):
        save_file({"emb_params": torch.zeros(1, 12)}, tmp_path / f"{name}.safetensors")
    words = Library(tmp_path).words
    assert set(words("a Cat-Big in the sun")) == {"cat-big"}
    assert set(words("a cat-big and a cat, dogs")) == {"cat-big", "cat"}


def test_sidecars(tmp_path: Path) -> None:
    file = tmp_path / "fox.safetensors"
    assert sidecar(file).triggers == ()
    (tmp_path / "fox.civitai.info").write_text(json.dumps({"trainedWords": ["foxy", "red"], "description": "a fox"}))
    Image.new("RGB", (8, 8)).save(tmp_path / "fox.preview.png")
    read = sidecar(file)
    assert (read.triggers, read.description, read.strength) == (("foxy", "red"), "a fox", None)
    assert read.preview == tmp_path / "fox.preview.png"
    (tmp_path / "fox.json").write_text(json.dumps({"preferred weight": 0.6, "activation text": "foxy fox"}))
    assert (sidecar(file).strength, sidecar(file).triggers) == (0.6, ("foxy fox",))
    (tmp_path / "fox.json").write_text("{")
    assert sidecar(file).triggers == ("foxy", "red")
    assert "fox.preview" not in Library(tmp_path).files("embedding")


def test_words_within_a_lora_come_along(
    base: Base, tmp_path: Path, random_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lora, word = learned(base, trial("lora")), learned(base, trial("textual-inversion"))
    save(lora, tmp_path / "own.safetensors")
    convert(Order(tmp_path / "own.safetensors", "kohya", tmp_path / "plain.safetensors"))
    within = {"bundle_emb.foxy.string_to_param.*": word.tensors["emb_params"]}
    (tmp_path / "library").mkdir()
    save_file(load_file(tmp_path / "plain.safetensors") | within, tmp_path / "library" / "both.safetensors")
    drawn = {}
    for name, words in {
        "called": ("a <lora:both:0.5> foxy", "--library", tmp_path / "library"),
        "used": ("a foxy", "--use", f"{tmp_path / 'library' / 'both.safetensors'}:0.5"),
        "apart": (
            "a <concept>",
            "--use",
            f"{tmp_path / 'own.safetensors'}:0.5",
            "--use",
            tmp_path / "word.safetensors",
        ),
    }.items():
        save(word, tmp_path / "word.safetensors")
        asked = typed(random_base, "generate", *words, "--out", tmp_path / name, "--precision", "fp32")
        assert call(monkeypatch, *asked) == 0
        drawn[name] = np.asarray(Image.open(tmp_path / name / "00000.png")).astype(int)
    assert np.abs(drawn["called"] - drawn["apart"]).max() <= 1
    assert np.abs(drawn["used"] - drawn["apart"]).max() <= 1
