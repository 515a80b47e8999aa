"""Files of embeddings and aesthetic gradients: other programs' are understood, ours make the same picture in theirs."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.test_families import theirs
from tests.worlds import learned, look, trial
from triptych.base import Base, tiny_base
from triptych.errors import TriptychError
from triptych.exchange.artifact import Artifact
from triptych.exchange.conversion import ConversionRequest, convert
from triptych.exchange.formats import formats, open_artifact, recognise
from triptych.exchange.formats.picture_embedding import _sequence
from triptych.exchange.saving import save
from triptych.exchange.word_files import bundled_embeddings
from triptych.files.tensorfile import TensorFile
from triptych.methods import method_named

ROWS = torch.randn(3, 12, generator=torch.Generator().manual_seed(3))


def word(vectors: int = 3, width: int = 12, token: str = "<fox>", seed: int = 3) -> Artifact:
    rows = torch.randn(vectors, width, generator=torch.Generator().manual_seed(seed))
    chosen = method_named("textual-inversion").configure({"token": token, "vectors": vectors})
    return Artifact("textual-inversion", chosen, {"emb_params": rows}, {"says": token, "base": "demo"})


def read_by(base: Base, artifact: Artifact, prompt: str) -> Tensor:
    with artifact.apply(base), torch.no_grad():
        return base.encode([prompt]).hidden


FOREIGN: dict[str, Any] = {
    "kohya": ({"emb_params": ROWS}, "fox-v2"),
    "OneTrainer": ({"emp_params": ROWS, "emp_params_out": ROWS + 1}, "fox-v2"),
    "diffusers": ({"<fox>": ROWS}, "<fox>"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_safetensors_of_other_programs(name: str, tmp_path: Path) -> None:
    tensors, token = FOREIGN[name]
    save_file(tensors, tmp_path / "fox-v2.safetensors")
    read = open_artifact(tmp_path / "fox-v2.safetensors")
    assert torch.equal(read.tensors["emb_params"], ROWS)
    assert (read.settings.token, read.settings.vectors, read.provenance["says"]) == (token, 3, token)
    found = recognise(TensorFile.open(tmp_path / "fox-v2.safetensors"))
    assert (found.kind, found.triggers, found.details["vectors"]) == ("textual-inversion", (token,), 3)
    assert not torch.equal(read_by(tiny_base(), read, f"a {token} x"), read_by(tiny_base(), read, "a dog x"))


def a1111(rows: Tensor, **more: Any) -> dict[str, Any]:
    """The web UI's dictionary, from its specification."""
    parameter = torch.nn.Parameter(rows)
    return {
        "string_to_token": {"*": 265}, "string_to_param": {"*": parameter}, "name": "fox", "step": 900,
        "sd_checkpoint": "abcdef0123", "sd_checkpoint_name": "v1-5", **more,
    }  # fmt: skip


@pytest.mark.parametrize(("width", "family"), [(768, "sd1"), (1024, "sd2"), (12, None)])
def test_the_web_uis_file(width: int, family: str | None, tmp_path: Path) -> None:
    rows = torch.randn(2, width)
    torch.save(a1111(rows), tmp_path / "my-fox.pt")
    found = recognise(TensorFile.open(tmp_path / "my-fox.pt"))
    assert (found.family, found.triggers, found.details["step"]) == (family, ("my-fox",), 900)
    read = open_artifact(tmp_path / "my-fox.pt")
    assert torch.equal(read.tensors["emb_params"], rows)
    assert (read.settings.token, read.provenance["sd_checkpoint_name"]) == ("my-fox", "v1-5")


def test_old_files_of_one_vector_and_of_a_token_that_is_a_tensor(tmp_path: Path) -> None:
    row = torch.randn(768)
    torch.save({"<cat-toy>": row}, tmp_path / "learned_embeds.bin")
    found = recognise(TensorFile.open(tmp_path / "learned_embeds.bin"))
    assert (found.triggers, found.details["vectors"], found.details["width"]) == (("<cat-toy>",), 1, "768")
    assert torch.equal(open_artifact(tmp_path / "learned_embeds.bin").tensors["emb_params"], row[None])
    torch.save({"string_to_token": {"*": torch.tensor(265)}, "string_to_param": {"*": ROWS}}, tmp_path / "old.pt")
    assert recognise(TensorFile.open(tmp_path / "old.pt")).format == "a1111-embedding"
    assert torch.equal(open_artifact(tmp_path / "old.pt").tensors["emb_params"], ROWS)


def test_a_step_that_is_no_number_is_written_as_0(tmp_path: Path) -> None:
    torch.save(a1111(ROWS, step="many"), tmp_path / "a.pt")
    formats()["a1111-embedding"].write(open_artifact(tmp_path / "a.pt"), tmp_path / "b.pt")
    assert torch.load(tmp_path / "b.pt", weights_only=True)["step"] == 0


def test_what_onetrainer_has_for_the_output_is_told(tmp_path: Path) -> None:
    save_file(FOREIGN["OneTrainer"][0], tmp_path / "fox.safetensors")
    (note,) = recognise(TensorFile.open(tmp_path / "fox.safetensors")).notes
    assert "left out emp_params_out" in note
    assert open_artifact(tmp_path / "fox.safetensors").not_used(tiny_base()) == [f"fox.safetensors: {note}"]
    save_file({"emp_params": ROWS}, tmp_path / "fox.safetensors")
    assert not recognise(TensorFile.open(tmp_path / "fox.safetensors")).notes


def test_no_hash_is_made_up_for_the_base(tmp_path: Path) -> None:
    """The web UI's hash is of a checkpoint's bytes, which our fingerprint of a base is not."""
    ours = word()
    told = Artifact(ours.method, ours.settings, ours.tensors, {"base": "demo", "base_fingerprint": "0123456789abcdef"})
    formats()["a1111-embedding"].write(told, tmp_path / "fox.pt")
    held = torch.load(tmp_path / "fox.pt", weights_only=True)
    assert (held["sd_checkpoint"], held["sd_checkpoint_name"]) == (None, "demo")


def test_two_files_are_one_word_only_for_sdxl(tmp_path: Path) -> None:
    first, second = tmp_path / "fox.safetensors", tmp_path / "fox_2.safetensors"
    rows = torch.randn(2, 768)
    save_file({"<fox>": rows}, first)
    for other in ({"<fox>": torch.randn(2, 1024)}, {"<owl>": torch.randn(2, 1280)}, {"<fox>": torch.randn(3, 1280)}):
        save_file(other, second)
        assert recognise(TensorFile.open(first)).family == "sd1"
        assert torch.equal(open_artifact(first).tensors["emb_params"], rows)
    second.write_bytes(b"no tensors")
    assert recognise(TensorFile.open(first)).family == "sd1"
    save_file({"<fox>": torch.randn(2, 1280)}, second)
    found = recognise(TensorFile.open(first))
    assert (found.family, found.triggers, found.details["second file"]) == ("sdxl", ("<fox>",), "fox_2.safetensors")
    assert found.details["width"] == "768 and 1280"
    assert {name: tuple(rows.shape) for name, rows in open_artifact(first).tensors.items()} == {
        "clip_l": (2, 768), "clip_g": (2, 1280),
    }  # fmt: skip
    save_file({"<fox>": rows}, first, {"modelspec.architecture": "stable-diffusion-v1/textual-inversion"})
    assert recognise(TensorFile.open(first)).family == "sd1", "a file that says so is not half of another"


def test_sdxl_has_two(tmp_path: Path) -> None:
    base = tiny_base(kind="sdxl")
    tensors = {"clip_l": torch.randn(2, 12), "clip_g": torch.randn(2, 20)}
    save_file(tensors, tmp_path / "fox-xl.safetensors")
    assert recognise(TensorFile.open(tmp_path / "fox-xl.safetensors")).family == "sdxl"
    read = open_artifact(tmp_path / "fox-xl.safetensors")
    plain = look(base)
    with read.apply(base), torch.no_grad():
        assert not torch.equal(base.encode(["a fox-xl"]).hidden, base.encode(["a fox"]).hidden)
    assert torch.equal(look(base), plain)
    with pytest.raises(TriptychError, match="made for another kind of base: emb_params"):
        read.apply(tiny_base()).__enter__()
    save_file(tensors | {"clip_g": torch.randn(3, 20)}, tmp_path / "odd.safetensors")
    with pytest.raises(TriptychError, match="2 and 3 vectors"):
        open_artifact(tmp_path / "odd.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("to", ["kohya", "diffusers", "a1111"])
def test_diffusers_reads_a_prompt_the_same(to: str, tmp_path: Path) -> None:
    save(word(), tmp_path / "own.safetensors")
    suffix = ".pt" if to == "a1111" else ".safetensors"
    convert(ConversionRequest(tmp_path / "own.safetensors", to, tmp_path / f"out{suffix}"))
    base, pipeline = tiny_base(), theirs(tiny_base())
    pipeline.tokenizer.model_max_length = base.texts[0].room + 2
    token = {"token": "<fox>"}
    pipeline.load_textual_inversion(tmp_path, weight_name=f"out{suffix}", **token)
    with torch.no_grad():
        told = pipeline.encode_prompt("a <fox> sun", "cpu", 1, False)[0]
    assert torch.allclose(read_by(base, word(), "a <fox> sun"), told, atol=1e-6)


@pytest.mark.slow
def test_diffusers_reads_both_of_sdxl(tmp_path: Path) -> None:
    base, pipeline = tiny_base(kind="sdxl"), theirs(tiny_base(kind="sdxl"))
    ours = learned(base, trial("textual-inversion", vectors=2))
    save(ours, tmp_path / "own.safetensors")
    convert(ConversionRequest(tmp_path / "own.safetensors", "diffusers", tmp_path / "out.safetensors"))
    for text, name in zip(base.texts, ("out.safetensors", "out_2.safetensors"), strict=True):
        number = text.name.removeprefix("text_encoder")
        tokenizer = getattr(pipeline, f"tokenizer{number}")
        tokenizer.model_max_length = text.room + 2
        (token, rows), = load_file(tmp_path / name).items()  # fmt: skip
        pipeline.load_textual_inversion(
            {token: rows}, token=token, text_encoder=getattr(pipeline, text.name), tokenizer=tokenizer
        )
    with torch.no_grad():
        told = pipeline.encode_prompt("a <concept> sun", device="cpu", do_classifier_free_guidance=False)[0]
    assert torch.allclose(read_by(base, ours, "a <concept> sun"), told, atol=1e-5)


def test_a_reader_of_the_specification(tmp_path: Path) -> None:
    """A1111 takes one parameter, whatever its key; kohya's reader `emb_params`."""
    for name, file in (("a1111", "x.pt"), ("kohya", "x.safetensors")):
        save(word(), tmp_path / "own.safetensors")
        convert(ConversionRequest(tmp_path / "own.safetensors", name, tmp_path / file))
    held = torch.load(tmp_path / "x.pt", weights_only=True)
    assert held.keys() == a1111(ROWS).keys()
    ((_, rows),) = held["string_to_param"].items()
    assert torch.equal(rows, word().tensors["emb_params"])
    assert rows.requires_grad
    assert torch.equal(load_file(tmp_path / "x.safetensors")["emb_params"], word().tensors["emb_params"])


def json_of(rows: Tensor) -> bytes:
    told = a1111(rows) | {"string_to_param": {"*": {"TORCHTENSOR": rows.tolist()}}}
    return json.dumps(told).encode()


def picture(size: int = 64) -> Image.Image:
    random = np.random.default_rng(0)
    return Image.fromarray(random.integers(1, 255, (size, size, 3), dtype=np.uint8))


def veiled(half: np.ndarray, height: int) -> np.ndarray:
    """One half of the bytes as a block of pixels, by the specification: filled up, styled above, veiled below."""
    length = len(half) + height - len(half) % height
    length += height * 3 - length % (height * 3)
    block = np.resize(half, length).reshape(height, -1, 3)
    x, sequence = 0, []
    for _ in range(block.size):
        x = (1664525 * x + 1013904223) % 2**32
        sequence.append(x % 255 & 0x0F)
    return ((block ^ np.array(sequence, dtype=np.uint8).reshape(block.shape)) | 0x50).astype(np.uint8)


def hide(data: bytes, shown: Image.Image) -> Image.Image:
    squeezed = np.frombuffer(zlib.compress(data, 9), np.uint8)
    low, high = (veiled(half, shown.height) for half in (squeezed & 0x0F, squeezed >> 4))
    whole = Image.new("RGB", (shown.width + low.shape[1] + high.shape[1] + 2, shown.height))
    whole.paste(Image.fromarray(low), (0, 0))
    whole.paste(shown, (low.shape[1] + 1, 0))
    whole.paste(Image.fromarray(high), (low.shape[1] + shown.width + 2, 0))
    return whole


def test_the_sequence_that_veils_is_the_web_uis() -> None:
    """Its first numbers, and the sum of a hundred thousand after the first hundred, as its own code checks them."""
    sequence = _sequence(100_100).astype(int)
    assert sequence[:12].tolist() == [253, 242, 127, 44, 157, 27, 239, 133, 38, 79, 167, 4]
    assert sequence[100:].sum() == 12731374


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_pixels_that_hide_an_embedding(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"shared{suffix}"
    hide(json_of(ROWS), picture()).save(path, **({"lossless": True, "exact": True} if suffix == ".webp" else {}))
    found = recognise(TensorFile.open(path))
    assert (found.kind, found.triggers, found.details["vectors"]) == ("textual-inversion", ("fox",), 3)
    assert torch.allclose(open_artifact(path).tensors["emb_params"], ROWS, atol=1e-6)


def test_a_chunk_that_holds_an_embedding(tmp_path: Path) -> None:
    told = PngInfo()
    told.add_text("sd-ti-embedding", base64.b64encode(json_of(ROWS)).decode())
    picture().save(tmp_path / "shared.png", pnginfo=told)
    assert torch.allclose(open_artifact(tmp_path / "shared.png").tensors["emb_params"], ROWS, atol=1e-6)


@pytest.mark.parametrize(("inside", "token"), [({"name": "owl"}, "owl"), ({}, "00012"), ({"name": 5}, "00012")])
def test_a_pictures_word_is_called_by_the_name_inside(inside: dict[str, Any], token: str, tmp_path: Path) -> None:
    """As the web UI has it, for pictures alone; the picture's own name only where there is none."""
    told = {"string_to_param": {"*": {"TORCHTENSOR": ROWS.tolist()}}, **inside}
    with_chunk(tmp_path / "00012.png", base64.b64encode(json.dumps(told).encode()).decode())
    assert recognise(TensorFile.open(tmp_path / "00012.png")).triggers == (token,)
    assert open_artifact(tmp_path / "00012.png").settings.token == token


def with_chunk(path: Path, text: str) -> None:
    told = PngInfo()
    told.add_text("sd-ti-embedding", text)
    picture().save(path, pnginfo=told)


@pytest.mark.slow
def test_pictures_that_hold_none(tmp_path: Path) -> None:
    picture().save(tmp_path / "plain.png")
    Image.new("RGB", (64, 64)).save(tmp_path / "black.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "plain.png").read_bytes()[:200])
    hide(b"x" * 70_000_000, picture(256)).save(tmp_path / "bomb.png")
    with_chunk(tmp_path / "no base64.png", "!!")
    with_chunk(tmp_path / "no json.png", base64.b64encode(b"{").decode())
    for rows in ([], [[]], [[1, 2], [3]], [["a"]], [[10**400]], 5):
        told = {"string_to_param": {"*": {"TORCHTENSOR": rows}}}
        with_chunk(tmp_path / f"{str(rows)[:9]}.png", base64.b64encode(json.dumps(told).encode()).decode())
    for path in tmp_path.glob("*.png"):
        with pytest.raises(TriptychError) as refused:
            open_artifact(path)
        assert len(str(refused.value).splitlines()) == 1


def test_pictures_are_told_from_embeddings_before_they_cost_anything(tmp_path: Path) -> None:
    picture().save(tmp_path / "plain.png")
    with pytest.raises(TriptychError, match="is a picture that holds no embedding"):
        open_artifact(tmp_path / "plain.png")
    Image.new("L", (8192, 4097)).save(tmp_path / "vast.png")
    with pytest.raises(TriptychError, match="larger than any picture that holds an embedding"):
        open_artifact(tmp_path / "vast.png")


def test_embeddings_within_a_lora(tmp_path: Path) -> None:
    tensors = {"bundle_emb.fox.string_to_param.*": ROWS}
    tensors |= {"bundle_emb.owl.clip_l": ROWS + 2, "bundle_emb.owl.clip_g": ROWS + 1}
    save_file(tensors, tmp_path / "x.safetensors")
    found = bundled_embeddings(TensorFile.open(tmp_path / "x.safetensors"))
    assert {name: len(one.tensors) for name, one in found.items()} == {"fox": 1, "owl": 2}
    assert found["fox"].settings.token == "fox"
    assert torch.equal(found["owl"].tensors["clip_l"], ROWS + 2)
    assert torch.equal(found["owl"].tensors["clip_g"], ROWS + 1)


def test_odd_embeddings_within_a_lora(tmp_path: Path) -> None:
    tensors = {"bundle_emb.v1.5 fox.string_to_param.*": ROWS, "bundle_emb.v1.5 owl.clip_l": ROWS + 1}
    tensors |= {f"bundle_emb.elk.clip_{letter}{out}": ROWS + len(out) for letter in "lg" for out in ("", "_out")}
    tensors |= {"bundle_emb.ant.<ant>": ROWS + 5}
    save_file(tensors, tmp_path / "x.safetensors")
    found = bundled_embeddings(TensorFile.open(tmp_path / "x.safetensors"))
    assert found.keys() == {"v1.5 fox", "v1.5 owl", "elk", "ant"}
    assert torch.equal(found["v1.5 fox"].tensors["emb_params"], ROWS)
    assert torch.equal(found["v1.5 owl"].tensors["emb_params"], ROWS + 1)
    assert torch.equal(found["ant"].tensors["emb_params"], ROWS + 5)
    assert found["elk"].tensors.keys() == {"clip_l", "clip_g"}
    assert all(torch.equal(rows, ROWS) for rows in found["elk"].tensors.values())
    save_file({"bundle_emb.elk.clip_l": ROWS, "bundle_emb.elk.t5": ROWS + 1}, tmp_path / "flux.safetensors")
    with pytest.raises(TriptychError, match="'elk' of clip_l and t5"):
        bundled_embeddings(TensorFile.open(tmp_path / "flux.safetensors"))


def test_aesthetic_embeddings(base: Base, tmp_path: Path) -> None:
    torch.save(torch.randn(1, 768).half(), tmp_path / "mucha.pt")
    found = recognise(TensorFile.open(tmp_path / "mucha.pt"))
    assert (found.kind, found.family) == ("aesthetic-gradients", "sd1")
    artifact = learned(base, trial("aesthetic-gradients"))
    save(artifact, tmp_path / "own.safetensors")
    convert(ConversionRequest(tmp_path / "own.safetensors", "a1111", tmp_path / "out.pt"))
    mean = torch.load(tmp_path / "out.pt", weights_only=True)
    assert torch.equal(mean, artifact.tensors["mean_image_feature"])
    assert torch.equal(open_artifact(tmp_path / "out.pt").tensors["mean_image_feature"], mean)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["kohya", "diffusers", "a1111", "triptych"]), st.integers(1, 5), st.sampled_from([12, 768, 1024]),
    st.integers(0, 99), st.booleans(),
)  # fmt: skip
def test_any_word_comes_back(tmp_path: Path, to: str, vectors: int, width: int, seed: int, two: bool) -> None:
    ours = word(vectors, width, "<fox>", seed)
    if two:
        rows = ours.tensors["emb_params"]
        ours = Artifact(
            ours.method, ours.settings, {"clip_l": rows, "clip_g": torch.cat([rows, rows], 1)}, ours.provenance
        )
    save(ours, tmp_path / "own.safetensors")
    out = tmp_path / ("out.pt" if to == "a1111" else "out.safetensors")
    for stale in tmp_path.glob("out*"):
        stale.unlink()
    request = ConversionRequest(tmp_path / "own.safetensors", to, out)
    if two and to == "a1111":
        with pytest.raises(TriptychError, match="for SDXL"):
            convert(request)
        return
    convert(request)
    if two and to == "diffusers":
        assert torch.equal(load_file(out)["<fox>"], ours.tensors["clip_l"])
        assert torch.equal(load_file(tmp_path / "out_2.safetensors")["<fox>"], ours.tensors["clip_g"])
    read = open_artifact(out)
    assert read.tensors.keys() == ours.tensors.keys()
    assert all(torch.equal(read.tensors[name], ours.tensors[name]) for name in ours.tensors)
    assert read.settings.vectors == vectors
    assert read.settings.token == ("out" if to == "a1111" else "<fox>")


def test_what_an_embedding_cannot_become(tmp_path: Path) -> None:
    save(word(), tmp_path / "own.safetensors")
    with pytest.raises(TriptychError, match="cannot be written as 'single-file'"):
        convert(ConversionRequest(tmp_path / "own.safetensors", "single-file", tmp_path / "x.safetensors"))
    with pytest.raises(TriptychError, match=r"must end in .safetensors"):
        convert(ConversionRequest(tmp_path / "own.safetensors", "kohya", tmp_path / "x.txt"))
    assert formats()["picture-embedding"].writes is False
