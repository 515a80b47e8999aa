"""What people who train expect of `train`: a file of options, samples, kept files, events, and the same again."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from tests.test_stopping import ctrl_c
from tests.worlds import call, examples, gap, learned, settings, trial, typed
from triptych.app.remarks import remarks_on, schedule_remark
from triptych.app.repeating import ATTACHED, CLASS_PICTURES, HASHES, Before
from triptych.base import Base
from triptych.cli.configured import write_config
from triptych.errors import TriptychError
from triptych.exchange.artifact import Part
from triptych.exchange.formats import open_artifact
from triptych.exchange.saving import save
from triptych.settings import line
from triptych.training.fit import fit

FAST = ("--precision", "fp32", "-s", "batch=1", "-s", "lr=1e-3")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "cat.safetensors"


@pytest.mark.slow
def test_a_training_is_repeated_from_its_toml(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path, random_base: Path, out: Path
) -> None:
    words = typed(random_base, "train", "lora", folder, *FAST, "--steps", "3", "--seed", "5", "--out", out)
    assert call(monkeypatch, *words, "--class", "hound") == 0
    first, config = open_artifact(out), out.with_suffix(".toml")
    said = tomllib.loads(config.read_text())
    assert (said["method"], said["seed"], said["class"]) == ("lora", 5, "hound")
    assert (said["settings"]["steps"], said["settings"]["batch"], said["settings"]["rank"]) == (3, 1, 8)
    assert call(monkeypatch, "train", "--config", config, "--overwrite") == 0
    assert gap(open_artifact(out).tensors, first.tensors) == 0
    other = out.with_name("other.safetensors")
    config.write_text(config.read_text().replace("[settings]", "steps = 9\n[settings]"))
    more = ("-s", "rank=2", "-s", "steps=2", "--seed", "5")
    assert call(monkeypatch, "train", "--config", config, "--out", other, *more) == 0
    assert open_artifact(other).settings.steps == 2, "what is typed goes before what the file says"
    assert (open_artifact(other).settings.rank, open_artifact(other).settings.batch) == (2, 1)
    capsys.readouterr()
    for text, why in {
        "rnak = 3": "unknown entry 'rnak'", "seed = ": "cannot read", "settings = 3": "must be a table",
        "[settings]\nrnak = 3": "no setting 'rnak'; did you mean 'rank'",
    }.items():  # fmt: skip
        config.write_text(text)
        assert call(monkeypatch, *words, "--config", config, "--overwrite") == 2
        assert why in capsys.readouterr().err


@pytest.mark.slow
def test_a_training_is_repeated_from_its_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path, random_base: Path, out: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    words = typed(random_base, "train", "lora", folder, *FAST, "--steps", "3", "--seed", "5", "--out", out)
    assert call(monkeypatch, *words, "--class", "hound", "-s", "identifier=sks") == 0
    again, base = tmp_path / "again.safetensors", random_base / "base"
    words = ["train", "--again", out, folder, "--out", again, "--base", base, "--precision", "fp32"]
    assert call(monkeypatch, *words) == 0
    assert "not as in" not in capsys.readouterr().err
    assert gap(open_artifact(out).tensors, open_artifact(again).tensors) == 0
    assert open_artifact(again).provenance["says"] == "sks hound"
    few = tmp_path / "few-hounds"
    few.mkdir()
    for path in sorted(folder.glob("*.png"))[:4]:
        (few / path.name).write_bytes(path.read_bytes())
    words[3] = few
    assert call(monkeypatch, *words, "--overwrite") == 0
    assert "not as in the training of cat.safetensors: the pictures" in capsys.readouterr().err
    assert tomllib.loads(again.with_suffix(".toml").read_text())["class"] == "hound"
    assert call(monkeypatch, "train", "--again", out, "--out", again) == 2
    assert "FOLDER is missing" in capsys.readouterr().err
    assert call(monkeypatch, "train", "hypernetwork", folder, "--again", out, "--out", tmp_path / "b.safetensors") == 2
    assert "is a lora, not a hypernetwork" in capsys.readouterr().err


@pytest.mark.slow
def test_a_training_is_repeated_with_the_settings_as_they_were_given(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path, random_base: Path, out: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    below = tmp_path / "below.safetensors"
    assert call(monkeypatch, *typed(random_base, "train", "lora", folder, *FAST, "--steps", "2"), "--out", below) == 0
    words = typed(random_base, "train", "lora", folder, *FAST, "--steps", "2", "-s", "rslora=yes", "-s", "rank=4")
    assert call(monkeypatch, *words, "--out", out, "--on", f"{below}:0.5") == 0
    once, settings = tmp_path / "once.safetensors", Before.of(out).settings
    assert (settings["alpha"], settings["rslora"], settings["rank"]) == (8.0, True, 4)
    for to in ("triptych", "kohya-lora"):  # a converted file states the same training
        assert call(monkeypatch, "convert", out, "--to", to, "--out", once, "--overwrite") == 0
        assert Before.of(once).settings == settings
        assert gap(open_artifact(once).tensors, open_artifact(out).tensors) == 0
    words = typed(random_base, "train", "--again", once, folder, "--precision", "fp32")
    capsys.readouterr()
    same = tmp_path / "same.safetensors"
    assert call(monkeypatch, *words, "--out", same, "--on", f"{below}:0.5") == 0
    assert "not as in" not in capsys.readouterr().err
    assert gap(open_artifact(same).tensors, open_artifact(out).tensors) == 0
    assert call(monkeypatch, *words, "--out", tmp_path / "bare.safetensors") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "once.safetensors: the attached files, since it was trained with below.safetensors:0.5 (SHA-256 " in said


def test_a_config_holds_zeros_and_empty_words(tmp_path: Path) -> None:
    app = typer.Typer(add_completion=False)

    @app.command()
    def work(context: typer.Context, keep_tags: int = 1, masks: bool = False) -> None:
        write_config(context, {"identifier": "", "text_lr": 0.0}, tmp_path / "out.toml")

    assert CliRunner().invoke(app, ["--keep-tags", "0"]).exit_code == 0
    said = tomllib.loads((tmp_path / "out.toml").read_text())
    assert said == {"keep_tags": 0, "settings": {"identifier": "", "text_lr": 0.0}}


def test_steps_are_given_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    words = ("train", "lora", folder, "--out", "x.safetensors", "--steps", "3", "-s", "steps=4")
    assert call(monkeypatch, *words) == 2
    assert "--steps 3 and -s steps=4 are one setting" in " ".join(capsys.readouterr().err.split())


def test_remarks_on_settings(base: Base) -> None:
    fox = settings("textual-inversion", token="<fox>")
    found = remarks_on(base, "textual-inversion", {"token": "<owl>", "steps": 6}, fox, "dog", examples(3))
    assert found == ["textual-inversion: token is <fox>, from the words for the concept, and not <owl>"]
    (blind,) = remarks_on(base, "hypernetwork", {}, settings("hypernetwork", fixed_every=0), "dog", examples(3))
    assert "rescue has nothing to see a collapse by" in blind
    assert not remarks_on(base, "hypernetwork", {}, settings("hypernetwork"), "dog", examples(3))
    idle = settings("lora", power=2.0, algorithm="ia3", rank=4)
    found = remarks_on(base, "lora", {"power": 2.0, "algorithm": "ia3", "rank": 4}, idle, "dog", examples(3))
    assert found == ["lora: power does nothing with schedule cosine", "lora: rank does nothing with algorithm ia3"]
    came = settings("lora", optimizer="came", lr=3e-3)
    (large,) = remarks_on(base, "lora", {"optimizer": "came"}, came, "dog", examples(3))
    assert large == "lr 0.003 is one for adamw; came wants a third to a tenth of it: give lr"
    assert not remarks_on(base, "lora", {"optimizer": "came", "lr": 3e-3}, came, "dog", examples(3))
    assert not remarks_on(base, "lora", {}, came, "dog", examples(3)), "both are the base's own"
    slow = settings("lora", steps=4, warmup=20, lr=1e-3)
    (low,) = remarks_on(base, "lora", {"warmup": 20}, slow, "dog", examples(3))
    assert low == (
        "lora: the learning rate rises to 8.54e-05 at most, not to lr 0.001: warmup 20 and decay 0 are long for 4 steps"
    )
    assert "ends at pure noise" in schedule_remark("lora", settings("lora", zero_snr=True))
    assert not schedule_remark("lora", settings("lora"))


def test_the_line_of_settings_shows_what_differs_from_the_bases_own() -> None:
    assert "text_lr" not in line("lora", settings("lora"))
    assert "text_lr 0.0" in line("lora", settings("lora"), {"text_lr": 1e-5})
    assert "no identifier" in line("dreambooth", settings("dreambooth", identifier=""))


@pytest.mark.slow
def test_options_of_steps_are_said_not_to_be_used_where_there_are_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path, random_base: Path, out: Path
) -> None:
    words = typed(random_base, "train", "lora", folder, *FAST, "--steps", "2", "--out", out)
    assert call(monkeypatch, *words, "--sample-prompt", "a {}") == 0
    assert "nothing is sampled" in capsys.readouterr().err
    words = typed(random_base, "train", "aesthetic-gradients", folder, "--out", out, "--overwrite", "--memory", "9GB")
    assert call(monkeypatch, *words, "--sample-every", "5") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "aesthetic-gradients has no training steps, so what is asked of them is not used: samples, memory" in said


@pytest.mark.parametrize("value", [4.7, [4], {"a": 1}, float("inf")])
def test_a_setting_of_the_wrong_type_is_a_sentence(value: Any) -> None:
    with pytest.raises(TriptychError, match="rank must be a whole number"):
        settings("lora", rank=value)
    with pytest.raises(TriptychError, match="blocks must be a text"):
        settings("lora", blocks=[value])


def test_differences_name_what_was_given_besides_the_pictures() -> None:
    origin = {"pictures": "1", "base_fingerprint": "2", "resolution": "3", "precision": "4"}
    before = Before(Path("a.safetensors"), "dreambooth", {}, 0, [{}], origin)
    assert before.differences(origin) == []
    [attached] = before.differences({**origin, ATTACHED: "b:1", HASHES: "ab"})
    assert "the attached files, since it was trained with nothing" in attached
    [own] = replace(before, origin={**origin, CLASS_PICTURES: "5"}).differences(origin)
    assert "the pictures of the class, which were the user's own" in own
    older = replace(before, origin={**origin, ATTACHED: "b:1"})
    assert older.differences({**origin, ATTACHED: "b:1", HASHES: "ab"}) == []
    newer = replace(before, origin={**origin, ATTACHED: "b:1", HASHES: "cd"})
    assert len(newer.differences({**origin, ATTACHED: "b:1", HASHES: "ab"})) == 1


@pytest.mark.slow
def test_samples_and_kept_files(
    monkeypatch: pytest.MonkeyPatch, folder: Path, random_base: Path, out: Path, tmp_path: Path
) -> None:
    word = ("textual-inversion", folder, *FAST, "--steps", "5", "--keep-every", "2", "--sample-every", "2")
    words = typed(random_base, "train", *word, "--out", out, "--sample-prompt", "a {} in the sun")
    assert call(monkeypatch, *words) == 0
    samples = out.with_name("cat-samples")
    assert sorted(path.name for path in samples.iterdir()) == [
        f"{done:06}-{i:02}.png" for done in (0, 2, 4) for i in (0, 1)
    ]  # fmt: skip
    asked = [json.loads(Image.open(samples / f"000004-{i:02}.png").text["triptych"])["prompt"] for i in (0, 1)]
    assert asked == ["a <concept> in the sun", "a dog in the sun"], "with the word and without"
    pictures = [(samples / f"{done:06}-{i:02}.png").read_bytes() for done in (0, 4) for i in (0, 1)]
    with_word = [Image.open(samples / f"{done:06}-00.png").tobytes() for done in (0, 4)]
    without = [Image.open(samples / f"{done:06}-01.png").tobytes() for done in (0, 4)]
    assert with_word[0] != with_word[1], "the word changes"
    assert without[0] == without[1], "and the class word does not"
    assert len(set(pictures)) > 2
    kept = sorted(path.name for path in out.parent.glob("cat-0*.safetensors"))
    assert kept == ["cat-000002.safetensors", "cat-000004.safetensors"]
    plain = tmp_path / "plain" / "cat.safetensors"
    words = typed(random_base, "train", *word[:2], *FAST, "--steps", "5", "--out", plain)
    assert call(monkeypatch, *words) == 0
    assert gap(open_artifact(plain).tensors, open_artifact(out).tensors) == 0, "looking changes nothing"
    assert gap(open_artifact(out).tensors, open_artifact(out.with_name(kept[1])).tensors) > 0


@pytest.mark.slow
def test_events_for_tensorboard(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path, random_base: Path, out: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    words = typed(random_base, "train", "lora", folder, *FAST, "--steps", "3", "--out", out, "--sample-every", "3")
    words += ["--tensorboard", str(tmp_path / "events"), "-s", "fixed_every=1"]
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError:
        assert call(monkeypatch, *words) == 2
        assert "need the package tensorboard" in capsys.readouterr().err
        return
    assert call(monkeypatch, *words) == 0
    read = EventAccumulator(str(tmp_path / "events"))
    read.Reload()
    assert {"loss", "learning rate", "fixed-batch loss"} <= set(read.Tags()["scalars"])
    assert [event.step for event in read.Scalars("loss")] == [1, 2, 3]
    assert len(read.Tags()["images"]) == 1


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "textual-inversion", "hypernetwork", "dreambooth"])
@pytest.mark.parametrize("attached", ["lora", "dreambooth"])
def test_training_on_an_attached_artifact(base: Base, method: str, attached: str, tmp_path: Path) -> None:
    below = learned(base, trial(attached, seed=7, **({"lr": 0.05} if attached == "lora" else {})))
    plain = fit(base, [trial(method)])[0]
    on = fit(base, [trial(method)], on=[Part(below)])[0]
    assert gap(plain.tensors, on.tensors) > 1e-6
    nothing = fit(base, [trial(method)], on=[Part(below, 0.0)])[0]
    assert gap(plain.tensors, nothing.tensors) < 1e-6
    with below.apply(base):
        beside = fit(base, [trial(method)])[0] if method != "dreambooth" else on
    assert gap(beside.tensors, on.tensors) < 1e-6
    save(below, tmp_path / "below.safetensors")


@pytest.mark.slow
def test_a_stopped_training_goes_on_on_the_same_file_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path, random_base: Path, out: Path,
    base: Base, tmp_path: Path, interruptible: None,
) -> None:  # fmt: skip
    words = typed(random_base, "train", "lora", folder, *FAST, "--steps", "3")
    assert call(monkeypatch, *words, "--out", tmp_path / "below.safetensors") == 0
    words += ["--out", str(out), "--on", f"{tmp_path / 'below.safetensors'}:0.5"]
    from triptych.app import train

    with monkeypatch.context() as patch:
        patch.setattr(train, "steps_of", lambda progress: ctrl_c(1))
        assert call(monkeypatch, *words) == 130
    assert call(monkeypatch, *words[:-2], "--resume") == 2
    assert "attached files was" in capsys.readouterr().err
    assert call(monkeypatch, *words, "--resume") == 0
    assert open_artifact(out).provenance["trained_on"] == "below.safetensors:0.5"


def test_moments_are_of_every_step(base: Base) -> None:
    seen: list[tuple[int, int, Any]] = []

    def watch(moment: Any) -> None:
        seen.append((moment.done, len(moment.active), moment.tensors("b")))

    fitted = fit(base, [trial("lora", "a", steps=2), trial("lora", "b", 2, steps=4)], watch=watch)
    assert [(done, active) for done, active, _ in seen] == [(0, 2), (1, 2), (2, 2), (3, 1), (4, 1)]
    assert gap(seen[-1][2], fitted[1].tensors) == 0
    assert all(torch.count_nonzero(t) == 0 for name, t in seen[0][2].items() if "lora_B" in name)
