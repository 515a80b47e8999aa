"""`triptych judge`: files of every kind as rows, at several strengths, refused before sampling, never sampled twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.plain import call, typed
from tests.simulated import LORA
from tests.worlds import learned, trial
from triptych.base import Base
from triptych.cli.judging import ASKED, strengths_of
from triptych.data.concept import Concept
from triptych.errors import TriptychError
from triptych.exchange.saving import save
from triptych.options import StudyOptions
from triptych.records import JudgedRecord
from triptych.scores import BASE, REAL, Cost, Score
from triptych.study.judged import open_files
from triptych.study.judging import OF_STUDIES, JudgeRequest
from triptych.study.processes import threads
from triptych.verdict.keeping import Keeping, Kept, beside_encoder, keeping

DECIDED: dict[str, Keeping] = {"a": "best", "b": "keep", "c": "discard", "d": "undecided", "e": "keep"}
PROMPTS = [f"a dog {i}" for i in range(24)]


def scores_of(rows: dict[str, float], spread: float = 0.05) -> list[Score]:
    """Rows whose likeness is this part of the way from floor (0.2) to ceiling (0.8), with every prompt followed."""
    found = [Score("ceiling", REAL, 0.8)]
    for i, prompt in enumerate(PROMPTS):
        shift = spread * (-1) ** i
        found.append(Score("subject_fidelity", BASE, 0.2 + 0.6 * shift, 0, prompt, i))
        found.append(Score("prompt_fidelity", BASE, 1.0, 0, prompt, i))
        for place, (row, value) in enumerate(rows.items()):
            own = shift * (1 if (i // 2 + place) % 2 else -1)
            found.append(Score("subject_fidelity", row, 0.2 + 0.6 * (value + own), 0, prompt, i, f"{row}/{i}.png"))
            found.append(Score("prompt_fidelity", row, 1.0, 0, prompt, i))
    return found


def decisions(rows: dict[str, float], spread: float = 0.05) -> dict[str, str]:
    costs = [Cost(row, True, 1, 1000, 0, 0) for row in rows]
    return {one.method: one.decision for one in keeping(scores_of(rows, spread), costs)}


def test_the_best_is_named_and_the_others_are_kept_or_discarded() -> None:
    rows = {"early@1": 0.3, "good@1": 0.7, "late@1": 0.69, "broken@1": 0.01}
    found = decisions(rows)
    assert next(iter(found)) == "good@1", "the best is first"
    assert found == {"good@1": "best", "late@1": "keep", "early@1": "discard", "broken@1": "discard"}
    assert decisions({"a@1": 0.5, "b@1": 0.42}, spread=0.4)["b@1"] == "undecided"
    assert set(decisions({"a@1": 0.0, "b@1": 0.01}).values()) == {"discard"}, "nothing learned anything"
    [only] = keeping(scores_of({"a@1": 0.6}), [])
    assert (only.decision, "0.60" in only.reason) == ("best", True)


def test_what_another_eye_does_not_share_is_undecided() -> None:
    mine = [Kept(f"{row}@1", decision, "Why.") for row, decision in DECIDED.items()]
    other = [Kept("a@1", "discard", ""), Kept("b@1", "discard", ""), Kept("c@1", "best", ""), Kept("d@1", "keep", "")]
    found = beside_encoder(mine, other, "dino")
    assert [each.decision for each in found] == ["best", "undecided", "undecided", "undecided", "keep"]
    assert [each.reason for each in found] == [
        "Why. Another image encoder, dino, decides: discard.", "Why. Another image encoder, dino, decides: discard.",
        "Why. Another image encoder, dino, decides: best.", "Why.", "Why.",
    ]  # fmt: skip
    assert beside_encoder(mine, [], "dino") == mine, "an encoder that cannot tell decides nothing"


def test_rows_of_files_whose_names_differ_by_a_sign_alone_are_two(base: Base, folder: Path, tmp_path: Path) -> None:
    long = 210 * "n"
    paths = [tmp_path / f"{name}.safetensors" for name in ("my cat", "my_cat", "my+cat", long + "1", long + "2")]
    artifact = learned(base, trial("textual-inversion"))
    for path in paths:
        save(artifact, path)
    files = open_files(paths, (), {}, base, Concept.open(folder), lambda _: None)
    assert len({file.row(1) for file in files}) == len(paths)


@pytest.mark.parametrize("given", [{"other_base": "elsewhere"}, {"until_decided": True}, {"budget": "thorough"}])
def test_an_option_of_studies_alone_is_refused(given: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(TriptychError, match=r"is an option of a study; judging files trains nothing"):
        JudgeRequest((), tmp_path, StudyOptions(**given))


def test_every_option_is_either_of_judging_or_of_studies_alone() -> None:
    assert sorted((*ASKED, *OF_STUDIES)) == sorted(option.name for option in fields(StudyOptions))


def test_strengths() -> None:
    assert strengths_of("0.6, 0.8,1,0.6") == (0.6, 0.8, 1.0)
    assert strengths_of("") == ()
    for text in ("x", "-1", "0", "nan", "inf"):
        with pytest.raises(TriptychError, match="a strength is a number above 0"):
            strengths_of(text)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, random_base: Path, folder: Path) -> dict[str, Path]:
    """A file of several methods, and a checkpoint."""
    place, made = tmp_path_factory.mktemp("trained"), {}
    methods = {
        LORA: ("-s", "lr=0.5"), "textual-inversion": ("-s", "lr=1", "-s", "vectors=2"),
        "dreambooth": ("-s", "lr=0.1", "-s", "prior_pictures=2"), "dreambooth-lora": ("-s", "prior_pictures=2"),
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIPTYCH_CACHE", str(place / "cache"))
        for method, given in methods.items():
            made[method] = place / f"{method}.safetensors"
            words = typed(random_base, "train", method, folder, "--out", made[method], "--steps", "2", *given)
            assert call(patch, *words) == 0
        made["checkpoint"] = place / "tuned"
        words = typed(random_base, "convert", made["dreambooth"], "--to", "diffusers", "--out", made["checkpoint"])
        assert call(patch, *words) == 0
    return made


@pytest.mark.study
def test_files_of_every_kind_are_rows(
    trained: dict[str, Path], folder: Path, random_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (trained[LORA].with_suffix(".json")).write_text(json.dumps({"preferred weight": 0.75}))
    words = typed(random_base, "judge", *trained.values(), "--folder", folder, "--out", tmp_path / "out")
    words += ["--precision", "fp32", "--prompts", "2", "--unrelated", "2"]
    with threads(2):  # by workers
        assert call(monkeypatch, *words, "--json") == 0
    out, err = capsys.readouterr()
    told = json.loads(out)
    rows = {one["row"]: one for one in told["files"]}
    assert set(rows) == {"lora@0.75", "textual-inversion@1", "dreambooth@1", "dreambooth-lora@1", "tuned@1"}
    assert rows["dreambooth-lora@1"]["method"] == LORA, "its file is a LoRA"
    assert {one["says"] for one in told["files"]} == {"dog", "<concept>", "sks dog"}
    assert rows["tuned@1"]["says"] == "dog"
    assert "which its notes prefer" in err
    assert "tuned is a checkpoint that states no word" in err
    assert set(told["verdict"]["methods"]) == set(rows)
    assert told["verdict"]["answers"] == {}
    costs = told["verdict"]["costs"]
    assert costs["lora@0.75"]["file_bytes"] == trained[LORA].stat().st_size
    assert not costs["tuned@1"]["attaches"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Which file to keep?" in page
    assert "Is textual inversion enough?" not in page
    sheets = {path.name.rpartition("-")[0]: path for path in (tmp_path / "out" / "sheets").iterdir()}
    [use] = json.loads(Image.open(sheets["lora@0.75-0-concept"] / "00000.png").text["triptych"])["uses"]
    assert use["denoiser"] == 0.75
    pixels = {
        name: Image.open(path / "00000.png").tobytes() for name, path in sheets.items() if name.endswith("0-concept")
    }
    assert len(set(pixels.values())) == len(pixels), "every file changes the picture"

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "sheets").glob("*/*.png")}
    assert call(monkeypatch, *words, "--say", "lora=big dog") == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before, "only the new words are sampled"
    files = {one.row: one for one in JudgedRecord.read(tmp_path / "out").files}
    assert files["lora@0.75"].says == "big dog"
    assert call(monkeypatch, "report", str(tmp_path / "out")) == 0


@pytest.mark.study
def test_several_strengths_of_a_file(
    trained: dict[str, Path], folder: Path, random_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    words = typed(random_base, "judge", trained[LORA], trained["checkpoint"], "--folder", folder, "--out", tmp_path)
    words += ["--precision", "fp32", "--prompts", "2", "--unrelated", "2", "--strengths", "0.5,1"]
    assert call(monkeypatch, *words) == 0
    out, err = capsys.readouterr()
    assert "lora.safetensors at 0.5" in out
    assert "which has no strength" in err
    rows = {one.row for one in JudgedRecord.read(tmp_path).files}
    assert rows == {"lora@0.5", "lora@1", "tuned@1"}


def refusals(trained: dict[str, Path], tmp_path: Path) -> dict[str, Sequence[str | Path]]:
    (tmp_path / "notes.safetensors").write_bytes(b"no tensors")
    return {
        "is not a": (tmp_path / "notes.safetensors",),
        "there is no": (tmp_path / "missing.safetensors",),
        "which is none of the files; did you mean": (trained[LORA], "--say", "loro=dog"),
        "is not of the form FILE=WORDS": (trained[LORA], "--say", "lora"),
        "a strength is a number above 0": (trained[LORA], "--strengths", "0.5,high"),
    }


@pytest.mark.study
def test_what_cannot_be_judged_is_refused_before_sampling(
    trained: dict[str, Path], folder: Path, random_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for why, given in refusals(trained, tmp_path).items():
        words = typed(random_base, "judge", *given, "--folder", folder, "--out", tmp_path / "out")
        assert call(monkeypatch, *words) == 2, why
        err = capsys.readouterr().err
        assert why.partition(";")[0] in err or why == "is not a", err
        assert "Traceback" not in err
    words = ["judge", str(trained[LORA]), "--folder", str(folder), "--base", "demo", "--out", str(tmp_path / "out")]
    assert call(monkeypatch, *words) == 2
    assert "does not fit the base demo" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("sheets/*"))


def test_words_before_the_class_word(folder: Path) -> None:
    from triptych.study.judged import phrase_of

    concept = Concept.open(folder, class_word="dog")
    assert phrase_of("ohwx", concept) == "ohwx dog"
    assert phrase_of("ohwx Dog", concept) == "ohwx Dog"
    assert phrase_of("", concept) == "dog"
