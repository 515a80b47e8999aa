"""Several concepts in one file: each with its own words, its own class pictures, and its share of the training."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.test_layouts import filled
from tests.worlds import call, gap, trial, typed
from triptych.app.train import TrainRequest, train_file
from triptych.base import Place, tiny_base
from triptych.data.concepts import of_classes, open_concepts
from triptych.data.examples import Batch
from triptych.errors import TriptychError
from triptych.exchange.formats import open_artifact
from triptych.exchange.inspection import inspect
from triptych.study.progress import Silent
from triptych.training import job
from triptych.training.draws import draw
from triptych.training.fit import NamedExamples, fit


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """kohya's folders of two concepts of different classes, and pictures of both classes."""
    root = tmp_path / "pets"
    filled(root / "img" / "10_sks cat", 3, 0)
    filled(root / "img" / "5_ohwx dog", 4, 10)
    (root / "img" / "10_sks cat" / "0.txt").write_text("sks cat on a sofa")
    (root / "img" / "5_ohwx dog" / "10.txt").write_text("a photo of ohwx dog")
    filled(root / "reg" / "1_cat", 3, 20)
    filled(root / "reg" / "1_dog", 3, 30)
    return root


class Noted(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, line: str) -> None:
        self.said.append(line)


def trained(
    monkeypatch: pytest.MonkeyPatch, method: str, places: Sequence[Path], out: Path, steps: int = 5, **words: Any
) -> tuple[list[Batch], Noted]:
    """The rows of each step of a training, and what it said."""
    concepts, rows, noted = open_concepts(places, **words), list[Batch](), Noted()
    monkeypatch.setattr(job, "draw", lambda *args: rows.append(draw(*args)) or rows[-1])
    given = {} if method.startswith("aesthetic") else {"steps": steps, "batch": 2}
    given |= {"prior_pictures": 3} if method.startswith("dreambooth") else {}
    theirs = of_classes(concepts, None) if method.startswith("dreambooth") else ()
    request = TrainRequest(method, concepts[0], Place("tiny"), given, more=concepts[1:], class_pictures=theirs)
    train_file(request, out, noted, opened=lambda place: tiny_base())
    return rows, noted


def test_folders_of_other_words_are_other_concepts(pets: Path) -> None:
    for place in (pets, pets / "img"):
        cat, dog = open_concepts([place])
        assert (cat.token, cat.class_word, cat.name) == ("sks", "cat", "10_sks cat")
        assert (dog.token, dog.class_word, dog.name) == ("ohwx", "dog", "5_ohwx dog")
        assert {picture.repeats for picture in cat.pictures} == {2}
        assert {picture.repeats for picture in dog.pictures} == {1}
        assert (cat.class_folder, dog.class_folder) == (pets / "reg/1_cat", pets / "reg/1_dog")
        assert cat.notes == dog.notes == ()
    given = open_concepts([pets / "img/10_sks cat", pets / "img/5_ohwx dog"])
    assert [(one.token, one.digest) for one in given] == [(cat.token, cat.digest), (dog.token, dog.digest)]
    (one,) = open_concepts([pets], class_words=["pet"], tokens=["zwx"])
    assert (len(one.pictures), one.class_word, one.token) == (7, "pet", "zwx")


def test_a_list_names_several_concepts(pets: Path) -> None:
    (pets / "set.toml").write_text(
        """[[datasets]]\n[[datasets.subsets]]\nimage_dir = "img/10_sks cat"\nclass_tokens = "sks cat"\nnum_repeats = 3
[[datasets.subsets]]\nimage_dir = "img/5_ohwx dog"\nclass_tokens = "ohwx dog"\nnum_repeats = 2
[[datasets.subsets]]\nimage_dir = "reg/1_dog"\nclass_tokens = "dog"\nis_reg = true
[[datasets.subsets]]\nimage_dir = "reg/1_cat"\nis_reg = true\n"""
    )
    cat, dog = open_concepts([pets / "set.toml"])
    assert [{picture.repeats for picture in one.pictures} for one in (cat, dog)] == [{3}, {2}]
    assert (cat.class_folder, dog.class_folder) == (None, pets / "reg/1_dog")
    assert [note.path.name for note in cat.notes] == ["1_cat"]
    assert "does not say of which of the classes" in cat.notes[0].reason


def test_words_are_given_for_each_folder_or_for_all(pets: Path) -> None:
    places = [pets / "img/10_sks cat", pets / "img/5_ohwx dog"]
    opened = open_concepts(places, class_words=["pet"], tokens=["a", "b"])
    assert [(one.token, one.class_word) for one in opened] == [("a", "pet"), ("b", "pet")]
    with pytest.raises(TriptychError, match="3 tokens for 2 folders"):
        open_concepts(places, tokens=["a", "b", "c"])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "dreambooth", "dreambooth-lora"])
def test_each_concept_is_learned_by_its_own_word(
    method: str, pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "pets.safetensors"
    rows, noted = trained(monkeypatch, method, [pets], out)
    own = Counter(
        (example.name, prompt)
        for batch in rows
        for example, prompt in list(zip(batch.examples, batch.prompts, strict=True))[:2]
    )
    assert own[("0.png", "sks cat on a sofa")] == 2  # an epoch: the cat's pictures twice, the dog's once
    assert own[("10.png", "a photo of ohwx dog")] == 1
    words = {name: prompt.removeprefix("a ").removeprefix("photo of ") for name, prompt in own if len(name) == 6}
    assert words == dict.fromkeys(("10.png", "11.png", "12.png", "13.png"), "ohwx dog")
    assert sum(own.values()) == 10
    assert "10_sks cat: learned as 'sks cat', 6 of 10 examples" in noted.said
    assert inspect(out).triggers == ("sks cat, ohwx dog",)


@pytest.mark.slow
def test_every_class_has_pictures_of_its_own(pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, _ = trained(monkeypatch, "dreambooth", [pets], tmp_path / "a.safetensors", steps=15)
    theirs = Counter(
        (example.name, prompt.split()[-1])
        for batch in rows
        for example, prompt in list(zip(batch.examples, batch.prompts, strict=True))[2:]
    )  # the cat's pictures are 6 of 10 examples, and so are those of its class
    assert theirs == {(f"{i}.png", "cat"): 6 for i in (20, 21, 22)} | {(f"{i}.png", "dog"): 4 for i in (30, 31, 32)}
    (pets / "reg").rename(pets / "other")
    rows, _ = trained(monkeypatch, "dreambooth", [pets], tmp_path / "b.safetensors", steps=6)
    drawn = Counter(prompt for batch in rows for prompt in batch.prompts[2:])  # three of the base's for each class
    assert {prompt.split()[-1] for prompt in drawn} == {"cat", "sofa", "dog"}
    (pets / "reg").mkdir()
    (pets / "other/1_cat").rename(pets / "reg/1_cat")
    _, noted = trained(monkeypatch, "dreambooth", [pets], tmp_path / "c.safetensors", steps=1)
    assert "5_ohwx dog: pictures of the class are the base's own" in noted.said
    (pets / "reg/1_cat").rename(pets / "other/1_cat")
    assert of_classes(open_concepts([pets]), pets / "other")[1].class_word == "dog"
    with pytest.raises(TriptychError, match="does not say which of cat, dog"):
        of_classes(open_concepts([pets]), filled(tmp_path / "both", 3, 40))


def test_what_cannot_learn_several_is_said(pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "a.safetensors"
    refused = {
        "textual-inversion": "holds one word", "aesthetic-gradients": "one mean over",
        "pivotal": "one learned word", "custom-diffusion": "one learned word",
    }  # fmt: skip
    for method, why in refused.items():
        with pytest.raises(TriptychError, match=f"{method} learns one concept at a time.*{why}"):
            trained(monkeypatch, method, [pets], out)
    with pytest.raises(TriptychError, match="would call both 10_sks cat and 5_ohwx dog 'zwx pet'"):
        places = [pets / "img/10_sks cat", pets / "img/5_ohwx dog"]
        trained(monkeypatch, "lora", places, out, class_words=["pet"], tokens=["zwx"])
    _, noted = trained(monkeypatch, "hypernetwork", [pets], out)
    assert "5_ohwx dog: learned as 'dog', 4 of 10 examples" in noted.said


def test_a_word_that_is_not_learned_is_said(pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (pets / "img/5_ohwx dog").rename(pets / "dog")
    _, noted = trained(monkeypatch, "lora", [pets], tmp_path / "a.safetensors", steps=1)
    said = "lora calls the concept 'cat': the word 'sks' is not learned; it is with the setting identifier=sks"
    assert said in noted.said


@pytest.mark.slow
def test_a_further_concept_changes_what_is_learned() -> None:
    base, one = tiny_base(), trial("lora")
    other = trial("lora", seed=2)
    more = NamedExamples(other.settings, other.examples, "cat")
    alone, both = (fit(base, [type(one)(*_fields(one), more=own)])[0] for own in ((), (more,)))
    assert gap(alone.tensors, fit(base, [one])[0].tensors) == 0 < gap(alone.tensors, both.tensors)


def _fields(one: Any) -> list[Any]:
    return [one.method, one.settings, one.examples, one.class_word, one.seed, one.owner, one.held_out]


@pytest.mark.slow
def test_folders_of_the_command_line_and_again(
    random_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cat, dog = filled(tmp_path / "tom-cat", 3, 0), filled(tmp_path / "dog", 4, 10)
    out, again = tmp_path / "pets.safetensors", tmp_path / "again.safetensors"
    fast = ("--precision", "fp32", "-s", "batch=2", "--steps", "2")
    words = typed(random_base, "train", "lora", cat, dog, *fast, "--token", "sks,ohwx", "--out", out)
    assert call(monkeypatch, *words, "--sample-every", "2", "--json") == 0
    assert json.loads(capsys.readouterr().out)["says"] == "sks cat, ohwx dog"
    samples = [path.name for path in (tmp_path / "pets-samples").iterdir()]
    assert len(samples) == 2 * 4  # at steps 0 and 2: both words and both class words
    assert call(monkeypatch, "train", "--config", out.with_suffix(".toml"), "--out", again) == 0
    assert gap(open_artifact(out).tensors, open_artifact(again).tensors) == 0
    words = typed(random_base, "train", cat, dog, "--again", out, "--precision", "fp32", "--out", again)
    capsys.readouterr()
    assert call(monkeypatch, *words, "--overwrite") == 0
    assert "not as in" not in capsys.readouterr().err
    assert gap(open_artifact(out).tensors, open_artifact(again).tensors) == 0
    assert call(monkeypatch, "inspect", out) == 0
    assert "sks cat, ohwx dog" in capsys.readouterr().out
