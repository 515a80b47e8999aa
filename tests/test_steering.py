"""Edits by attention, maps of words, and regions: on the tiny base."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.worlds import call, learned, trial, typed
from triptych.base import Base, tiny_base
from triptych.errors import TriptychError
from triptych.exchange.artifact import Part, compose
from triptych.exchange.saving import save
from triptych.sampling import attention
from triptych.sampling.attention import aligned, upper
from triptych.sampling.controls import Controls, region_of
from triptych.sampling.generate import sample_latents, settings_for
from triptych.sampling.guidance import Guidance
from triptych.sampling.regions import Regional
from triptych.sampling.request import Edit, Guide, Region, Request


def latents(base: Base, *requests: Request, **changes: float) -> Tensor:
    return sample_latents(base, requests, settings_for(base, steps=4, guidance=3.0, **changes))


def gap(one: Tensor, other: Tensor) -> float:
    """The greatest difference, relative to the greatest value."""
    return float((one - other).abs().max() / other.abs().max())


@pytest.mark.slow
def test_an_edit_lies_between_its_two_prompts(base: Base) -> None:
    before, after = latents(base, Request("a dog", (1,)), Request("a cat", (1,)))

    def edited(keep: float, layout: float) -> Tensor:
        return latents(base, Request("a dog", (1,), edit=Edit("a cat", keep, layout)))[0]

    assert gap(edited(0, 0), after) < 1e-4
    assert gap(edited(1, 1), after) > 1e-4
    same = latents(base, Request("a dog", (1,), edit=Edit("a dog", 1, 1)))[0]
    assert gap(same, before) < 1e-4
    weighed = latents(base, Request("a dog", (1,), edit=Edit("a dog", 1, 1, weights=(("dog", 3.0),))))[0]
    assert gap(weighed, before) > 1e-4


def test_an_edit_changes_nothing_outside_of_its_words(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "upper", lambda values: values == values.max())  # an untrained base's map is noise
    source = latents(base, Request("a dog", (1,)))[0]
    edited = latents(base, Request("a dog", (1,), edit=Edit("a cat", 0, 0, only=("dog", "cat"))))[0]
    kept = (edited - source).abs().amax(0) < 1e-4 * source.abs().max()
    assert kept.any()
    assert not kept.all()


def test_the_upper_of_two_classes() -> None:
    values = torch.tensor([[0.5, 0.52, 0.9], [0.49, 1.0, 0.51]])
    assert upper(values).tolist() == [[False, False, True], [False, True, False]]
    assert torch.equal(upper(3 * values + 1), upper(values))


@pytest.mark.slow
def test_edits_and_maps_go_with_artifacts_and_leave_no_trace(base: Base) -> None:
    plain = latents(base, Request("a dog", (1,)))
    artifacts = [learned(base, trial(name)) for name in ("lora", "hypernetwork")]
    with compose(base, *(Part(artifact) for artifact in artifacts)):
        alone = latents(base, Request("a dog", (1,)))
        same = latents(base, Request("a dog", (1,), edit=Edit("a dog", 1, 1)))
        assert gap(alone, same) < 1e-4
        assert gap(alone, plain) > 1e-4
    assert torch.equal(latents(base, Request("a dog", (1,))), plain)


def test_maps_of_words_leave_the_picture_as_it_is(base: Base) -> None:
    found: dict[int, dict[str, Tensor]] = {}
    drawing = settings_for(base, steps=4)
    watched = sample_latents(base, [Request("a dog", (1,), heat=("dog", "a"))], drawing, heated=found.__setitem__)
    assert torch.equal(watched, sample_latents(base, [Request("a dog", (1,))], drawing))
    assert list(found[0]) == ["dog", "a"]
    assert found[0]["dog"].shape == watched.shape[-2:]
    assert 0 < float(found[0]["dog"].sum() + found[0]["a"].sum()) < watched.shape[-1] * watched.shape[-2]
    with pytest.raises(TriptychError, match="does not have the word 'owl'"):
        sample_latents(base, [Request("a dog", (1,), heat=("owl",))], drawing)


def test_words_are_aligned() -> None:
    source = [(7, 1), (8, 2), (9, 3)]
    columns, taken = aligned(source, [(7, 1), (5, 2), (9, 3), (4, 4)], 6)
    assert taken.tolist() == [1, 1, 1, 1, 0, 1]  # the fourth word is new
    assert columns[:, 2].tolist() == [0, 0, 1, 0, 0, 0]  # a word in the place of another has its map
    columns, taken = aligned(source, [(7, 1), (5, 2), (6, 3), (9, 4)], 6)
    assert columns[2, 2:4].tolist() == [0.5, 0.5]  # two in the place of one share it
    assert columns[3, 4] == 1


@pytest.mark.slow
def test_regions_act_in_their_areas(base: Base) -> None:
    whole = latents(base, Request("a cat", (1,)))[0]
    everywhere = Request("a dog", (1,), regions=(Region("a cat", (0, 0, 1, 1)),))
    assert gap(latents(base, everywhere)[0], whole) < 1e-4
    painted = Request("a dog", (1,), regions=(Region("a cat", Image.new("L", (40, 30), "white")),))
    assert gap(latents(base, painted)[0], whole) < 1e-4
    left = latents(base, Request("a dog", (1,), regions=(Region("a cat", (0, 0, 0.5, 1)),)))[0]
    assert gap(left, whole) > 1e-4
    together = latents(base, everywhere, Request("a dog", (1,)))
    assert gap(together[0], whole) < 1e-4
    assert gap(together[1], latents(base, Request("a dog", (1,)))[0]) < 1e-4


def test_a_region_sees_as_much_as_the_base_was_made_for(base: Base) -> None:
    """On a picture twice as wide, each half is predicted as a picture of its own; what gives nothing, not at all."""
    halves = (Region("a cat", (0, 0, 0.5, 1)), Region("a dog", (0.5, 0, 1, 1)))
    regional = Regional(base, [Request("a dog", (1,), regions=halves)], 3.0, Controls())
    noisy, t = torch.randn(1, 4, 8, 16, generator=torch.Generator().manual_seed(1)), torch.tensor(500)
    with torch.no_grad():
        joined = regional(noisy, t, 0, 1)
        alone = Guidance(base, [Request("a cat", (1,)), Request("a dog", (1,))], 3.0, Controls())
        expected = alone(torch.cat(noisy.split(8, dim=-1)), t, 0, 1)
    assert gap(joined, torch.cat(list(expected.split(1)), dim=-1)) < 1e-4
    assert len(regional.together(8, 16)) == 1, "the prompt of the rest has no place"


def test_a_small_region_sees_what_is_around_it(base: Base) -> None:
    """A view is widened to the base's own size, inside the picture, and is a multiple of what the base needs."""
    areas = ((0.0, 0.0, 0.25, 1.0), (0.25, 0.5, 1.0, 0.75), (0.9, 0.0, 1.0, 0.1))
    regional = Regional(
        base, [Request("", (1,), regions=tuple(Region("a cat", area) for area in areas))], 3.0, Controls()
    )
    views = [view for together in regional.together(16, 24) for view in together.views]
    places = {(view.rows.start, view.columns.start, *view.shape) for view in views}
    assert places == {(0, 0, 16, 24), (0, 0, 16, 8), (6, 6, 8, 18), (0, 16, 8, 8)}, "the first is of the whole picture"


def test_a_region_alone_does_not_see_what_others_show(base: Base) -> None:
    """What a half shows does not depend on the prompt of the other half, and on a picture of its own not at all."""
    ways = {}
    for alone in (1.0, 0.5, 0.0):
        for other in ("a dog", "a red fox"):
            halves = (Region("a cat", (0, 0, 0.5, 1)), Region(other, (0.5, 0, 1, 1)))
            asked = [Request("", (1,), regions=halves)]
            settings = settings_for(base, steps=4, guidance=3.0, sampler="ddim")
            ways[alone, other] = sample_latents(base, asked, settings, Controls(region_alone=alone))[0, :, :, :4]
    assert gap(ways[1.0, "a dog"], ways[1.0, "a red fox"]) < 1e-5
    assert gap(ways[0.0, "a dog"], ways[0.0, "a red fox"]) > gap(ways[0.5, "a dog"], ways[0.5, "a red fox"]) > 1e-4
    whole = sample_latents(base, [Request("a cat", (1,))], settings)[0, :, :, :4]
    assert gap(ways[1.0, "a dog"], whole) < 1e-4


def test_each_pass_over_regions_begins_anew(base: Base) -> None:
    halves = (Region("a cat", (0, 0, 0.5, 1)), Region("a dog", (0.5, 0, 1, 1)))
    regional = Regional(base, [Request("", (1,), regions=halves)], 3.0, Controls())
    noisy = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        first = regional(noisy[0], torch.tensor(500), 0, 2)
        regional(noisy[1], torch.tensor(900), 0, 2)
        assert not torch.equal(regional(noisy[0], torch.tensor(500), 1, 2), first), "each now sees its own picture"
        regional.begin(None)
        assert torch.equal(regional(noisy[0], torch.tensor(500), 0, 2), first)


def test_shares_of_regions_sum_to_1(base: Base) -> None:
    regions = (Region("a cat", (0, 0, 0.7, 1)), Region("a dog", (0.3, 0, 1, 0.6)))
    shares = Regional(base, [Request("a dog", (1,), regions=regions)], 3.0, Controls()).shares_of(8, 8)
    assert torch.allclose(shares.sum(0), torch.ones(1, 8, 8))
    assert float(shares.min()) >= 0


@pytest.mark.slow
def test_an_artifact_is_kept_to_its_region(base: Base) -> None:
    artifact = learned(base, trial("lora"))
    inside = Request("a dog", (1,), "out", regions=(Region("a dog", (0, 0, 0.5, 1), owner="in"),))
    drawing = settings_for(base, steps=1, sampler="ddim")
    plain = sample_latents(base, [inside], drawing)[0]
    with compose(base, Part(artifact, owner="in")):
        changed = (sample_latents(base, [inside], drawing)[0] - plain).abs().amax((0, 1))
    assert (changed[:4] > 1e-6).all()
    assert (changed[4:] < 1e-6).all()


@pytest.mark.parametrize(
    "text", ["0,0,1: a dog", "0,0,2,1: a dog", "0.5,0,0.5,1: a dog", "0,0,1,1:", "a dog", "a,b,c,d: x"]
)
def test_bad_regions_are_refused(text: str) -> None:
    with pytest.raises(TriptychError, match="region"):
        region_of(text)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"edit_only": "dog"}, "there is none"), ({"edit": "x", "edit_weights": "red"}, "red:2"),
        ({"edit": "x", "edit_keep": 2.0}, "from 0 to 1"), ({"edit": "x", "regions": ("0,0,1,1: a",)}, "leave one"),
    ],
)  # fmt: skip
def test_bad_edits_are_refused(given: dict[str, object], why: str) -> None:
    with pytest.raises(TriptychError, match=why):
        Controls(**given)  # type: ignore[arg-type]


def test_a_base_without_cross_attention_says_so() -> None:
    base = tiny_base(kind="zimage")
    with pytest.raises(TriptychError, match="need cross-attention"):
        sample_latents(base, [Request("a dog", (1,), heat=("dog",))], settings_for(base, steps=1))


@pytest.mark.slow
def test_the_command_edits_heats_and_makes_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, random_base: Path
) -> None:
    words = ["generate", "a dog", "--edit", "a cat", "--edit-keep", "0.5", "--heat", "cat", "--steps", "4"]
    assert call(monkeypatch, *typed(random_base, *words, "--out", tmp_path / "a")) == 0
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["00000-cat.png", "00000.png"]
    again = ["generate", "--again", tmp_path / "a" / "00000.png", "--out", tmp_path / "b"]
    assert call(monkeypatch, *typed(random_base, *again)) == 0
    first, second = (Image.open(tmp_path / name / "00000.png") for name in "ab")
    assert first.tobytes() == second.tobytes()
    words = ["generate", "a dog", "--region", "0,0,0.5,1: a cat", "--steps", "4", "--out", tmp_path / "c"]
    assert call(monkeypatch, *typed(random_base, *words)) == 0


def test_a_second_pass_at_another_size_is_refused(base: Base) -> None:
    sampling, larger = settings_for(base, steps=2), (Controls(hires=2.0), Controls(width=32, shrink=1.0))
    for request in (Request("a dog", (1,), heat=("dog",)), Request("a dog", (1,), edit=Edit("a cat", 0.5, 0.5))):
        for controls in larger:
            with pytest.raises(TriptychError, match="go neither with a second pass at another size nor with shrink"):
                sample_latents(base, [request], sampling, controls)


@pytest.mark.parametrize("asked", [{"edit": Edit("a cat")}, {"heat": ("dog",)}])
def test_several_prompts_are_refused(asked: dict[str, Any], base: Base) -> None:
    with pytest.raises(TriptychError, match="AND does not go with edits and maps of words"):
        latents(base, Request((Guide("a dog"), Guide("red")), (1,), **asked))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--edit", "a (cat:1.2"), "'(' at position 2: not closed"),
        (("--region", "0,0,1,1: a (cat:1.2"), "'(' at position 2: not closed"),
    ],
)
def test_markup_of_edits_and_regions_is_remarked(
    words: tuple[str, ...], sentence: str, random_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert call(monkeypatch, *typed(random_base, "generate", "a dog", *words, "--out", tmp_path, "--steps", "1")) == 0
    assert sentence in capsys.readouterr().err


def test_an_edit_calls_no_files(
    random_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = typed(random_base, "generate", "a dog", "--edit", "a cat <lora:x:1>", "--out", tmp_path)
    assert call(monkeypatch, *words) == 2
    assert "<lora:x:1> is in the edit, which has the files of the prompt" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("words", [("--edit", "a qword"), ("--region", "0,0,1,1: a qword")])
def test_embeddings_act_in_edits_and_regions(
    words: tuple[str, ...], base: Base, random_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the library, and attached beside the prompt, where the recipe has them for the picture made again."""
    embedding = learned(base, trial("textual-inversion", token="qword"))
    save(embedding, tmp_path / "library" / "embeddings" / "qword.safetensors")
    made = []
    for name, more in (
        ("plain", ()), ("called", ("--library", tmp_path / "library")),
        ("attached", ("--use", tmp_path / "library" / "embeddings" / "qword.safetensors")),
    ):  # fmt: skip
        asked = typed(random_base, "generate", "a dog", *words, "--out", tmp_path / name, "--steps", "2", *more)
        assert call(monkeypatch, *asked) == 0
        made.append(Image.open(tmp_path / name / "00000.png"))
    plain, called, attached = (picture.tobytes() for picture in made)
    assert called != plain
    assert attached == called
    assert [use["called"] for use in json.loads(made[2].text["triptych"])["uses"]] == [True]  # type: ignore[attr-defined]
