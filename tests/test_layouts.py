"""Folders and lists of other trainers: which pictures are read, how often, and what is said of the rest."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest

from tests.test_folder import noise, said
from triptych.app.grid import for_each_concept, grid, names
from triptych.base import tiny_base
from triptych.data.concept import Concept
from triptych.data.concepts import open_concepts
from triptych.data.examples import Examples
from triptych.data.layouts import whole_repeats
from triptych.errors import TriptychError


def filled(place: Path, count: int, first: int) -> Path:
    place.mkdir(parents=True)
    for i in range(first, first + count):
        noise(i).save(place / f"{i}.png")
    return place


@pytest.fixture
def kohya(tmp_path: Path) -> Path:
    """The folders of kohya's window: img with two folders, and reg beside it."""
    root = tmp_path / "my training"
    filled(root / "img" / "30_ohwx cat", 3, 0)
    filled(root / "img" / "10_ohwx cat", 2, 10)
    filled(root / "reg" / "1_cat", 4, 20)
    (root / "img" / "30_ohwx cat" / "0.txt").write_text("ohwx cat on a sofa")
    (root / "model").mkdir()
    return root


def shown(concept: Concept) -> dict[str, int]:
    """How many examples of each picture reach a training."""
    examples = Examples.of(tiny_base(), concept, range(len(concept.pictures)))
    return dict(Counter(examples.names))


@pytest.mark.parametrize("inner", ["", "img"])
def test_nested_folders_of_kohya(kohya: Path, inner: str) -> None:
    opened = Concept.open(kohya / inner)
    assert (opened.class_word, opened.token) == ("cat", "ohwx")
    assert shown(opened) == {"30_ohwx cat/0.png": 3, "30_ohwx cat/1.png": 3, "30_ohwx cat/2.png": 3} | {
        f"10_ohwx cat/{i}.png": 1 for i in (10, 11)
    }
    assert opened.class_folder == kohya / "reg" / "1_cat"
    assert "{} on a sofa" in opened.templates("a {}")
    assert opened.notes == ()


def test_another_number_of_repeats_is_another_concept(kohya: Path) -> None:
    before = Concept.open(kohya).digest
    (kohya / "img" / "10_ohwx cat").rename(kohya / "img" / "15_ohwx cat")
    assert Concept.open(kohya).digest != before


def test_words_that_differ_are_other_concepts(kohya: Path) -> None:
    filled(kohya / "img" / "5_zwx dog", 3, 40)
    one = Concept.open(kohya, class_word="pet")
    assert "its words 'zwx dog' are not used: all pictures are of one concept, 'ohwx cat'" in said(one)
    with pytest.raises(TriptychError, match=r"shows 2 concepts \('ohwx cat', 'zwx dog'\), and one is taken here"):
        Concept.open(kohya)
    dog = Concept.open(kohya, only="zwx  dog")
    assert (dog.name, dog.token, dog.class_word, len(dog.pictures)) == ("5_zwx dog", "zwx", "dog", 3)
    assert Concept.open(kohya / "img" / "5_zwx dog").digest == dog.digest
    assert Concept.open(kohya, only="zwx dog", class_word="wolf").class_word == "wolf"
    with pytest.raises(TriptychError, match="no folders of the words 'zwx dogs'; did you mean 'zwx dog'"):
        Concept.open(kohya, only="zwx dogs")
    with pytest.raises(TriptychError, match="no folders of the words 'cat': it shows one concept"):
        Concept.open(kohya / "reg" / "1_cat", only="cat")


def test_repeats_are_the_smallest_whole_numbers_of_their_proportion() -> None:
    assert whole_repeats([Fraction(30), Fraction(20)]) == [3, 2]
    assert whole_repeats([Fraction(1), Fraction(4, 3)]) == [3, 4]
    assert whole_repeats([Fraction(7)]) == [1]


def test_a_sweep_has_a_job_for_each_concept(kohya: Path) -> None:
    filled(kohya / "img" / "5_zwx dog", 3, 40)
    jobs = grid([kohya], ["lora"], (), (0, 1))
    assert names(for_each_concept(jobs, {})) == [
        f"{words}_lora_seed={seed}" for seed in (0, 1) for words in ("ohwx_cat", "zwx_dog")
    ]
    assert names(for_each_concept(jobs, {"kind": "style", "class_word": "pet"})) == ["lora_seed=0", "lora_seed=1"]
    assert [job.only for job in for_each_concept(jobs[:1], {"only": "zwx dog"})] == ["zwx dog"]


def test_a_list_of_kohya(kohya: Path) -> None:
    path = kohya / "set.toml"
    path.write_text(
        """[general]\nshuffle_caption = true\nenable_bucket = false\n[[datasets]]\nresolution = 512
[[datasets.subsets]]
image_dir = "img/30_ohwx cat"\nnum_repeats = 4\nclass_tokens = "ohwx cat"\nflip_aug = true
[[datasets.subsets]]\nimage_dir = "img/10_ohwx cat"\nnum_repeats = 2
[[datasets.subsets]]\nimage_dir = "reg/1_cat"\nis_reg = true\n"""
    )
    opened = Concept.open(path)
    assert sorted(picture.repeats for picture in opened.pictures) == [1, 1, 2, 2, 2]
    assert (opened.class_word, opened.token, opened.class_folder) == ("cat", "ohwx", kohya / "reg/1_cat")
    assert "set.toml: not used of 30_ohwx cat: enable_bucket, flip_aug, resolution, shuffle_caption" in said(opened)


def test_a_list_of_ai_toolkit_and_of_onetrainer(kohya: Path) -> None:
    (kohya / "a.yaml").write_text(
        "config:\n  process:\n  - datasets:\n    - folder_path: img/30_ohwx cat\n      num_repeats: 2\n"
        "      cache_latents_to_disk: true\n    - folder_path: img/10_ohwx cat\n"
    )
    opened = Concept.open(kohya / "a.yaml", class_word="cat")
    assert sorted(picture.repeats for picture in opened.pictures) == [1, 1, 2, 2, 2]
    assert "cache_latents_to_disk" in said(opened)
    (kohya / "b.yaml").write_text(
        "config:\n  process:\n  - trigger_word: p3r5on\n    datasets:\n    - folder_path: img/30_ohwx cat\n"
        "      caption_ext: txt\n      default_caption: a cat\n"
    )
    (kohya / "img" / "30_ohwx cat" / "1.txt").write_text("[trigger] on a sofa")
    opened = Concept.open(kohya / "b.yaml")
    assert (opened.token, opened.class_word) == ("p3r5on", "cat")
    assert opened.pictures[1].caption == "p3r5on on a sofa" and opened.templates("")[1] == "{} on a sofa"
    assert "not used of 30_ohwx cat: default_caption" in said(opened) and "caption_ext" not in said(opened)
    entries = [
        {"path": "img/30_ohwx cat", "balancing": 1.5, "enabled": True},
        {"path": "img/10_ohwx cat", "balancing": 1.0},
        {"path": "nowhere", "enabled": False},
        {"path": "reg/1_cat", "type": "PRIOR_PREDICTION"},
    ]
    (kohya / "concepts.json").write_text(json.dumps(entries))
    opened = Concept.open(kohya / "concepts.json", class_word="cat")
    assert sorted(picture.repeats for picture in opened.pictures) == [2, 2, 3, 3, 3]
    assert opened.class_folder == kohya / "reg/1_cat"


def test_an_image_folder(tmp_path: Path) -> None:
    whole = tmp_path / "set"
    filled(whole / "train", 3, 0)
    filled(whole / "test", 3, 10)
    rows = [{"file_name": f"{split}/{i}.png", "text": f"a cat {i}"} for split, i in (("train", 0), ("test", 10))]
    (whole / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    opened = Concept.open(whole, class_word="cat")
    assert [picture.caption for picture in opened.pictures] == ["a cat 0", "", ""]
    assert said(opened) == "test: not used: what it holds is not for training"

    classes = tmp_path / "pets"
    filled(classes / "train" / "tabby_cat", 3, 0)
    filled(classes / "train" / "dog", 3, 10)
    (classes / "train" / "metadata.csv").write_text("file_name,text\ndog/11.png,a dog in the sun\n")
    for place in (classes, classes / "train"):
        dog, cat = open_concepts([place])
        assert (cat.token, cat.class_word, dog.class_word) == ("tabby", "cat", "dog")
        assert [picture.caption for picture in dog.pictures] == ["", "a dog in the sun", ""]
        assert not dog.notes and not cat.notes
    filled(classes / "more", 3, 20)
    with pytest.raises(TriptychError, match="no pictures"):
        open_concepts([classes])


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("a.toml", "x = ", "cannot read"), ("a.json", "{}", "no list of folders"), ("a.yaml", "a: [", "cannot read"),
        ("a.yaml", "- 1\n- 2", "no list of folders"),
        ("a.toml", "[[datasets]]\n[[datasets.subsets]]\n", "names no folder"),
        ("a.json", '[{"path": "x", "balancing": "much"}]', "no number of repeats"),
        ("a.json", '[{"path": "x"}]', "there is no folder"), ("a.json", "[" * 100_000, "cannot read"),
    ],
)  # fmt: skip
def test_a_list_that_is_none_is_refused(tmp_path: Path, name: str, text: str, wanted: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(TriptychError, match=wanted):
        Concept.open(tmp_path / name, class_word="cat")


def test_captions_in_the_names_of_files(tmp_path: Path) -> None:
    place = filled(tmp_path / "cat", 2, 0)
    noise(7).save(place / "03_a cat_on a sofa.png")
    (place / "concept.toml").write_text('captions = "file names"')
    (place / "0.txt").write_text("a cat in the rain")
    assert [picture.caption for picture in Concept.open(place).pictures] == ["a cat in the rain", "a cat on a sofa", ""]


def test_a_copy_with_another_caption_is_said(tmp_path: Path) -> None:
    place = filled(tmp_path / "cat", 3, 0)
    shutil.copy(place / "0.png", place / "9.png")
    (place / "9.txt").write_text("a dog")
    assert "9.png: the same file as 0.png, with another caption" in said(Concept.open(place))
