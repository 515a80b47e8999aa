"""Retention from scores whose truth is known; overlaps of matrices; a study that goes on where it was stopped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from tests.drawn import GREEN, RED, Colours
from tests.simulated import simulate
from tests.test_mixing_files import lora, word
from triptych.app.session import Session
from triptych.base import Base, Place, tiny_base
from triptych.data.concept import Concept
from triptych.dilution import run as running
from triptych.dilution import search as searching
from triptych.dilution.ahead import foretell_mix
from triptych.dilution.foretold import Curve, foretell, share_close
from triptych.dilution.measure import ALONE, File, Kept, contamination, file_alone, kept_more, retention, together
from triptych.dilution.page import write_page
from triptych.dilution.plan import DilutionPlan, Source, only, plain_average, saying
from triptych.dilution.response import Probe, Response, attached_to
from triptych.dilution.result import More, Result
from triptych.dilution.search import Space
from triptych.errors import TriptychError
from triptych.metrics import Shown
from triptych.mixing.overlap import Overlap, overlaps
from triptych.mixing.request import Ingredient, Mix
from triptych.study import Plan, Silent
from triptych.study.layout import Layout
from triptych.study.point import Use
from triptych.study.sheets import Sheet
from triptych.study.work import Work
from triptych.verdict import MARGINS
from triptych.verdict.evidence import Evidence
from triptych.verdict.intervals import Interval


def evidence(seed: int = 0, **fidelity: float) -> Evidence:
    scores = simulate(fidelity, runs=1, prompts=16, seeds=1, seed=seed)
    return Evidence.of(scores, [], {}, MARGINS, seed)


def test_retention_is_the_part_of_the_gain_that_is_kept() -> None:
    seen = evidence(alone=0.8, half=0.4, all=0.8, none=0.0)
    for name, truth in (("half", 0.5), ("all", 1.0), ("none", 0.0)):
        found = retention(seen, name)
        assert found and found.value == pytest.approx(truth, abs=0.1)
        assert found.low < truth < found.high
    assert retention(seen, "absent") is None
    assert file_alone("a", seen).learned
    assert not file_alone("a", evidence(alone=0.0)).learned


def test_the_interval_of_retention_is_wrong_as_rarely_as_it_states() -> None:
    missed, times = 0, 120
    for seed in range(times):
        found = retention(evidence(seed, alone=0.7, mix=0.42), "mix")
        assert found
        missed += not found.low <= 0.6 <= found.high
    assert missed <= 0.11 * times


def test_a_mean_over_files_has_a_narrower_interval_than_each() -> None:
    found = together([Interval(0.5, 0.4, 0.6, 8), Interval(0.7, 0.6, 0.8, 8)])
    assert found.value == pytest.approx(0.6) and found.high - found.low == pytest.approx(0.2 / 2**0.5)


def test_two_mixes_are_compared_by_the_same_pictures() -> None:
    missed, times = 0, 60
    for seed in range(times):
        found = kept_more(evidence(seed, alone=0.8, mix=0.6, average=0.4), "mix", "average")
        assert found and found.value == pytest.approx(0.25, abs=0.15)
        missed += not found.low <= 0.25 <= found.high
    assert missed <= 0.13 * times
    assert kept_more(evidence(alone=0.8, mix=0.6), "mix", "average") is None


def test_a_chosen_mix_is_told_beside_the_plain_average() -> None:
    sources = tuple(Source(Path(f"{name}.safetensors"), Path()) for name in "ab")
    plan = DilutionPlan(sources, counts=(), ratios=(), generations=0)
    arms = [only((0.7, 0.6), Path("mix.safetensors")), plain_average(2)]
    assert plan.arms == [] and arms[1].weights == ((0, 0.5), (1, 0.5))
    files = [File(name, 0.6, Interval(0.6, 0.5, 0.7, 8), True) for name in "ab"]
    kept = [
        Kept(arm.name, n, 0.5, Interval(v, 0.1, 0.9, 8), 0.4)
        for arm, v in zip(arms, (0.8, 0.5), strict=True)
        for n in "ab"
    ]
    values = {"a": Interval(0.3, 0.1, 0.5, 8), "b": Interval(-0.2, -0.4, 0.1, 8)}
    more = [More(arms[0].name, arms[1].name, name, value) for name, value in values.items()]
    told = Result.of(plan, arms, files, kept, [], [], {}, True, more)
    assert told.sentences[0].startswith(
        "The mix keeps 0.80 of a (0.10 to 0.90) and 0.80 of b (0.10 to 0.90); on average"
    )
    assert told.sentences[1].startswith("The plain average keeps 0.50 of a")
    assert told.sentences[2] == (
        "Compared with the plain average, the mix keeps 0.30 more of a (0.10 to 0.50)"
        " and 0.20 less of b (-0.10 to 0.40)."
    )
    assert json.loads(told.to_json())["more"][1]["value"] == -0.2


def made(**layers: Any) -> dict[str, Any]:
    return {name: (lambda tensor=tensor: tensor) for name, tensor in layers.items()}


def test_overlap_of_matrices() -> None:
    e = torch.eye(4)
    first = made(x=torch.outer(e[0], e[1]) + torch.outer(e[2], e[3]), y=torch.outer(e[0], e[0]))
    second = made(x=-3 * torch.outer(e[0], e[1]), z=torch.outer(e[1], e[1]))
    found = overlaps({"a": first, "b": second})["a", "b"]
    assert found.energy == pytest.approx(1 / 3) and found.conflict == pytest.approx(1 / 3)
    assert found.cosine == pytest.approx(-3 / (3 * 10) ** 0.5)
    assert found.size == pytest.approx((10 / 3) ** 0.5) and found.colliding == 0.5
    same = overlaps({"a": first, "b": first})["a", "b"]
    assert (same.energy, same.cosine, same.conflict) == pytest.approx((1, 1, 0))


def test_the_predictor_foretells_what_follows_a_curve_for_mixes_it_has_not_seen() -> None:
    random = torch.Generator().manual_seed(2)
    mixes = {
        f"m{place}": {name: float(torch.rand((), generator=random)) for name in "abcd"[: 2 + place % 3]}
        for place in range(12)
    }
    truth, kept = Curve(0.6, 4.0), []
    for arm, weights in mixes.items():
        for name in weights:
            row = Kept(arm, name, weights[name], Interval(1, 1, 1, 1), 0.0, Response(*torch.rand(2, generator=random)))
            value = truth(row.response.distance) if row.response else 0.0
            kept.append(replace(row, retention=Interval(value, value, value, 1)))
    found = foretell(kept, mixes)
    assert len(found) == len(kept) and share_close(found) == 1.0
    assert foretell(kept[:2], mixes) == []
    again = [replace(one, arm=f"again-{one.arm}") for one in kept if one.arm == "m0"]
    twice = foretell([*kept, *again], {**mixes, "again-m0": mixes["m0"]})
    once = {(one.arm, one.file): one.foretold for one in found}
    assert all(once[one.arm, one.file] == pytest.approx(one.foretold, abs=1e-9) for one in twice if one.arm == "m0")


def test_a_response_is_what_of_the_files_own_effect_is_in_one_step(tmp_path: Path) -> None:
    base = tiny_base()
    used = {name: Use(lora(tmp_path / f"{name}.safetensors", base, seed), name) for seed, name in enumerate("ab")}
    folder = plain(tmp_path / "red-dog", RED)
    work = Work(Plan(folder), base, Concept.open(folder), Layout(tmp_path), Silent())
    probe = Probe.of(work, "dog", (used["a"],))

    def response(*uses: Use) -> Response:
        with attached_to(base, uses):
            return probe.response()

    alone, nothing = response(used["a"]), response()
    assert (alone.along, alone.across) == pytest.approx((1, 0), abs=1e-3)
    assert (nothing.along, nothing.across) == pytest.approx((0, 0), abs=1e-3)
    half = response(replace(used["a"], strength=0.5))
    both = response(used["a"], used["b"])
    assert half.along == pytest.approx(0.5, abs=0.1) and half.across < both.across / 2


def test_a_mix_is_foretold_to_keep_the_file_that_it_consists_of(tmp_path: Path) -> None:
    base, sources = tiny_base(), []
    for seed, (name, colour) in enumerate((("red", RED), ("green", GREEN))):
        folder = plain(tmp_path / f"{name}-dog", colour)
        sources.append(Source(lora(tmp_path / f"{name}.safetensors", base, seed), folder))
    mix = Mix(tuple(Ingredient(source.file, weight) for source, weight in zip(sources, (1.0, 0.0), strict=True)))
    red, green = foretell_mix(mix, DilutionPlan(tuple(sources)), Silent(), lambda place: base)
    assert (red.file, red.distance, red.retention) == ("red.safetensors", pytest.approx(0, abs=1e-3), pytest.approx(1))
    assert green.distance > 0.7 and green.retention < 0.1
    assert str(green).startswith("about 0.0") and "of green.safetensors will be kept" in str(green)


def test_contamination_is_how_far_pictures_went_towards_the_other() -> None:
    likeness = {"alone": 0.2, "mix": 0.5, "own": 0.8}

    def drawn(row: str) -> list[Shown]:
        return [Shown(row, 0, "concept", f"p{i}", i, Path(row) / str(i), f"{row}/{i}") for i in range(6)]

    def seen(pictures: Any) -> Any:
        return SimpleNamespace(likeness=lambda given: [likeness[one.path.parent.name] for one in given])

    other: Any = SimpleNamespace(evidence=lambda pictures, encoder: seen(pictures))
    found = contamination(other, {ALONE: drawn("alone"), "mix": drawn("mix")}, drawn("own"), Colours())
    assert found["mix"].value == pytest.approx(0.5)
    likeness["own"] = 0.2
    assert contamination(other, {ALONE: drawn("alone"), "mix": drawn("mix")}, drawn("own"), Colours()) == {}


def test_the_plan_varies_ratio_count_and_generation(tmp_path: Path) -> None:
    sources = tuple(Source(Path(f"{name}.safetensors"), tmp_path) for name in "abcd")
    arms = {arm.name: arm for arm in DilutionPlan(sources, counts=(2, 4, 8), ratios=(0.3,)).arms}
    assert list(arms) == [
        "average-2", "sum-2", "average-4", "sum-4", "weight-2-1", "weight-2-2", "weight-4-1", "weight-4-2",
        "generation-1", "generation-2", "generation-3", "ratio-0.3",
    ]  # fmt: skip
    all_in_one = DilutionPlan(sources, beside=((Path("all.safetensors"),),)).arms[0]
    assert (all_in_one.name, all_in_one.weights[3]) == ("beside-all", (3, 1.0))
    with pytest.raises(TriptychError, match="one for each of the 4, and not 2"):
        DilutionPlan(sources, beside=((Path("e.safetensors"), Path("f.safetensors")),))
    taking_turns = DilutionPlan(sources, counts=(), ratios=(), generations=0, switched=("in-turn", "alternating")).arms
    assert [arm.name for arm in taking_turns] == ["in-turn-2", "alternating-2", "in-turn-4", "alternating-4"]
    in_turn, alternating = (
        ["".join(f"{arm.course(place)(step, 8):.0f}" for step in range(8)) for place, _ in arm.weights]
        for arm in taking_turns[2:]
    )
    assert in_turn == ["11000000", "00110000", "00001100", "00000011"]
    assert alternating == ["10001000", "01000100", "00100010", "00010001"]
    with pytest.raises(TriptychError, match="switched in-turn or alternating, not 'both'"):
        DilutionPlan(sources, switched=("both",))
    assert arms["average-4"].weights == ((0, 0.25), (1, 0.25), (2, 0.25), (3, 0.25))
    assert arms["generation-3"].weights == ((0, 0.125), (1, 0.125), (2, 0.25), (3, 0.5))
    assert arms["weight-4-2"].weights == ((1, 0.25),)
    assert arms["ratio-0.3"].weights == ((0, 0.7), (1, 0.3))
    with pytest.raises(TriptychError, match="two or more files"):
        DilutionPlan(sources[:1])
    with pytest.raises(TriptychError, match="two or more files, not 1"):
        DilutionPlan(sources, counts=(1, 2))
    with pytest.raises(TriptychError, match="from 0 to 1, not 2"):
        DilutionPlan(sources, ratios=(0.5, 2))
    assert DilutionPlan(sources, counts=(2, 6)).left_out == "mixes of 6 files are left out, since 4 are given"
    with pytest.raises(TriptychError, match="two files are called a"):
        DilutionPlan((sources[0], sources[0]))
    with pytest.raises(TriptychError, match="FILE=FOLDER"):
        Source.parse("a.safetensors")


def result() -> Result:
    sources = tuple(Source(Path(f"{name}.safetensors"), Path()) for name in ("<a>", "b"))
    plan = DilutionPlan(sources, counts=(2,), ratios=(0.5,), generations=1)
    files = [File("<a>", 0.6, Interval(0.6, 0.5, 0.7, 8), True), File("b", 0.5, Interval(0.5, 0.4, 0.6, 8), True)]
    kept = [
        Kept(arm.name, files[i].name, 0.5, Interval(0.9 - 0.1 * i, 0.8, 1.0, 8), 0.4)
        for arm in plan.arms
        for i, _ in arm.weights
    ]
    overlaps = {("<a>", "b"): Overlap(0.1, 0.2, 0.3, 1, 1), ("b", "<a>"): Overlap(0.1, 0.2, 0.3, 1, 1)}
    return Result.of(plan, plan.arms, files, kept, [], [], overlaps, complete=False)


def test_the_page_begins_with_the_sentence_and_escapes_names(tmp_path: Path) -> None:
    page = write_page(result(), tmp_path).read_text()
    assert "<h1>Averaged, each file loses 0.15 (0.08 to 0.22) with the second file.</h1>" in page
    assert "<a>" not in page.replace("<a ", "") and "&lt;a&gt;" in page
    assert page.count("<svg") == 3 and "http" not in page
    assert json.loads(result().to_json())["complete"] is False


def test_a_file_that_did_not_learn_is_left_out_of_means() -> None:
    one = result()
    files = (one.files[0], replace(one.files[1], learned=False))
    less = replace(one, files=files, kept=tuple(kept for kept in one.kept if kept.file == "<a>"))
    mean = less.mean("average-2")
    assert mean and mean.value == pytest.approx(0.9)
    assert any("b alone is not clearly better" in sentence for sentence in less.sentences)
    assert replace(one, kept=one.kept[:1]).mean("average-2") is None  # a file that learned is not measured yet


def test_a_file_beside_the_mixes_is_told_of_and_foretells_nothing() -> None:
    sources = tuple(Source(Path(f"{name}.safetensors"), Path()) for name in "ab")
    plan = DilutionPlan(
        sources, counts=(2,), ratios=(0.2, 0.7), beside=((Path("all.safetensors"),),), switched=("alternating",)
    )
    files = [File(name, 0.6, Interval(0.6, 0.5, 0.7, 8), True) for name in "ab"]

    def seen(value: float) -> Result:
        kept = [
            Kept(
                arm.name, name, weight, Interval(0.6 * weight if arm.mixed else value, 0, 1, 8), 0.4, Response(0.5, 0.1)
            )
            for arm in plan.arms
            for name, weight in (("ab"[i], weight) for i, weight in arm.weights)
        ]
        overlaps = {("a", "b"): Overlap(0.1, 0.2, 0.3, 1, 1), ("b", "a"): Overlap(0.2, 0.1, 0.3, 1, 1)}
        return Result.of(plan, plan.arms, files, kept, [], [], overlaps, complete=True)

    assert any("In all, which is no mix, each loses 0.10" in sentence for sentence in seen(0.9).sentences)
    assert any(s.startswith("With 2 files switched at every step, each") for s in seen(0.9).sentences)
    assert seen(0.9).foretold == seen(0.3).foretold != ()


def plain(folder: Path, colour: tuple[int, int, int]) -> Path:
    folder.mkdir()
    for i in range(6):
        Image.new("RGB", (16, 16), tuple(max(0, value - 3 * i) for value in colour)).save(folder / f"{i}.png")
    (folder / "concept.toml").write_text('kind = "subject"\nclass = "dog"\n')
    return folder


@pytest.mark.slow
def test_a_study_goes_on_where_its_time_was_over(
    random_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triptych.metrics.encoders.open_encoder", lambda name, kind, device: Colours())
    monkeypatch.setattr("triptych.study.encoders.open_encoder", lambda name, kind, device: Colours())
    monkeypatch.setattr(Base, "redraw", lambda self, pictures: pictures)
    base, sources = tiny_base(), []
    for seed, (name, colour) in enumerate((("red", RED), ("green", GREEN), ("gold", (200, 180, 0)))):
        file = lora(tmp_path / f"{name}.safetensors", base, seed)
        sources.append(Source(file, plain(tmp_path / f"{name}-dog", colour)))
    words = tuple(word(tmp_path / f"word-{seed}.safetensors", base, seed, 2) for seed in range(3))
    place = Place(str(random_base / "base"), device="cpu", precision="fp32")
    plan = DilutionPlan(
        tuple(sources),
        place,
        (2, 3),
        (0.5,),
        2,
        prompts=3,
        unrelated=3,
        text_encoder="colours",
        minutes=1e-9,
        beside=((lora(tmp_path / "all.safetensors", base, 7),), words),
        switched=("in-turn", "alternating"),
    )
    out, sampled, asked = tmp_path / "out", list[str](), dict[tuple[str, str], str]()
    usual = running.sample_all

    def sample_all(work: Work, sheets: Sequence[Sheet]) -> None:
        sampled.append(sheets[0].method)
        if sheets[0].role == "concept":
            asked[sheets[0].method, work.concept.name] = sheets[0].asked[0][1]
        usual(work, sheets)

    monkeypatch.setattr(running, "sample_all", sample_all)
    first = running.dilution(plan, out, Silent())
    assert not first.complete and not sampled and "run the same command again" in " ".join(first.sentences)
    whole = running.dilution(replace(plan, minutes=0), out, Silent())
    rows = {"base", "alone", *(arm.name for arm in plan.arms)}
    assert whole.complete and set(sampled) == rows and {one.row for one in whole.preserved} == rows - {"base"}
    for row, says in (("average-3", "word1"), ("beside-all", "word7"), (plan.arms[1].name, "<w1>")):
        assert says in asked[row, "green-dog"]  # each called by what its own file states
    sampled.clear()
    again = running.dilution(replace(plan, minutes=0), out, Silent())
    assert not sampled and again.to_json() == whole.to_json()
    assert (out / "dilution.html").is_file()
    told = json.loads((out / "dilution.json").read_text())
    assert {mix["name"] for mix in told["mixes"]} == rows - {"base", "alone"}
    assert len(told["overlap"]) == 6
    judged = [file["pictures"] for file in told["files"] if file["pictures"]]
    assert judged and all({"base", "alone", "average-3"} <= rows.keys() for rows in judged)
    assert all(sum(value is not None for value in values) == 3 for rows in judged for values in rows.values())
    single = [only((1.0, 1.0, 1.0), lora(tmp_path / "mix.safetensors", base, 8)), plain_average(3)]
    said = saying(sources, {"green": "the green dog"})
    bare = replace(plan, minutes=0, counts=(), ratios=(), generations=0, beside=(), switched=(), sources=said)
    with Session() as session:
        beside = session.dilution(bare, tmp_path / "single", Silent(), single=single)
        assert session.bases.places() == [place]  # opened by the session, and kept for the next call
    assert [arm.name for arm in beside.arms] == ["mix", "plain-average"]
    assert "the green dog" in asked["mix", "green-dog"] and "word0" in asked["mix", "red-dog"]
    with pytest.raises(TriptychError, match="words are given for 'gren', which is none of the files; did you mean"):
        saying(sources, {"gren": "dog"})
    assert {one.row for one in beside.preserved} == {"alone", "mix", "plain-average"}


def files(*names: str) -> Mix:
    return Mix(tuple(Ingredient(Path(f"{name}.safetensors")) for name in names))


def test_the_space_holds_the_ways_that_fit_and_the_plain_mixes() -> None:
    assert Space.of(files("a", "b"), False).ways == ("weighted-sum", "slerp", "ties", "dare", "della", "model-stock")
    assert "slerp" not in Space.of(files("a", "b", "c"), False).ways
    assert Space.of(files("a", "b"), True).ways == ("weighted-sum", "slerp")
    space = Space.of(replace(files("a", "b", "c"), method="ties"), False)
    average, whole = (space.mix_of(params, ()) for params in space.plain(()))
    assert [one.weight for one in average.ingredients] == [0.333] * 3 and average.method == "ties"
    assert [one.weight for one in whole.ingredients] == [1.0] * 3
    blocks = Space.of(files("a", "b"), True)
    made = blocks.mix_of({"method": "slerp", "IN00": 0.25, "M00": 1.0}, ("IN00", "M00"))
    assert made.settings["blocks"] == "0.25,1" and made.ingredients[0].weight is None
    for mix, by_block, why in (
        (Mix((Ingredient(Path("a"), 0.5), Ingredient(Path("b")))), False, "without weights"),
        (files("a", "b", "c"), True, "are for two files"),
        (replace(files("a", "b"), method="cosine"), False, "cosine cannot be searched"),
    ):
        with pytest.raises(TriptychError, match=why):
            Space.of(mix, by_block)


@pytest.mark.slow
def test_a_search_beats_the_plain_mixes_and_goes_on_where_it_was_stopped(
    random_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triptych.metrics.encoders.open_encoder", lambda name, kind, device: Colours())
    monkeypatch.setattr("triptych.study.encoders.open_encoder", lambda name, kind, device: Colours())
    monkeypatch.setattr(Base, "redraw", lambda self, pictures: pictures)
    base, sources, made = tiny_base(), [], list[Mix]()
    for seed, (name, colour) in enumerate((("red", RED), ("green", GREEN))):
        file = lora(tmp_path / f"{name}.safetensors", base, seed)
        sources.append(Source(file, plain(tmp_path / f"{name}-dog", colour)))

    def kept(evidence: Any, row: str) -> Interval:  # best where the weights are 0.8 and 0.6
        distance = sum(abs((one.weight or 0) - w) for one, w in zip(made[-1].ingredients, (0.8, 0.6), strict=True))
        return Interval(1 - distance, 0, 1, 1)

    usual = searching.merge
    monkeypatch.setattr(searching, "merge", lambda mix, path, **more: (made.append(mix), usual(mix, path, **more)))
    monkeypatch.setattr(searching, "retention", kept)
    monkeypatch.setattr(searching, "judged", lambda work, pictures, encoder: len(pictures))
    monkeypatch.setattr(
        searching, "file_alone", lambda name, evidence: File(name, 0.5, Interval(0.5, 0.4, 0.6, 8), True)
    )
    place = Place(str(random_base / "base"), device="cpu", precision="fp32")
    plan = DilutionPlan(tuple(sources), place, prompts=2, unrelated=2, text_encoder="colours")
    mix = Mix(tuple(Ingredient(source.file) for source in sources), "weighted-sum")
    first = searching.search(mix, plan, 3, False, tmp_path / "out", Silent())
    weights = [[one.weight for one in mix.ingredients] for mix in made]
    assert weights == [[0.5, 0.5], [1.0, 1.0], [1.0, 0.5]] * 2  # each is tried, and measured again as a finalist
    assert first.plain == pytest.approx(0.6) and first.trials == 3
    whole = searching.search(mix, plan, 6, False, tmp_path / "out", Silent())
    assert 9 < len(made) <= 12 and whole.value >= first.value  # three more trials, and those finalists that are new
    assert whole.mix.ingredients in [one.ingredients for one in made]
    assert "the best of 6 mixes is weighted-sum of red.safetensors:" in str(whole)
    assert "of the least retained of red and green, and the better one of plain average and plain sum" in str(whole)
    assert "of red, and the better" in str(replace(whole, files=("red",)))
    assert not list((tmp_path / "out" / "mixes").iterdir())
