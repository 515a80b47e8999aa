"""LoRAs in a checkpoint and out again, another autoencoder baked in, and the commands as they are typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.originals import small_checkpoint, small_configurations, small_shapes, values
from tests.plain import call
from tests.worlds import look, trial
from triptych.base import Place
from triptych.dilution.plan import DilutionPlan, Source, only
from triptych.dilution.whole import as_differences
from triptych.errors import TriptychError
from triptych.exchange.artifact import Artifact
from triptych.exchange.formats import open_artifact
from triptych.exchange.inspection import inspect
from triptych.exchange.saving import save
from triptych.families import Family
from triptych.mixing.merge import merge
from triptych.mixing.request import Ingredient, Mix
from triptych.training.fit import fit

UNET = "model.diffusion_model."
KEY = "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
LAYER = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
CONVOLUTION = "lora_unet_down_blocks_0_resnets_0_conv1"


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small checkpoint of Stable Diffusion 1, and a family whose configurations are as small."""
    folder = small_configurations(tmp_path / "parts", "sd1")
    monkeypatch.setattr(Family, "configurations", property(lambda family: folder))
    path = tmp_path / "base.safetensors"
    small_checkpoint(path, "sd1", torch.float32, {"modelspec.prediction_type": "epsilon"})
    return path


def lora(path: Path, seed: int) -> dict[str, torch.Tensor]:
    shapes, random = small_shapes("sd1"), torch.Generator().manual_seed(seed)
    out, width = shapes[UNET + KEY]
    wide = shapes[f"{UNET}input_blocks.1.0.in_layers.2.weight"]
    tensors = {
        f"{LAYER}.lora_down.weight": torch.randn(2, width, generator=random),
        f"{LAYER}.lora_up.weight": torch.randn(out, 2, generator=random), f"{LAYER}.alpha": torch.tensor(1.0),
        f"{CONVOLUTION}.lora_down.weight": torch.randn(2, *wide[1:], generator=random),
        f"{CONVOLUTION}.lora_up.weight": torch.randn(wide[0], 2, 1, 1, generator=random),
        f"{CONVOLUTION}.alpha": torch.tensor(2.0),
    }  # fmt: skip
    save_file(tensors, path, {"ss_base_model_version": "sd_v1"})
    return tensors


@pytest.mark.slow
def test_a_lora_goes_into_a_checkpoint_and_comes_out_again(small: Path, tmp_path: Path) -> None:
    given, out = lora(tmp_path / "l.safetensors", 1), tmp_path / "o.safetensors"
    files = (Ingredient(small), Ingredient(tmp_path / "l.safetensors", 0.5))
    merge(Mix(files), out)
    before, after = load_file(small), load_file(out)
    change = 0.5 * 0.5 * given[f"{LAYER}.lora_up.weight"] @ given[f"{LAYER}.lora_down.weight"]
    assert torch.allclose(after[UNET + KEY], before[UNET + KEY] + change, atol=1e-6)
    touched = {key for key in before if not torch.equal(before[key], after[key])}
    assert touched == {UNET + KEY, f"{UNET}input_blocks.1.0.in_layers.2.weight"}
    taken = merge(Mix((Ingredient(out),), "extract", str(small), rank=2), tmp_path / "back.safetensors")
    assert taken.notes[0].startswith("a LoRA of rank 2 keeps 100.0% of the energy of the difference of o.safetensors")
    back = open_artifact(tmp_path / "back.safetensors").tensors
    name = f"unet.{LAYER.removeprefix('lora_unet_')}"
    found = {key.replace(".", "_"): tensor for key, tensor in back.items()}
    stem = name.replace(".", "_")
    assert torch.allclose(found[f"{stem}_lora_B_weight"] @ found[f"{stem}_lora_A_weight"], change, atol=1e-4)
    assert len(back) == 4


@pytest.mark.slow
def test_checkpoints_are_measured_by_their_differences(small: Path, tmp_path: Path) -> None:
    """Attached, a difference gives the checkpoint; their average is the difference of the average."""
    paths = [tmp_path / f"{name}.safetensors" for name in "ab"]
    shapes = {key: shape for key, shape in small_shapes("sd1").items() if not key.startswith("first_stage_model.")}
    for seed, path in enumerate(paths):
        change = {key: 0.05 * tensor for key, tensor in values(shapes, torch.float32, seed).items()}
        own = {key: t + change.get(key, 0) if t.is_floating_point() else t for key, t in load_file(small).items()}
        save_file(own, path, {"modelspec.trigger_phrase": f"{path.stem}{path.stem}"})
    sources = tuple(Source(path, tmp_path) for path in paths)
    average = tmp_path / "average.safetensors"
    merge(Mix(tuple(Ingredient(path, 0.5) for path in paths)), average)
    place, folder, said = Place(str(small), precision="fp32"), tmp_path / "differences", list[str]()
    plan, (arm,) = as_differences(DilutionPlan(sources, place), [only([0.5, 0.5], average)], folder, said.append)
    assert said[0] == "a.safetensors is measured by its difference from base.safetensors, without its autoencoder"
    taken = [source.file for source in plan.sources]
    assert [file.stem for file in taken] == ["a", "b"] and inspect(taken[0]).triggers == ("aa",)
    merge(Mix(tuple(Ingredient(file, 0.5) for file in taken)), tmp_path / "mixed.safetensors")
    base = place.open()
    plain = look(base)
    for file, checkpoint in (*zip(taken, paths, strict=True), (*arm.files, average)):
        whole = look(Place(str(checkpoint), precision="fp32").open())
        with open_artifact(file).apply(base):
            assert torch.allclose(look(base), whole, atol=2e-3) and not torch.allclose(whole, plain, atol=2e-2)
    with open_artifact(tmp_path / "mixed.safetensors").apply(base):
        assert torch.allclose(look(base), whole, atol=2e-3)
    before = taken[0].stat().st_mtime_ns
    assert as_differences(plan, [], folder, said.append)[0] == plan  # differences stay as they are
    assert (
        as_differences(DilutionPlan(sources, place), [], folder, said.append)[0] == plan
        and taken[0].stat().st_mtime_ns == before
    )
    with pytest.raises(TriptychError, match="both have the same weights"):
        merge(Mix((Ingredient(small),), "difference", str(small)), tmp_path / "none.safetensors")


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize("name", ["custom-diffusion", "layernorm", "svdiff"])
def test_relatives_of_lora_that_are_trained_go_into_a_checkpoint(small: Path, name: str, tmp_path: Path) -> None:
    base, path = Place(str(small), precision="fp32").open(), tmp_path / "change.safetensors"
    one = trial(name, **({} if name == "layernorm" else {"prior_weight": 0.0}))  # no pictures of the class are sampled
    artifact = Artifact.trained(name, one.settings, fit(base, [one])[0].tensors, {})
    save(artifact, path)
    made = merge(Mix((Ingredient(small), Ingredient(path))), tmp_path / "whole.safetensors")
    assert ("for which a checkpoint has no place" in " ".join(made.notes)) == (name == "custom-diffusion")
    with open_artifact(path).apply(base):
        ours = look(base)
    assert not torch.allclose(look(base), ours, atol=1e-3)
    whole = Place(str(tmp_path / "whole.safetensors"), precision="fp32").open()
    assert torch.allclose(look(whole), ours, atol=1e-4)


@pytest.mark.slow
def test_another_autoencoder_is_baked_in(small: Path, tmp_path: Path) -> None:
    shapes = {k: s for k, s in small_shapes("sd1").items() if k.startswith("first_stage_model.")}
    vae = {key.removeprefix("first_stage_model."): t for key, t in values(shapes, torch.float32, 9).items()}
    save_file(vae, tmp_path / "vae.safetensors")
    other = tmp_path / "other.safetensors"
    save_file(values(small_shapes("sd1"), torch.float32, 4), other)
    lora(tmp_path / "l.safetensors", 1)
    for name, more in (("o", [other]), ("p", [tmp_path / "l.safetensors"]), ("alone", [])):
        out = tmp_path / f"{name}.safetensors"
        merge(Mix(tuple(map(Ingredient, (small, *more))), vae=str(tmp_path / "vae.safetensors")), out)
        found = load_file(out)
        assert all(torch.equal(found[f"first_stage_model.{key}"], tensor) for key, tensor in vae.items())


def test_a_checkpoint_is_added_to_at_its_whole_weight(small: Path, tmp_path: Path) -> None:
    lora(tmp_path / "l.safetensors", 1)
    mix = Mix((Ingredient(small, 0.5), Ingredient(tmp_path / "l.safetensors")))
    with pytest.raises(TriptychError, match=r"its weight is 1, not 0\.5"):
        merge(mix, tmp_path / "o.safetensors")
    alone = Mix((Ingredient(small),), "extract")
    with pytest.raises(TriptychError, match="another base"):
        merge(alone, tmp_path / "o.safetensors")


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    return lambda *words: call(monkeypatch, *map(str, words))


@pytest.mark.slow
def test_the_command(typed: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, name in enumerate("ab"):
        lora(tmp_path / f"{name}.safetensors", seed)
    a, b, out = tmp_path / "a.safetensors", tmp_path / "b.safetensors", tmp_path / "o.safetensors"
    assert typed("merge", f"{a}:0.6", f"{b}:0.4", "--out", out, "--rank", 2, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["kind"] == "lora" and any("keeps" in note for note in said["notes"])
    assert typed("inspect", out) == 0
    shown = capsys.readouterr().out
    assert "mixed      weighted-sum, rank 2" in shown and "of         a.safetensors x 0.6, sha256" in shown
    assert typed("merge", "--recipe", out, "--out", tmp_path / "again.safetensors") == 0
    assert (tmp_path / "again.safetensors").is_file()
    one, other = load_file(out), load_file(tmp_path / "again.safetensors")
    assert all(torch.equal(one[key], other[key]) for key in one)
    capsys.readouterr()
    assert typed("merge", a, b, "--foretell") == 0
    assert "of the energy of a.safetensors lies in the columns that b.safetensors changes" in capsys.readouterr().out
    assert typed("merge", a, b, "--foretell", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)) == 2
    for words, sentence in (
        (("merge", a, b, "--out", tmp_path / "n.safetensors", "--measure", tmp_path), "once for each of the 2 files"),
        (("merge", a, b, "--out", out), "exists already; give another --out, or replace it with --overwrite"),
        (("merge", f"{a}:much", b, "--out", out, "--overwrite"), "FILE:WEIGHT"),
        (("merge", a, b), "--out FILE"),
        (("merge", a, b, "--foretell", "--search"), "--search is not used here, since --foretell writes nothing"),
        (("merge", a, b, "--foretell", "--prompts", 4), "--prompts is not used here, since nothing is measured"),
        (
            ("merge", a, b, "--out", tmp_path / "n.safetensors", "--trials", 4),
            "--trials is not used here, since nothing",
        ),
        (("merge", a, b, "--out", tmp_path / "n.safetensors", "--prompts", 4), "--prompts is not used here, since"),
        (("merge", a, b, "--out", tmp_path / "n.safetensors", "--search"), "give --measure FOLDER once for each file"),
        (
            ("merge", a, "--rank", 2, "--out", tmp_path / "n.safetensors", "--measure", tmp_path),
            "dilution needs two or more files",
        ),
        (("merge", tmp_path / "c.safetensors", b, "--out", tmp_path / "n.safetensors"), "there is no file"),
    ):
        assert typed(*words) == 2
        assert sentence in capsys.readouterr().err
    assert not (tmp_path / "n.safetensors").exists()  # nothing is written before all is known to fit


@pytest.mark.slow
def test_what_of_checkpoints_is_not_measured(
    typed: Callable[..., int], small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lora(tmp_path / "l.safetensors", 1)
    out, folders = tmp_path / "o.safetensors", ("--measure", tmp_path, "--measure", tmp_path)
    for words, sentence in (
        (
            (small, small, "--search"),
            "a search mixes changes of weights: merge base.safetensors by the method `difference`",
        ),
        ((small, tmp_path / "l.safetensors"), "a mix is measured of files of one kind"),
    ):
        assert typed("merge", *words, *folders, "--out", out) == 2
        assert sentence in capsys.readouterr().err
    assert not out.exists()


def test_what_is_given_beside_a_recipe_holds(typed: Callable[..., int], tmp_path: Path) -> None:
    """Also where it is the usual value."""
    for seed, name in enumerate("ab"):
        lora(tmp_path / f"{name}.safetensors", seed)
    recipe, out = tmp_path / "merge.toml", tmp_path / "o.safetensors"
    files = "".join(f'[[ingredient]]\nfile = "{name}.safetensors"\nweight = 0\n' for name in "ab")
    recipe.write_text(f'rank = 1\nprecision = "fp61"\n{files}')
    assert typed("merge", "--recipe", recipe, "--out", out) == 2
    recipe.write_text(f'rank = 1\nprecision = "fp16"\n{files}')
    assert typed("merge", "--recipe", recipe, "--out", out, "--rank", 0, "--precision", "auto") == 0
    with safe_open(out, "pt") as file:
        whole = [len(file.get_tensor(key)) for key in file.keys() if key.endswith("lora_down.weight")]  # noqa: SIM118
        assert set(whole) == {4} and "fp16" not in str(file.metadata())
        mixed = {key: file.get_tensor(key) for key in file.keys() if "lora_up" in key}  # noqa: SIM118
    assert all(not tensor.any() for tensor in mixed.values())  # weights of 0 are weights
    assert typed("merge", "--recipe", recipe, "--out", out, "--overwrite") == 0
    assert {len(tensor) for key, tensor in load_file(out).items() if key.endswith("lora_down.weight")} == {1}
