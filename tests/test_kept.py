"""What a file says beside its tensors: read as it is meant, kept when it is written anew, and never made up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, safe_open, save_file
from torch import Tensor

from tests.originals import small_checkpoint, small_configurations
from tests.test_formats_lora import by_diffusers, keys_of, merged
from tests.worlds import call, learned, look, trial
from triptych.base import Base, Ddpm, Place, UNet, open_base, tiny_base
from triptych.base.opening.single import open_single
from triptych.base.text import Text
from triptych.base.tiny import Kind, description
from triptych.exchange.conversion import ConversionRequest, convert
from triptych.exchange.formats import open_artifact, recognise
from triptych.exchange.inspection import inspect
from triptych.exchange.metadata import implementation
from triptych.exchange.saving import save
from triptych.exchange.trained_words import guessed_trigger
from triptych.files.tensorfile import TensorFile

KEY = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
LORA = {f"{KEY}.lora_down.weight": torch.ones(4, 16), f"{KEY}.lora_up.weight": torch.ones(16, 4)}
SAID = {
    "ss_learning_rate": "0.0003", "ss_tag_frequency": '{"3_zzfox": {"zzfox": 7}}', "ss_seed": "42",
    "ss_base_model_version": "sd_v1", "ss_network_dim": "4", "ss_network_alpha": "4", "sshs_legacy_hash": "0badc0de",
    "modelspec.author": "Ann", "modelspec.license": "CC0-1.0", "modelspec.description": "a fox, red",
    "modelspec.title": "The Fox", "modelspec.tags": "fox, animal", "homepage": "nowhere",
}  # fmt: skip
BOUND = ("ss_network_dim", "ss_network_alpha", "sshs_legacy_hash")


def header(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return dict(file.metadata())


def saved(path: Path, tensors: dict[str, Tensor], **metadata: str) -> Path:
    save_file(tensors, path, metadata)
    return path


FREQUENCIES = {  # ss_tag_frequency, what else kohya's trainer says -> the word that is guessed
    "repeats are counted in the number of images": (
        {"8_qqv dog": {"qqv": 12, "dog": 12, "grass": 5}}, {"ss_num_train_images": "96"}, "qqv",
    ),
    "pictures by folder": (
        {"8_qqv dog": {"dog": 12, "qqv": 12}},
        {"ss_num_train_images": "96", "ss_dataset_dirs": '{"8_qqv dog": {"n_repeats": 8, "img_count": 12}}'}, "qqv",
    ),
    "several folders add up": ({"1_a": {"red": 6, "qqv": 4}, "5_b": {"qqv": 5, "blue": 3}}, {}, "qqv"),
    "the same over datasets": (
        {"a": {"red": 6, "qqv": 4}, "b": {"qqv": 5}},
        {"ss_datasets": json.dumps([{"subsets": [
            {"image_dir": "/home/x/a", "img_count": 8}, {"image_dir": "C:\\x\\b", "img_count": 5},
        ]}])}, "qqv",
    ),
    "on too few pictures": (
        {"a": {"red": 4, "qqv": 4}}, {"ss_dataset_dirs": '{"a": {"n_repeats": 1, "img_count": 20}}'}, "",
    ),
    "general tags": (
        {"1_x": {"1girl": 9, "solo": 9, "long hair": 9, "blue_eyes": 9, "rating:safe": 9, "zz": 8}}, {}, "zz",
    ),
    "nothing but general tags": ({"1_x": {"2girls": 9, "simple background": 9, "red hair": 9}}, {}, ""),
    "no tags": ({}, {}, ""),
    "odd values": ({"a": {"x": "many"}, "b": None, "c": {" ": 3}}, {"ss_dataset_dirs": "no JSON"}, ""),
}  # fmt: skip


@pytest.mark.parametrize("what", FREQUENCIES)
def test_the_word_that_training_hints_at(what: str, tmp_path: Path) -> None:
    frequency, more, word = FREQUENCIES[what]
    metadata = {"ss_tag_frequency": json.dumps(frequency), **more}
    assert guessed_trigger(metadata) == word
    found = inspect(saved(tmp_path / "x.safetensors", LORA, **metadata))
    assert (found.triggers, found.guesses) == ((), (word,) if word else ())


def test_a_guess_is_called_one_and_a_stated_word_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    guessed = saved(tmp_path / "guessed.safetensors", LORA, **SAID)
    assert call(monkeypatch, "inspect", guessed) == 0
    lines = capsys.readouterr().out
    assert "guess      say zzfox: the file states no word" in lines
    assert "\nsay " not in lines
    stated = saved(tmp_path / "stated.safetensors", LORA, **SAID, **{"modelspec.trigger_phrase": "a zzfox"})
    found = inspect(stated)
    assert (found.triggers, found.guesses) == (("a zzfox",), ())
    for source, says in ((guessed, None), (stated, "a zzfox")):
        for to in ("kohya", "diffusers", "triptych"):
            out = tmp_path / f"{source.stem}-{to}.safetensors"
            convert(ConversionRequest(source, to, out))
            told = header(out)
            assert told.get("modelspec.trigger_phrase") == says
            assert ("says" in json.loads(told["triptych"])) == (says is not None)
            assert "trigger" not in told.get("ss_training_comment", "") or says
            assert inspect(out).guesses == (() if says else ("zzfox",))


@pytest.mark.parametrize("to", ["kohya", "diffusers", "triptych"])
def test_what_the_source_says_is_kept(to: str, tmp_path: Path) -> None:
    source, out, back = (tmp_path / f"{name}.safetensors" for name in ("source", "out", "back"))
    saved(source, LORA, **SAID)
    convert(ConversionRequest(source, to, out))
    convert(ConversionRequest(out, "kohya", back))
    for path in (out, back):
        told = header(path)
        assert {name: told.get(name) for name in SAID if name not in BOUND} == {
            name: text for name, text in SAID.items() if name not in BOUND
        }
        assert "sshs_legacy_hash" not in told, "of other bytes"
        assert told["modelspec.architecture"] == "stable-diffusion-v1/lora"
        assert "modelspec.prediction_type" not in told, "not known"
    assert header(back)["ss_network_dim"] == "4"
    assert load_file(back).keys() == {*LORA, f"{KEY}.alpha"}


def test_no_settings_of_training_are_made_up(tmp_path: Path) -> None:
    source, own, kohya = (tmp_path / f"{name}.safetensors" for name in ("source", "own", "kohya"))
    saved(source, LORA)
    convert(ConversionRequest(source, "triptych", own))
    convert(ConversionRequest(own, "kohya", kohya))
    for path in (own, kohya):
        recipe = json.loads(header(path)["triptych"])
        assert recipe["settings"].keys() & {"steps", "lr", "batch", "schedule"} == set()
        assert recipe["settings"]["rank"] == 4
        assert not {name for name in header(path) if name in ("ss_learning_rate", "ss_steps", "ss_seed")}
        assert not {"steps", "lr"} & inspect(path).details.keys()


BUNDLES = {
    "sd1": {"bundle_emb.my fox.string_to_param.*": torch.ones(2, 768)},
    "sdxl": {"bundle_emb.fox.clip_l": torch.ones(2, 768), "bundle_emb.fox.clip_g": torch.ones(2, 1280)},
}


@pytest.mark.parametrize("family", BUNDLES)
def test_embeddings_within_a_lora_are_kept_where_there_is_a_place(family: str, tmp_path: Path) -> None:
    bundle = BUNDLES[family]
    source = saved(tmp_path / "source.safetensors", LORA | bundle)
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    assert not convert(ConversionRequest(source, "triptych", one))
    assert not convert(ConversionRequest(one, "kohya", two))
    for path in (one, two):
        held = {name: tensor for name, tensor in load_file(path).items() if name.startswith("bundle_emb.")}
        assert held.keys() == bundle.keys()
        assert all(torch.equal(held[name], tensor) for name, tensor in bundle.items())
        assert not any("bundle" in name for name in open_artifact(path).tensors)
        assert inspect(path).details["embeddings within"] in ("my fox", "fox")
    (note,) = convert(ConversionRequest(source, "diffusers", tmp_path / "three.safetensors"))
    assert note.startswith("source.safetensors: left out the embeddings within")
    assert "fox" in note
    assert not any("bundle" in name for name in load_file(tmp_path / "three.safetensors"))


def test_what_a_pickle_has_no_place_for_is_said(tmp_path: Path) -> None:
    source = saved(tmp_path / "fox.safetensors", {"emb_params": torch.ones(1, 768)}, **SAID)
    notes = convert(ConversionRequest(source, "a1111", tmp_path / "fox.pt"))
    (note,) = [note for note in notes if "left out" in note]
    assert all(word in note for word in ("fox.safetensors", "author", "license", "ss_ entries", "homepage"))
    assert not [n for n in convert(ConversionRequest(source, "kohya", tmp_path / "b.safetensors")) if "left out" in n]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_a_trained_lora_is_what_other_programs_apply(kind: Kind, tmp_path: Path) -> None:
    """Read by kohya's rule, written down independently, and by diffusers."""
    base = tiny_base(kind=kind)
    artifact = learned(base, trial("lora", rank=2, alpha=6.0, lr=1e-2))
    save(artifact, tmp_path / "x.safetensors", to=artifact.kind.exports_as[0], base=base)
    with artifact.apply(base):
        wanted = look(base)
    read = open_artifact(tmp_path / "x.safetensors")
    assert (read.settings, read.tensors.keys()) == (artifact.settings, artifact.tensors.keys())
    with read.apply(base):
        assert torch.equal(look(base), wanted)
    fresh = tiny_base(kind=kind)
    assert torch.allclose(merged(fresh, tmp_path / "x.safetensors", 1.0, keys_of(fresh, kind)), wanted, atol=1e-4)
    assert not torch.allclose(look(base), wanted, atol=1e-3)
    if kind == "sd1":
        fresh = tiny_base()
        assert torch.allclose(by_diffusers(fresh, tmp_path / "x.safetensors", 1.0), wanted, atol=1e-4)


@pytest.mark.slow
def test_train_writes_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, random_base: Path, folder: Path) -> None:
    out = tmp_path / "dog.safetensors"
    words = ("train", "lora", folder, "--base", random_base / "base", "--steps", "1", "-s", "rank=3", "--out", out)
    assert call(monkeypatch, *words) == 0
    base = open_base(str(random_base / "base"))
    state, names = load_file(out), keys_of(base, "sd1")
    assert {name.partition(".")[2] for name in state} == {"lora_down.weight", "lora_up.weight", "alpha"}
    assert {name.partition(".")[0] for name in state} <= names.keys()
    told = header(out)
    assert (told["ss_network_module"], told["ss_network_dim"], told["ss_network_alpha"]) == (
        "networks.lora",
        "3",
        "8.0",
    )
    assert told["modelspec.title"] == "dog"
    convert(ConversionRequest(out, "triptych", tmp_path / "own.safetensors"))
    assert recognise(TensorFile.open(tmp_path / "own.safetensors")).format == "triptych"
    assert open_artifact(tmp_path / "own.safetensors").settings == open_artifact(out).settings


def test_a_converted_base_says_what_is_required(random_base: Path, tmp_path: Path) -> None:
    out = tmp_path / "dog.safetensors"
    convert(ConversionRequest(random_base / "base", "single-file", out))
    told = header(out)
    assert (told["modelspec.title"], told["modelspec.resolution"]) == ("dog", "16x16")
    assert (told["modelspec.implementation"], told["modelspec.sai_model_spec"]) == (implementation("sdxl"), "1.0.1")


@pytest.mark.slow
def test_a_checkpoint_keeps_what_it_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source, out = tmp_path / "fox.safetensors", tmp_path / "out.safetensors"
    small_checkpoint(source, "sd1", metadata={**SAID, "modelspec.hash_sha256": "0xbad"})
    folder = small_configurations(tmp_path / "parts", "sd1")
    parts = open_single(source, torch.float32, torch.device("cpu"), configurations=folder)
    text = Text("text_encoder", parts.tokenizers[0], parts.text_encoders[0])
    base = Base(str(source), (text,), parts.vae, UNet(parts.unet), Ddpm(parts.schedule), description(), 32)
    monkeypatch.setattr(Place, "open", lambda _: base)
    convert(ConversionRequest(source, "single-file", out, precision="fp32"))
    told = header(out)
    assert {name: told[name] for name in SAID if name not in BOUND} == {n: t for n, t in SAID.items() if n not in BOUND}
    assert told["modelspec.resolution"] == "32x32"
    assert not set(BOUND) & told.keys()
    assert told["modelspec.hash_sha256"] == f"0x{told['sshs_model_hash']}" != "0xbad"
    (note,) = [
        note for note in convert(ConversionRequest(source, "diffusers", tmp_path / "folder")) if "left out" in note
    ]
    assert "fox.safetensors: left out its author" in note


@pytest.mark.parametrize(("family", "implementation"), [("sd1", "diffusers"), ("sdxl", implementation("sdxl"))])
def test_the_implementation_is_that_of_the_layout(family: str, implementation: str, tmp_path: Path) -> None:
    reads = {"sd1": 768, "sdxl": 2048}[family]
    block = {"sd1": "mid_block", "sdxl": "mid_block"}[family]
    path = f"unet.{block}.attentions.0.transformer_blocks.0.attn2.to_k"
    tensors = {f"{path}.lora_A.weight": torch.ones(2, reads), f"{path}.lora_B.weight": torch.ones(1280, 2)}
    source = saved(tmp_path / "x.safetensors", tensors)
    for to, wanted in (("kohya", implementation), ("diffusers", "diffusers"), ("triptych", "diffusers")):
        convert(ConversionRequest(source, to, tmp_path / f"{to}.safetensors"))
        assert header(tmp_path / f"{to}.safetensors")["modelspec.implementation"] == wanted, to


def test_replicates_embeddings(tmp_path: Path) -> None:
    tensors = {"text_encoders_0": torch.ones(2, 768), "text_encoders_1": torch.zeros(2, 1280)}
    path = saved(tmp_path / "embeddings.safetensors", tensors)
    found = recognise(TensorFile.open(path))
    assert (found.kind, found.family, found.triggers) == ("textual-inversion", "sdxl", ("<s0><s1>",))
    read = open_artifact(path)
    assert {name: tuple(rows.shape) for name, rows in read.tensors.items()} == {"clip_l": (2, 768), "clip_g": (2, 1280)}
    assert torch.equal(read.tensors["clip_l"], tensors["text_encoders_0"])
    lone = saved(tmp_path / "lone.safetensors", {"text_encoders_0": torch.ones(3, 12)})
    with open_artifact(lone).apply(base := tiny_base()), torch.no_grad():
        assert not torch.equal(base.encode(["a <s0><s1><s2>"]).hidden, base.encode(["a dog"]).hidden)


@pytest.mark.parametrize(("shape", "known"), [((768,), True), ((1, 768), True), ((767,), False), ((2, 768), False)])
def test_aesthetic_embeddings_of_one_axis(shape: tuple[int, ...], known: bool, tmp_path: Path) -> None:
    mean = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    torch.save(mean, tmp_path / "x.pt")
    if known:
        read = open_artifact(tmp_path / "x.pt")
        assert (read.method, read.tensors["mean_image_feature"].shape) == ("aesthetic-gradients", (1, 768))
        assert torch.equal(read.tensors["mean_image_feature"].flatten(), mean.flatten())
    else:
        with pytest.raises(Exception, match="of no kind that triptych knows"):
            open_artifact(tmp_path / "x.pt")
