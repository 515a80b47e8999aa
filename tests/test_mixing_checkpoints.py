"""Mixes of checkpoints, from file to file: every tensor by plain arithmetic, and whatever does not match is refused."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.originals import listed, small_shapes, values
from triptych.errors import TriptychError
from triptych.exchange.inspection import inspect
from triptych.families import family_named
from triptych.files.streaming import write_safetensors
from triptych.mixing.blocks import block_names, block_of
from triptych.mixing.merge import merge
from triptych.mixing.recipe import read_recipe
from triptych.mixing.request import Ingredient, Mix

UNET = "model.diffusion_model."
POSITIONS = "cond_stage_model.transformer.text_model.embeddings.position_ids"


def short(family: str) -> dict[str, tuple[int, ...]]:
    """The keys that tell a family and its blocks, in a file of kilobytes."""
    shapes = small_shapes(family)
    return {key: shape for key, shape in shapes.items() if "token_embedding" not in key and "attn" not in key} | {
        key: tuple(min(size, 64) for size in shape)
        for key, shape in shapes.items()
        if "token_embedding" in key or "attn2.to_k" in key
    }


def checkpoint(path: Path, seed: int, family: str = "sd1", dtype: torch.dtype = torch.float32, **more: Tensor) -> Path:
    tensors = values(short(family), dtype, seed) | more
    save_file(tensors, path, {"modelspec.title": path.stem.upper(), "modelspec.license": f"licence of {path.stem}"})
    return path


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    return [checkpoint(tmp_path / f"{name}.safetensors", seed) for seed, name in enumerate("abc", start=1)]


def made(mix: Mix, out: Path, *, overwrite: bool = False) -> dict[str, Tensor]:
    merge(mix, out, overwrite=overwrite)
    return load_file(out)


def of(*paths: Path, weights: tuple[float | None, ...] = (), **more: object) -> Mix:
    given = weights or (None,) * len(paths)
    return Mix(tuple(Ingredient(path, w) for path, w in zip(paths, given, strict=True)), **more)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_weighted_sum_of_three(three: list[Path], tmp_path: Path) -> None:
    found, files = made(of(*three, weights=(0.5, 0.2, 0.3)), tmp_path / "o.safetensors"), [load_file(p) for p in three]
    assert found.keys() == files[0].keys()
    for key, tensor in found.items():
        a, b, c = (file[key] for file in files)
        expected = 0.5 * a + 0.2 * b + 0.3 * c if tensor.is_floating_point() else a
        assert torch.allclose(tensor, expected, atol=1e-6), key


@pytest.mark.slow
def test_weights_that_make_no_whole_are_scaled_and_said(three: list[Path], tmp_path: Path) -> None:
    mixed = merge(of(*three[:2], weights=(1.0, 3.0)), tmp_path / "o.safetensors")
    assert any("add up to 4" in note and "0.25 and 0.75" in note for note in mixed.notes)
    one, other = (
        load_file(tmp_path / "o.safetensors"),
        made(of(*three[:2], weights=(None, 0.75)), tmp_path / "p.safetensors"),
    )
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.slow
def test_whole_numbers_are_never_mixed(tmp_path: Path) -> None:
    """Positions of tokens rounded by a merge corrupt prompts: they stay as they are, and what differs is said."""
    a = checkpoint(tmp_path / "a.safetensors", 1)
    shifted = load_file(a)[POSITIONS] + 1
    b = checkpoint(tmp_path / "b.safetensors", 2, **{POSITIONS: shifted})
    mixed = merge(of(a, b), tmp_path / "o.safetensors")
    found = load_file(tmp_path / "o.safetensors")
    assert torch.equal(found[POSITIONS], load_file(a)[POSITIONS]) and found[POSITIONS].dtype is torch.int64
    assert any("whole numbers" in note and "b.safetensors" in note for note in mixed.notes)


@pytest.mark.slow
def test_differences_need_a_base_and_take_it(three: list[Path], tmp_path: Path) -> None:
    a, b, c = three
    with pytest.raises(TriptychError, match="needs the base"):
        merge(of(a, b, method="add-difference"), tmp_path / "o.safetensors")
    found = made(of(a, b, weights=(None, 0.7), method="add-difference", base=str(c)), tmp_path / "o.safetensors")
    files = [load_file(path) for path in three]
    key = f"{UNET}input_blocks.1.0.in_layers.2.weight"
    assert torch.allclose(found[key], files[0][key] + 0.7 * (files[1][key] - files[2][key]), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["slerp", "cosine", "train-difference", "ties", "dare", "della", "model-stock"])
def test_every_way_writes_a_checkpoint_and_its_recipe_makes_it_again(
    method: str, three: list[Path], tmp_path: Path
) -> None:
    mix = of(*three[:2], method=method, base=str(three[2]), settings={"seed": 3})
    out, again = tmp_path / "o.safetensors", tmp_path / "again.safetensors"
    merge(mix, out)
    merge(read_recipe(out), again)
    one, other = load_file(out), load_file(again)
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert all(tensor.isfinite().all() for tensor in one.values())
    assert inspect(out).mixed[0].startswith(method)


def test_the_file_tells_its_ancestors(three: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "mixed.safetensors"
    merge(of(*three[:2], weights=(0.5, 0.5)), out)
    with safe_open(out, "pt") as file:
        metadata = file.metadata()
    assert metadata["modelspec.merged_from"] == "A, B"
    assert metadata["modelspec.license"] == "licence of a; licence of b"
    assert metadata["modelspec.title"] == "mixed"
    assert str(tmp_path) not in str(metadata)
    seen = inspect(out)
    assert seen.kind == "checkpoint" and seen.family == "sd1"
    assert seen.mixed[0] == "weighted-sum" and seen.mixed[1].startswith("a.safetensors x 0.5, sha256 ")


@pytest.mark.slow
def test_a_recipe_refuses_another_file_of_that_name(three: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "o.safetensors"
    merge(of(*three[:2]), out)
    checkpoint(three[1], 9)
    with pytest.raises(TriptychError, match=r"b\.safetensors is not the file that the recipe was made from"):
        merge(read_recipe(out), tmp_path / "again.safetensors")


@pytest.mark.slow
def test_a_recipe_by_hand(three: list[Path], tmp_path: Path) -> None:
    recipe = tmp_path / "merge.toml"
    recipe.write_text('method = "slerp"\n[[ingredient]]\nfile = "a.safetensors"\nweight = 0.6\n'
                      '[[ingredient]]\nfile = "b.safetensors"\n')  # fmt: skip
    found = made(read_recipe(recipe), tmp_path / "o.safetensors")
    expected = made(of(*three[:2], weights=(0.6, 0.4), method="slerp"), tmp_path / "p.safetensors")
    assert all(torch.equal(found[key], expected[key]) for key in found)
    (tmp_path / "elsewhere").mkdir()
    moved = recipe.rename(tmp_path / "elsewhere" / "merge.toml")
    with pytest.raises(TriptychError, match=r"asks for a\.safetensors, which is neither beside it nor here"):
        read_recipe(moved)
    recipe.write_text('methd = "slerp"\n')
    with pytest.raises(TriptychError, match="did you mean 'method'"):
        read_recipe(recipe)


@pytest.mark.parametrize(("family", "list_name"), [("sd1", "sd1"), ("sdxl", "sdxl")])
def test_blocks_are_addressed_as_in_other_tools(family: str, list_name: str) -> None:
    """Every key of sd-mecha's lists is in the block in which sd-mecha has it."""
    import importlib

    module = importlib.import_module(f"sd_mecha.extensions.builtin.model_configs.convert_{list_name}_blocks")
    known = listed(f"{list_name}-supermerger_blocks")["blocks"]
    own, record = family_named(family), Record(known)
    name = "convert_sd1_blocks_to_ldm" if family == "sd1" else "convert_sdxl_blocks_to_sgm"
    getattr(module, name).__wrapped__.map_keys(record)
    assert len(record.found) > 1000
    for key, block in record.found.items():
        assert block_of(key, own) == ("BASE" if block == "VAE" else block), key
    assert block_names(own) == [block for block in known if block != "VAE"]


class Record:
    """What sd-mecha's key map is told."""

    def __init__(self, names: object) -> None:
        self.found: dict[str, str] = {}
        self.keys = dict(zip(names, names, strict=True))  # type: ignore[call-overload]

    def __setitem__(self, key: str, block: str) -> None:
        self.found[key] = block


@pytest.mark.slow
def test_block_weights(three: list[Path], tmp_path: Path) -> None:
    a, b = (load_file(path) for path in three[:2])
    numbers = [round(place / 26, 3) for place in range(26)]
    mix = of(*three[:2], settings={"blocks": ",".join(map(str, numbers))})
    found = made(mix, tmp_path / "o.safetensors")
    places = {
        "cond_stage_model.transformer.text_model.final_layer_norm.weight": 0, f"{UNET}time_embed.0.weight": 0,
        f"{UNET}input_blocks.0.0.weight": 1, f"{UNET}input_blocks.11.0.in_layers.2.weight": 12,
        f"{UNET}middle_block.1.norm.weight": 13, f"{UNET}output_blocks.0.0.in_layers.2.weight": 14,
        f"{UNET}output_blocks.11.0.in_layers.2.weight": 25, f"{UNET}out.2.weight": 25,
    }  # fmt: skip
    for key, place in places.items():
        assert torch.allclose(found[key], torch.lerp(a[key], b[key], numbers[place]), atol=1e-6), key
    with pytest.raises(TriptychError, match=r"has 26 blocks .* and 2 numbers"):
        merge(of(*three[:2], settings={"blocks": "0.1,0.2"}), tmp_path / "p.safetensors")
    with pytest.raises(TriptychError, match="not both"):
        merge(of(*three[:2], weights=(0.5, 0.5), settings={"blocks": "0.1,0.2"}), tmp_path / "p.safetensors")


@pytest.mark.slow
def test_what_does_not_match_is_refused_before_anything_is_read(
    three: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from triptych.files.tensorfile import TensorFile

    def never(*given: object) -> None:
        raise AssertionError("something was read")

    other, out = checkpoint(tmp_path / "x.safetensors", 1, "sdxl"), tmp_path / "o.safetensors"
    tensors = load_file(three[1])
    key = f"{UNET}input_blocks.1.0.in_layers.2.weight"
    wider = tmp_path / "wider.safetensors"
    save_file({**tensors, key: torch.zeros(3, 3)}, wider)
    inpainting = tmp_path / "inpainting.safetensors"
    save_file({**tensors, f"{UNET}input_blocks.0.0.weight": torch.zeros(8, 9, 3, 3)}, inpainting)
    velocity = tmp_path / "v.safetensors"
    save_file(tensors, velocity, {"modelspec.prediction_type": "v"})
    noise = tmp_path / "n.safetensors"
    save_file(tensors, noise, {"modelspec.prediction_type": "epsilon"})
    monkeypatch.setattr(TensorFile, "tensors", never)
    for pair, words in (
        (
            (three[0], other),
            r"x\.safetensors does not match a\.safetensors: its family is sdxl, and the first's is sd1",
        ),
        ((three[0], wider), r"wider\.safetensors does not match .*input_blocks\.1\.0\.in_layers\.2\.weight"),
        ((three[0], inpainting), "its kind is inpainting"),
        ((noise, velocity), "it predicts v_prediction"),
    ):
        with pytest.raises(TriptychError, match=words):
            merge(of(*pair), out)
    assert not out.exists()


@pytest.mark.slow
def test_tensors_of_some_files_alone_are_said(three: list[Path], tmp_path: Path) -> None:
    a = load_file(three[0])
    save_file({**a, "model_ema.diffusion_modelinput_blocks00weight": torch.zeros(2)}, three[0])
    b = load_file(three[1])
    gone = f"{UNET}out.2.bias"
    del b[gone]
    save_file({**b, "strange": torch.zeros(2)}, three[1])
    mixed = merge(of(*three[:2]), tmp_path / "o.safetensors")
    found, said = load_file(tmp_path / "o.safetensors"), "\n".join(mixed.notes)
    assert "averaged copy" in said and f"lacks 1 tensor ({gone})" in said and "(strange)" in said
    assert torch.equal(found[gone], a[gone]) and not any("ema" in key for key in found)


@pytest.mark.slow
def test_precision_follows_the_first_file_or_the_user(tmp_path: Path) -> None:
    a = checkpoint(tmp_path / "a.safetensors", 1, dtype=torch.float16)
    b = checkpoint(tmp_path / "b.safetensors", 2)
    key = f"{UNET}out.2.weight"
    assert made(of(a, b), tmp_path / "o.safetensors")[key].dtype is torch.float16
    exact = made(of(a, b, precision="fp32"), tmp_path / "p.safetensors")[key]
    assert torch.allclose(exact, (load_file(a)[key].float() + load_file(b)[key]) / 2)


@pytest.mark.slow
def test_an_old_checkpoint_in_a_pickle_is_mixed_too(three: list[Path], tmp_path: Path) -> None:
    torch.save({"state_dict": load_file(three[1]), "epoch": 3}, tmp_path / "b.ckpt")
    one = made(of(three[0], tmp_path / "b.ckpt"), tmp_path / "o.safetensors")
    other = made(of(*three[:2]), tmp_path / "p.safetensors")
    assert all(torch.equal(one[key], other[key]) for key in other)


@pytest.mark.slow
def test_a_file_is_not_replaced_without_leave(three: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "o.safetensors"
    out.write_bytes(b"old")
    with pytest.raises(TriptychError, match="exists already"):
        merge(of(*three[:2]), out)
    assert out.read_bytes() == b"old"
    assert made(of(*three[:2]), out, overwrite=True)


@pytest.mark.slow
def test_a_full_disk_leaves_the_old_file(three: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "o.safetensors"
    out.write_bytes(b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, limits[1]))
    try:
        with pytest.raises(TriptychError, match=r"cannot write .*o\.safetensors: File too large"):
            merge(of(*three[:2]), out, overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert out.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.safetensors",
        "b.safetensors",
        "c.safetensors",
        out.name,
    ]


@pytest.mark.slow
def test_a_killed_merge_leaves_no_file_under_the_final_name(tmp_path: Path) -> None:
    big = {f"{UNET}output_blocks.3.{i}.weight": torch.zeros(2_000_000) for i in range(40)}
    for seed, name in enumerate("ab"):
        tensors = values(short("sd1"), torch.float32, seed) | big
        write_safetensors(tmp_path / f"{name}.safetensors", tensors, {})
    out = tmp_path / "o.safetensors"
    out.write_bytes(b"old")
    command = [
        sys.executable,
        "-m",
        "triptych",
        "merge",
        "a.safetensors",
        "b.safetensors",
        "--out",
        out.name,
        "--overwrite",
    ]
    running = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "TRIPTYCH_CACHE": str(tmp_path / "cache")})
    ends = time.monotonic() + 120
    while not any(path.stat().st_size > 1_000_000 for path in tmp_path.glob(".*.tmp")):
        assert running.poll() is None and time.monotonic() < ends
        time.sleep(0.002)
    running.kill()
    running.wait()
    assert out.read_bytes() == b"old"
