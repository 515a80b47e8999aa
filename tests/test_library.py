"""Folders as other programs keep them, and prompts that call files by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.worlds import call, learned, trial, typed
from triptych.app.calling import attached_by
from triptych.base import Base, Place, tiny_base
from triptych.exchange.artifact import Artifact, Part, compose
from triptych.exchange.conversion import ConversionRequest, convert
from triptych.exchange.recipes import STRENGTH
from triptych.exchange.saving import save
from triptych.files.library import Library, sidecar, write_sidecar
from triptych.sampling.generate import sample
from triptych.sampling.request import Request

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
    pictures = [np.asarray(Image.open(path)).astype(int) for path in sorted((tmp_path / "out").glob("*.png"))]
    opened = Place(str(random_base / "base"), precision="fp32").open()
    parts = [
        [],
        [Part(made["lora"], 0.5)],
        [Part(made["embedding"])],
        [Part(made["embedding"]), Part(made["hypernet"], 0.7)],
    ]
    said = ["a dog", "a dog", "a <concept> dog", "a <concept> dog"]
    for got, used, prompt in zip(pictures, parts, said, strict=True):
        with compose(opened, *used):
            alone = sample(opened, [Request(prompt, (0,))])[0][0]
        assert np.abs(got - np.asarray(alone).astype(int)).max() <= 1
    assert np.abs(pictures[0] - pictures[1]).max() > 1


@pytest.mark.slow
def test_text_encoders_and_unet_may_have_strengths_of_their_own(
    base: Base, tmp_path: Path, random_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = filled(base, tmp_path / "library", "A1111")
    for name, prompt in (("zero", "a <lora:my-lora:1:0> dog"), ("whole", "a <lora:my-lora:0:1> dog")):
        words = typed(random_base, "generate", prompt, "--out", tmp_path / name, "--library", tmp_path / "library")
        assert call(monkeypatch, *words, "--precision", "fp32") == 0
    opened = Place(str(random_base / "base"), precision="fp32").open()
    plain = np.asarray(sample(opened, [Request("a dog", (0,))])[0][0])
    assert np.array_equal(np.asarray(Image.open(tmp_path / "zero" / "00000.png")), plain)
    with made["lora"].apply(opened):
        whole = np.asarray(sample(opened, [Request("a dog", (0,))])[0][0])
    assert np.array_equal(np.asarray(Image.open(tmp_path / "whole" / "00000.png")), whole)
    assert not np.array_equal(whole, plain)


@pytest.mark.slow
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
        ("<lora:fox:much> dog", library, "is not a number such as 0.8"),
        ("a dog", ("--library", tmp_path / "nothing"), "no library folder"),
    ):
        assert call(monkeypatch, *typed(random_base, "generate", prompt, "--out", tmp_path / "out", *more)) == 2
        told = capsys.readouterr().err.strip()
        assert why in told
        assert len(told.splitlines()) == 1


def test_names_that_training_gave(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "v12.safetensors", {"ss_output_name": "fox"})
    assert Library(tmp_path).find("lora", "fox") == [tmp_path / "v12.safetensors"]


def an_embedding(path: Path) -> bool:
    return "lora" not in path.name


@pytest.mark.parametrize(
    ("names", "prompt", "words"),
    [
        (("cat", "cat-big", "dog"), "a Cat-Big in the sun", ["cat-big"]),
        (("cat", "cat-big", "dog"), "a cat-big and a cat, dogs", ["cat-big", "cat"]),
        (("fox", "fox2"), "a fox2 on the left, not a FOX.", ["fox2", "fox"]),
        (("sks",), "two desks", []),
        (("sks",), "a (sks:1.2) desk, sks's", ["sks"]),
        (("my_fox", "fox"), "my_fox", ["my_fox"]),
        (("red fox", "fox"), "a red fox", ["red fox"]),
        (("fox",), "a fox_2", []),
        (("fuchs", "löwe"), "ein LÖWE", ["löwe"]),
        (("<fox>",), "the<fox>y", ["<fox>"]),
        (("fox lora", "fox"), "a fox lora", ["fox"]),  # the longer is no embedding, so it stands in nobody's way
    ],
)
def test_the_words_of_a_prompt(names: tuple[str, ...], prompt: str, words: list[str], tmp_path: Path) -> None:
    for name in names:
        (tmp_path / f"{name}.pt").touch()
    assert list(Library(tmp_path).words(prompt, an_embedding)) == words


def test_a_folder_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fox.pt").touch()
    library, reads, rglob = Library(tmp_path), [], Path.rglob
    monkeypatch.setattr(Path, "rglob", lambda self, pattern: reads.append(self) or rglob(self, pattern))
    for _ in range(3):
        assert library.words("a fox", an_embedding)
        assert library.find("lora", "fox")
    assert reads == [tmp_path]


def sampled(
    monkeypatch: pytest.MonkeyPatch, random_base: Path, place: Path, prompt: str, *more: str | Path
) -> np.ndarray:
    out = place / f"out-{abs(hash((prompt, more)))}"
    words = typed(random_base, "generate", prompt, "--out", out, "--precision", "fp32", "--steps", "2", *more)
    assert call(monkeypatch, *words) == 0
    return np.asarray(Image.open(out / "00000.png")).astype(int)


@pytest.fixture(scope="module")
def animals() -> dict[str, Artifact]:
    base = tiny_base()
    return {
        "fox": learned(base, trial("lora")),
        "owl": learned(base, trial("hypernetwork")),
        "q": learned(base, trial("textual-inversion", vectors=2)),
        "q2": learned(base, trial("textual-inversion", seed=2)),
    }


@pytest.fixture
def flat(animals: dict[str, Artifact], tmp_path: Path) -> tuple[Path, dict[str, Artifact]]:
    """Files of all kinds side by side, called as words of prompts are."""
    for name, artifact in animals.items():
        save(artifact, tmp_path / "library" / f"{name}.safetensors")
    (tmp_path / "library" / "cat.pt").write_bytes(b"no file of tensors")
    save_file({"nothing": torch.zeros(1)}, tmp_path / "library" / "red.safetensors")
    return tmp_path / "library", animals


@pytest.mark.slow
def test_only_embeddings_are_words(
    flat: tuple[Path, dict[str, Artifact]], tmp_path: Path, random_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for prompt in ("a fox", "an owl and a red cat"):
        plain = sampled(monkeypatch, random_base, tmp_path, prompt)
        assert np.array_equal(sampled(monkeypatch, random_base, tmp_path, prompt, "--library", flat[0]), plain)


@pytest.mark.slow
def test_each_embedding_is_whole(
    flat: tuple[Path, dict[str, Artifact]],
    tmp_path: Path,
    random_base: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Also those with a name that the base has as a token, and with one within another's name."""
    got = sampled(monkeypatch, random_base, tmp_path, "a q2 on a Q", "--library", flat[0])
    told = capsys.readouterr().err
    assert "'q' is a word of the base, too: prompts read it as the embedding q.safetensors" in told
    opened = Place(str(random_base / "base"), precision="fp32").open()
    one, two = (
        Part(replace(flat[1][name], settings=replace(flat[1][name].settings, token=f"<{name}>")))
        for name in ("q", "q2")
    )
    with compose(opened, one, two):
        sampling = replace(opened.description.sampling, steps=2)
        alone = sample(opened, [Request("a <q2> on a <q>", (0,))], sampling)[0][0]
    assert np.abs(got - np.asarray(alone).astype(int)).max() <= 1


@pytest.mark.slow
def test_the_longer_word_is_read_first_whatever_the_order(base: Base) -> None:
    made = {"big": learned(base, trial("textual-inversion")), "big-cat": learned(base, trial("textual-inversion"))}
    short, long = (Part(replace(one, settings=replace(one.settings, token=name))) for name, one in made.items())
    read = []
    for parts in ((short, long), (long, short)):
        with compose(base, *parts):
            read.append([len(ids) for ids in base.texts[0].spell(["big-cat", "big", "biggest"])])
    assert read[0] == read[1]
    vectors = short.artifact.settings.vectors
    assert read[0] == [vectors, vectors, len(base.texts[0].spell(["biggest"])[0])]


@pytest.mark.slow
def test_the_same_file_twice_adds_up(
    flat: tuple[Path, dict[str, Artifact]], tmp_path: Path, random_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = ("--library", flat[0])
    once = sampled(monkeypatch, random_base, tmp_path, "<lora:fox:1> a dress", *library)
    for prompt in ("<lora:fox:0.5> a dress <lora:fox:0.5>", "<lora:fox:0.7> a <lyco:fox:0.3> dress"):
        assert np.abs(sampled(monkeypatch, random_base, tmp_path, prompt, *library) - once).max() <= 1
    assert np.abs(sampled(monkeypatch, random_base, tmp_path, "<lora:fox:0.5> a dress", *library) - once).max() > 1


@pytest.mark.slow
def test_a_part_of_the_ranks(base: Base, tmp_path: Path, random_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """dyn=N is the LoRA of the first N ranks, each with the strength that it has in the whole."""
    made = learned(base, trial("lora", rank=4, alpha=4.0))
    made = replace(made, tensors={name: 10 * tensor for name, tensor in made.tensors.items()})
    first = {name: t[:1] if "lora_A" in name else t[:, :1] for name, t in made.tensors.items()}
    cut = replace(made, tensors=first, settings=replace(made.settings, rank=1, alpha=1.0))
    save(made, tmp_path / "library" / "whole.safetensors")
    save(cut, tmp_path / "library" / "cut.safetensors")
    library = ("--library", tmp_path / "library")
    asked = ("<lora:cut:1> a dog", "<lora:whole:1:1:1> a dog", "<lora:whole:dyn=1> a dog", "<lora:whole> a dog")
    one, by_place, by_name, whole = (sampled(monkeypatch, random_base, tmp_path, p, *library) for p in asked)
    assert np.abs(one - by_place).max() <= 1
    assert np.array_equal(by_place, by_name)
    assert np.abs(one - whole).max() > 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        ("<lora:fox:0.5:lbwe=1> a dress", "'lbwe=1' in <lora:fox:0.5:lbwe=1> is not used"),
        ("<loro:fox:1> a dress", "<loro:fox:1> is left out of the prompt: it calls nothing; did you mean 'lora'?"),
        (
            "<lora:fox> a dress",
            "fox.safetensors is attached at strength 1, and prefers <lora:fox:0.6>",
        ),
        ("<lora:FOX:1> a dress) :)", "')' at position 20: read as text, for it closes nothing"),
        ("<hypernet:owl:1:2> a dress", "'2' in <hypernet:owl:1:2> is not used"),
    ],
)
def test_what_is_not_used_is_said(
    prompt: str,
    sentence: str,
    flat: tuple[Path, dict[str, Artifact]],
    tmp_path: Path,
    random_base: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (flat[0] / "fox.json").write_text(json.dumps({"preferred weight": 0.6}))
    sampled(monkeypatch, random_base, tmp_path, prompt, "--library", flat[0])
    assert sentence in capsys.readouterr().err


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


@pytest.mark.slow
def test_words_within_a_lora_come_along(
    base: Base, tmp_path: Path, random_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lora, word = learned(base, trial("lora")), learned(base, trial("textual-inversion"))
    save(lora, tmp_path / "own.safetensors")
    convert(ConversionRequest(tmp_path / "own.safetensors", "kohya", tmp_path / "plain.safetensors"))
    within = {"bundle_emb.foxy.string_to_param.*": word.tensors["emb_params"]}
    (tmp_path / "library").mkdir()
    save_file(load_file(tmp_path / "plain.safetensors") | within, tmp_path / "library" / "both.safetensors")
    pictures = {}
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
        pictures[name] = np.asarray(Image.open(tmp_path / name / "00000.png")).astype(int)
    assert np.abs(pictures["called"] - pictures["apart"]).max() <= 1
    assert np.abs(pictures["used"] - pictures["apart"]).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("beside", [True, False])
def test_a_strength_that_a_file_prefers_is_said(
    beside: bool, base: Base, tmp_path: Path, random_base: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """The one in a file, as studies write it, and the one in a note beside it."""
    for name, method in (("fox", "lora"), ("wordy", "textual-inversion")):
        artifact = learned(base, trial(method))
        stated = artifact if beside else replace(artifact, provenance={**artifact.provenance, STRENGTH: "0.6"})
        save(stated, tmp_path / f"{name}.safetensors")
        if beside:
            write_sidecar(tmp_path / f"{name}.safetensors", 0.6, "")
    sampled(monkeypatch, random_base, tmp_path, "<lora:fox> a wordy dog", "--library", tmp_path)
    told = capsys.readouterr().err
    assert "fox.safetensors is attached at strength 1, and prefers <lora:fox:0.6>" in told
    assert "wordy.safetensors is a word at strength 1, and prefers to be attached as wordy.safetensors:0.6" in told
    fox = tmp_path / "fox.safetensors"
    sampled(monkeypatch, random_base, tmp_path, "a dog", "--use", fox)
    assert f"attached at strength 1, and prefers {fox}:0.6" in capsys.readouterr().err
    sampled(monkeypatch, random_base, tmp_path, "<lora:fox:1> a dog", "--use", f"{fox}:1", "--library", tmp_path)
    assert "prefers" not in capsys.readouterr().err


def test_a_preferred_strength_that_is_none_is_left_out(base: Base, tmp_path: Path) -> None:
    artifact = learned(base, trial("lora"))
    save(replace(artifact, provenance={STRENGTH: "much"}), tmp_path / "fox.safetensors")
    told: list[str] = []
    attached_by(str(tmp_path / "fox.safetensors"), told.append)
    assert not told
