"""`inspect` and `convert` as they are typed: what was trained is told, turned into every layout, and drawn the same."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, safe_open

from tests.plain import first_fast
from tests.test_cli import refused
from tests.test_hostile_files import PICKLES
from tests.worlds import call, typed
from triptych.errors import TriptychError
from triptych.exchange.formats import formats, open_artifact
from triptych.files.atomic import replacing_entries
from triptych.files.library import Library

TRAINED = {  # strongly enough that two steps show in a picture; aesthetic gradients at their own defaults
    "textual-inversion": ("vectors=2", "lr=1", "batch=2"),
    "hypernetwork": ("lr=0.1", "batch=2"),
    "lora": ("lr=0.5", "batch=2", "rank=3", "alpha=3"),
    "dreambooth": ("lr=0.1", "batch=2", "prior_pictures=2"),
    "aesthetic-gradients": ("steps=10", "lr=1e-4"),
}
OF_OTHER_METHODS = ("diffusers-custom-diffusion", "svdiff")  # written from what those methods learn
SAYS = {"textual-inversion": "<concept>", "dreambooth": "sks dog"}
PROMPT = "a <concept> sks dog"
Patch = pytest.MonkeyPatch
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, random_base: Path, folder: Path) -> dict[str, Path]:
    """A file of each method."""
    place = tmp_path_factory.mktemp("trained")
    made = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIPTYCH_CACHE", str(place / "cache"))
        for method, settings in TRAINED.items():
            made[method] = place / f"{method}.safetensors"
            steps = () if method == "aesthetic-gradients" else ("--steps", "2")
            given = [word for one in settings for word in ("-s", one)]
            assert call(patch, *typed(random_base, "train", method, folder, "--out", made[method], *steps, *given)) == 0
    return made


@pytest.fixture
def drawn(monkeypatch: Patch, tmp_path: Path, random_base: Path) -> Callable[..., bytes]:
    """The pixels of a picture with a file attached, or on another base."""

    def draw(use: Path | None = None, base: Path | None = None, prompt: str = PROMPT) -> bytes:
        out = tmp_path / "drawn"
        shutil.rmtree(out, ignore_errors=True)
        uses = ("--use", use) if use else ()
        words = ("generate", prompt, "--steps", "2", "--out", out, "--precision", "fp32", *uses)
        assert call(monkeypatch, *words, "--base", base or random_base / "base") == 0
        return Image.open(out / "00000.png").tobytes()

    return draw


def difference(a: bytes, b: bytes) -> int:
    """Between two pictures, the most of any value, out of 255."""
    return max(abs(x - y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("method", TRAINED)
def test_a_trained_file_is_told(
    monkeypatch: Patch, capsys: Captured, files: dict[str, Path], random_base: Path, method: str
) -> None:
    path, says, layout = files[method], SAYS.get(method, "dog"), "kohya-lora" if method == "lora" else "triptych"
    assert call(monkeypatch, "inspect", path) == 0
    text = capsys.readouterr().out
    told = {line[:10].strip(): line[11:] for line in text.splitlines()}
    assert (told["is"], told["say"]) == (f"{method} for tiny, as {layout}", says)
    assert told["safe"].startswith("safetensors")
    assert re.fullmatch(r".* \([\d.]+ (bytes|kB|MB)\)", told["file"])
    assert call(monkeypatch, "inspect", path, "--json", "--base", random_base / "base") == 0
    (line,) = capsys.readouterr().out.splitlines()
    one = json.loads(line)
    assert (one["kind"], one["format"], one["family"], one["triggers"]) == (method, layout, "tiny", [says])
    assert one["bytes"] == path.stat().st_size
    whole = path.read_bytes()
    digest = hashlib.sha256(whole).hexdigest().upper()
    tensors = hashlib.sha256(whole[8 + int.from_bytes(whole[:8], "little") :]).hexdigest().upper()
    assert one["hashes"] == {"sha256": digest, "autov2": digest[:10], "autov3": tensors[:12]}
    assert told["sha256"] == digest
    with safe_open(path, "pt") as file:
        assert one["tensors"] == len(file.keys())
    kohya = {"batch": "batch_size_per_device", "lr": "learning_rate"}
    for setting in TRAINED[method]:
        name, _, value = setting.partition("=")
        kept = one["details"].get(name, one["trained"].get(kohya.get(name, name)))
        assert name == "prior_pictures" or float(kept) == float(value), name
    assert one["fits"].startswith("yes")
    assert not one["refused"]
    assert call(monkeypatch, "inspect", path, "--base", "demo") == 0
    assert "no: it is made for tiny, and demo is demo" in capsys.readouterr().out


def test_a_folder_is_a_table_with_what_is_refused(
    monkeypatch: Patch, capsys: Captured, tmp_path: Path, files: dict[str, Path]
) -> None:
    shutil.copy(files["lora"], tmp_path / "[red]lora.safetensors")  # a name like the markup of tables
    (tmp_path / "deeper").mkdir()
    hostile = tmp_path / "deeper" / "hostile.pt"
    hostile.write_bytes(PICKLES["os.system"])
    (tmp_path / "empty.ckpt").touch()
    (tmp_path / "notes.txt").write_text("no file of tensors")
    (tmp_path / "gone.safetensors").symlink_to(tmp_path / "nowhere")
    assert call(monkeypatch, "inspect", tmp_path) == 0
    title, *rows = capsys.readouterr().out.splitlines()
    assert title.split() == ["file", "is", "for", "size", "say", "fits"]
    assert [Path(row.split()[0]).name for row in rows] == ["[red]lora.safetensors", "hostile.pt", "empty.ckpt"]
    assert rows[0].split()[1:3] == ["lora", "tiny"]
    assert "refused" in rows[1]
    assert ".system" in rows[1]
    assert "is empty" in rows[2]
    assert call(monkeypatch, "inspect", tmp_path, "--json") == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [bool(one["refused"]) for one in told] == [False, True, True]
    refused(monkeypatch, capsys, ".system", "inspect", hostile)
    (tmp_path / "none").mkdir()
    assert call(monkeypatch, "inspect", tmp_path / "none") == 0
    assert capsys.readouterr().out == "no file of tensors there\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "name"),
    first_fast(
        (m, n)
        for m in TRAINED
        for n, one in formats().items()
        if one.writes and one.kind in (m, "any") and n not in OF_OTHER_METHODS
    ),
)
def test_every_layout_draws_the_same(
    monkeypatch: Patch,
    capsys: Captured,
    tmp_path: Path,
    files: dict[str, Path],
    random_base: Path,
    drawn: Callable[..., bytes],
    method: str,
    name: str,
) -> None:
    bare, first, there = drawn(), drawn(files[method]), tmp_path / f"there{formats()[name].suffixes[0]}"
    assert difference(bare, first) > 2, "nothing was learned that a picture shows"
    assert (
        call(monkeypatch, "convert", files[method], "--to", name, "--out", there, "--base", random_base / "base") == 0
    )
    assert capsys.readouterr().out.splitlines()[-1] == str(there)
    back, prompt = tmp_path / "back.safetensors", PROMPT
    if name == "a1111-embedding":  # it has no room for another word than the file's name
        prompt = "a there sks dog"
    assert drawn(there, prompt=prompt) == first
    assert call(monkeypatch, "convert", there, "--to", "triptych", "--out", back) == 0
    assert drawn(back, prompt=prompt) == first
    ours, theirs = open_artifact(files[method]), open_artifact(back)
    assert ours.tensors.keys() == theirs.tensors.keys()
    assert all(torch.equal(ours.tensors[key].float(), theirs.tensors[key].float()) for key in ours.tensors)
    if there.suffix == ".safetensors":
        assert (ours.settings, dict(ours.provenance)) == (theirs.settings, dict(theirs.provenance))
    capsys.readouterr()
    assert call(monkeypatch, "inspect", there, "--json") == 0
    assert json.loads(capsys.readouterr().out)["kind"] == method


def test_what_a_layout_cannot_hold_is_said(
    monkeypatch: Patch, capsys: Captured, tmp_path: Path, files: dict[str, Path]
) -> None:
    out = tmp_path / "mean.pt"
    assert call(monkeypatch, "convert", files["aesthetic-gradients"], "--to", "a1111", "--out", out) == 0
    assert "10 steps, a rate of 0.0001" in capsys.readouterr().err
    kohya = tmp_path / "fox.safetensors"
    assert call(monkeypatch, "convert", files["textual-inversion"], "--to", "kohya", "--out", kohya) == 0
    assert "called by its file's name: fox" in capsys.readouterr().err
    assert call(monkeypatch, "inspect", kohya, "--json") == 0
    assert json.loads(capsys.readouterr().out)["triggers"] == ["<concept>", "fox"], "to us, and to other programs"


@pytest.mark.slow
def test_dreambooth_becomes_a_base(
    monkeypatch: Patch,
    capsys: Captured,
    tmp_path: Path,
    files: dict[str, Path],
    random_base: Path,
    drawn: Callable[..., bytes],
) -> None:
    source, base = files["dreambooth"], ("--base", random_base / "base")
    whole, single = tmp_path / "whole", tmp_path / "single.safetensors"
    words = ("convert", source, *base, "--precision", "fp32", "--out")
    assert call(monkeypatch, *words, whole, "--to", "diffusers") == 0
    assert difference(drawn(base=whole), drawn(source)) <= 1
    assert call(monkeypatch, *words, single, "--to", "single-file") == 0
    told = capsys.readouterr().err
    assert "rounding" not in told, "float32 loses nothing"
    assert "sizes, which tiny has not" in told
    weight = load_file(random_base / "base" / "unet" / "diffusion_pytorch_model.safetensors")["conv_in.weight"]
    change = load_file(source)["unet.conv_in.weight"].float()
    wanted = weight.float() + change
    assert change.abs().max() > 0
    ours = load_file(whole / "unet" / "diffusion_pytorch_model.safetensors")["conv_in.weight"]
    theirs = load_file(single)["model.diffusion_model.input_blocks.0.0.weight"]  # the original layout's name of it
    assert torch.equal(ours, wanted)
    assert torch.equal(theirs, wanted)
    half = tmp_path / "half.safetensors"
    assert call(monkeypatch, *words, half, "--to", "comfyui", "--strength", "0.5") == 0
    torch.testing.assert_close(
        load_file(half)["model.diffusion_model.input_blocks.0.0.weight"], weight.float() + 0.5 * change
    )
    rounded = tmp_path / "rounded.safetensors"
    assert call(monkeypatch, "convert", source, *base, "--to", "single-file", "--out", rounded) == 0
    assert "rounding changed the weights by" in capsys.readouterr().err
    assert load_file(rounded)["model.diffusion_model.input_blocks.0.0.weight"].dtype == torch.float16
    again = tmp_path / "again.safetensors"
    assert call(monkeypatch, "convert", whole, "--to", "single-file", "--precision", "fp32", "--out", again) == 0
    one, other = load_file(single), load_file(again)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
    capsys.readouterr()
    refused(monkeypatch, capsys, "name that base", "convert", source, "--to", "diffusers", "--out", tmp_path / "x")
    refused(monkeypatch, capsys, "is a whole base", "convert", whole, "--to", "kohya", "--out", tmp_path / "x")


@pytest.mark.slow
def test_dreambooth_becomes_a_lora(
    monkeypatch: Patch, capsys: Captured, tmp_path: Path, files: dict[str, Path], drawn: Callable[..., bytes]
) -> None:
    source, kept = files["dreambooth"], {}
    for rank in (1, 4, 64):
        out = tmp_path / f"{rank}.safetensors"
        assert call(monkeypatch, "convert", source, "--to", "lora", "--rank", str(rank), "--out", out) == 0
        told = capsys.readouterr().err
        assert f"a LoRA of rank {rank} keeps" in told
        kept[rank] = float(told.partition("keeps ")[2].partition("%")[0])
    assert 0 < kept[1] < kept[4] < kept[64] <= 100
    bare, first = drawn(), drawn(source)
    nearest = drawn(tmp_path / "64.safetensors")
    assert difference(nearest, first) < difference(bare, first)
    assert call(monkeypatch, "inspect", tmp_path / "4.safetensors", "--json") == 0
    one = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (one["kind"], one["format"], one["details"]["rank"]) == ("lora", "kohya-lora", 4)
    assert (one["trained"]["steps"], float(one["trained"]["learning_rate"])) == ("2", 0.1), "as it was trained"
    assert one["triggers"] == ["sks dog"]


def test_what_exists_is_kept(monkeypatch: Patch, capsys: Captured, tmp_path: Path, files: dict[str, Path]) -> None:
    out = tmp_path / "out.safetensors"
    out.write_text("mine")
    words = ("convert", files["lora"], "--to", "kohya", "--out", out)
    refused(monkeypatch, capsys, "exists already", *words)
    assert out.read_text() == "mine"
    assert call(monkeypatch, *words, "--overwrite") == 0
    assert any(key.startswith("lora_unet_") for key in load_file(out))
    itself = shutil.copy(files["lora"], tmp_path / "itself.safetensors")
    assert call(monkeypatch, "convert", itself, "--to", "kohya", "--out", itself, "--overwrite") == 0
    assert load_file(itself).keys() == load_file(out).keys()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["itself.safetensors", "out.safetensors"]


@pytest.mark.slow
def test_a_folder_that_exists(
    monkeypatch: Patch,
    capsys: Captured,
    tmp_path: Path,
    files: dict[str, Path],
    random_base: Path,
    drawn: Callable[..., bytes],
) -> None:
    """Nothing of an old base is left among the new one's parts, and no file of another kind is lost."""
    out = tmp_path / "base"
    shutil.copytree(random_base / "base", out)
    (out / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text('{"weight_map": {}}')
    (out / "notes.txt").write_text("mine")
    words = ("convert", files["dreambooth"], "--to", "diffusers", "--base", random_base / "base", "--out", out)
    refused(monkeypatch, capsys, "exists already", *words)
    first = drawn(files["dreambooth"])
    assert call(monkeypatch, *words, "--overwrite", "--precision", "fp32") == 0
    assert [path.name for path in sorted((out / "unet").iterdir())] == [
        "config.json", "diffusion_pytorch_model.safetensors",
    ]  # fmt: skip
    assert (out / "notes.txt").read_text() == "mine"
    assert difference(drawn(base=out), first) <= 1
    onto = ("convert", files["dreambooth"], "--to", "diffusers", "--base", out, "--out", out, "--overwrite")
    assert call(monkeypatch, *onto) == 0, "a base may be written onto itself"
    taken = tmp_path / "file"
    taken.write_text("mine")
    capsys.readouterr()
    refused(monkeypatch, capsys, "cannot write", *words[:-1], taken, "--overwrite")
    refused(monkeypatch, capsys, "cannot write", *words[:-1], taken / "below")
    assert taken.read_text() == "mine"
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".tmp")]


def test_a_folder_that_was_interrupted_is_as_before(tmp_path: Path) -> None:
    (tmp_path / "base" / "unet").mkdir(parents=True)
    (tmp_path / "base" / "unet" / "weights").write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing_entries(tmp_path / "base", "index") as whole:
        (whole / "unet").mkdir()
        raise KeyboardInterrupt
    assert (tmp_path / "base" / "unet" / "weights").read_text() == "old"
    with pytest.raises(KeyboardInterrupt), replacing_entries(tmp_path / "new", "index"):
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


def test_ctrl_c_leaves_what_was(monkeypatch: Patch, capsys: Captured, tmp_path: Path, files: dict[str, Path]) -> None:
    out = tmp_path / "out.safetensors"
    out.write_text("mine")

    def stop(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("triptych.files.streaming._bytes", stop)  # when the header is written, and no tensor
    assert call(monkeypatch, "convert", files["lora"], "--to", "kohya", "--out", out, "--overwrite") == 130
    assert out.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    assert "stopped" in capsys.readouterr().err


@pytest.mark.slow
def test_bad_words(
    monkeypatch: Patch, capsys: Captured, tmp_path: Path, files: dict[str, Path], random_base: Path, folder: Path
) -> None:
    lora, base, out = files["lora"], ("--base", random_base / "base"), tmp_path / "out.safetensors"
    broken, empty, hostile = (tmp_path / name for name in ("broken.safetensors", "empty.pt", "hostile.ckpt"))
    broken.write_bytes(lora.read_bytes()[:-9])
    empty.touch()
    hostile.write_bytes(PICKLES["eval"])
    kohya = ("--to", "kohya", "--out", out)
    for why, words in {
        "did you mean 'kohya-lora'": (lora, "--to", "koya", "--out", out),
        "did you mean 'diffusers'": (files["dreambooth"], "--to", "difusers", "--out", out, *base),
        "there are: diffusers-custom-diffusion, diffusers-lora, kohya-lora, svdiff, triptych": (
            lora,
            "--to",
            "single-file",
            "--out",
            out,
            *base,
        ),
        "must end in .safetensors": (lora, "--to", "kohya", "--out", tmp_path / "out.pt"),
        "must end in .pt": (files["hypernetwork"], "--to", "a1111", "--out", out),
        "did you mean 'fp32'": (lora, *kohya, "--precision", "fp3"),
        "not a picture": (lora, *kohya, "--thumbnail", lora),
        "there is no picture": (lora, *kohya, "--thumbnail", tmp_path / "none.png"),
        "there is no file": (tmp_path / "none.safetensors", *kohya),
        "is cut off": (broken, *kohya),
        "is empty": (empty, *kohya),
        ".eval": (hostile, *kohya),
        "has a model_index.json, and it has none": (folder, "--to", "single-file", "--out", out),
        f"{folder} is not a base": (lora, *kohya, "--base", folder),
        "did you mean 'demo'": (files["dreambooth"], "--to", "diffusers", "--out", out, "--base", "dmo"),
        "made for another kind of base": (files["dreambooth"], "--to", "diffusers", "--out", out, "--base", "demo"),
        "'--rank'": (files["dreambooth"], "--to", "lora", "--rank", "0", "--out", out),
    }.items():
        refused(monkeypatch, capsys, why, "convert", *words)
        assert not out.exists(), why
    for why, words in {
        "is cut off": (broken,),
        "is empty": (empty,),
        "there is no file": (tmp_path / "none",),
        "is not a base": (lora, "--base", folder),
        "no base 'dmo'": (lora, "--base", "dmo"),
        "FILE": (),
    }.items():
        refused(monkeypatch, capsys, why, "inspect", *words)


def test_a_thumbnail_is_kept(monkeypatch: Patch, tmp_path: Path, files: dict[str, Path], folder: Path) -> None:
    out = tmp_path / "out.safetensors"
    words = ("convert", files["lora"], "--to", "kohya", "--thumbnail", folder / "0.png", "--out", out)
    assert call(monkeypatch, *words) == 0
    with safe_open(out, "pt") as file:
        assert file.metadata()["modelspec.thumbnail"].startswith("data:image/jpeg;base64,")
        assert file.metadata()["modelspec.title"] == "lora", "as it was called first"


def test_a_damaged_file_beside_hides_no_missing_name(tmp_path: Path, files: dict[str, Path]) -> None:
    (tmp_path / "a.safetensors").touch()
    shutil.copy(files["lora"], tmp_path / "renamed.safetensors")
    found = [path.name for path in Library(tmp_path).find("lora", "lora")]
    assert found == ["renamed.safetensors"], "by the name of its training"
    with pytest.raises(TriptychError, match="has no LoRA called 'nothing'"):
        Library(tmp_path).find("lora", "nothing")
