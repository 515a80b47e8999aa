"""Each way of preparing pictures reaches the training: sizes, masks, variations; and nothing is encoded twice."""

from __future__ import annotations

import json
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from tests.plain import call
from tests.worlds import gap, trial
from triptych.app.train import TrainRequest, _made_from, _prepare
from triptych.base import Base, Framing, Place, tiny_base
from triptych.data import kept_latents, preparing
from triptych.data.concept import Concept
from triptych.data.examples import Examples
from triptych.data.framing import acting, bucket_of, bucketed, buckets, step_of
from triptych.data.pictures import read_picture
from triptych.data.variants import shuffled, varied
from triptych.errors import TriptychError
from triptych.files import cached, kept
from triptych.metrics import covering
from triptych.options import PictureOptions, StudyOptions
from triptych.study import Plan
from triptych.study.layout import Layout
from triptych.study.progress import Silent
from triptych.study.run import _prepared
from triptych.study.training import runs
from triptych.study.work import Work
from triptych.training.fit import Fitted, Trial, fit
from triptych.training.kept_texts import encoded

SIZES = ((48, 48), (72, 32), (32, 72), (40, 64), (20, 20))


@pytest.fixture
def cat(tmp_path: Path) -> Path:
    place = tmp_path / "cat"
    place.mkdir()
    for i, (width, height) in enumerate(SIZES):
        noise = np.random.default_rng(i).integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(noise).save(place / f"{i}.png")
        (place / f"{i}.txt").write_text(f"<concept>, sun, tag {i}, sea")
    return place


def made(base: Base, place: Path, seed: int = 0, **options: object) -> Examples:
    concept = Concept.open(place)
    return Examples.of(base, concept, range(len(concept.pictures)), PictureOptions(**options), seed)  # type: ignore[arg-type]


def learning(examples: Examples, **given: object) -> Trial:
    return replace(trial("lora", steps=3, **given), examples=examples)


@pytest.mark.parametrize(("resolution", "step"), [(1024, 64), (512, 64), (64, 8)])
def test_buckets_have_the_area_and_steps(resolution: int, step: int) -> None:
    known = buckets(resolution, step)
    assert (resolution, resolution) in known
    for width, height in known:
        assert width % step == height % step == 0
        assert width * height <= resolution**2
        assert (height, width) in known
        assert width * (height + step) > resolution**2 or height + step > 2 * resolution or width < height
    if resolution == 1024:
        assert {(1152, 896), (1216, 832), (1344, 768), (1536, 640), (832, 1216)} <= set(known)  # SDXL's own


@pytest.mark.parametrize(
    ("size", "wanted"),
    [((3000, 3000), (1024, 1024)), ((3000, 2000), (1216, 832)), ((900, 900), (896, 896)), ((700, 1400), (640, 1344)),
     ((30, 40), (64, 64)), ((8000, 1000), (2048, 512))],
)  # fmt: skip
def test_a_picture_goes_to_the_bucket_of_its_shape_and_is_not_enlarged(
    size: tuple[int, int], wanted: tuple[int, int]
) -> None:
    assert bucket_of(size, 1024, 64) == wanted


def test_what_is_cut_is_measured() -> None:
    framed = bucketed(Image.new("RGB", (300, 200)), 64, 8, (1, 0))
    assert framed.picture.size == (72, 56) or framed.picture.size == (80, 48)
    width, height = framed.picture.size
    assert framed.framing is not None
    assert framed.framing[:2] == (200, 300)
    assert framed.cut == pytest.approx(
        1 - width * height / (max(width, height * 1.5) * max(height, width / 1.5)), abs=0.02
    )


def test_buckets_keep_the_aspect_and_say_so(cat: Path) -> None:
    base = tiny_base()
    examples = made(base, cat, framing="bucket")
    step = step_of(base)
    for example in examples.each:
        assert example.picture is not None and example.framing is not None
        width, height = example.picture.size
        assert (width % step, height % step) == (0, 0)
        assert example.latent.shape[1:] == (height // base.pixels, width // base.pixels)
    wide, tall = examples.each[1].latent.shape, examples.each[2].latent.shape
    assert wide[2] > wide[1] and tall[1] > tall[2]
    assert any(line.startswith("buckets") for line in examples.notes)
    square = made(base, cat, framing="square")
    assert {tuple(example.latent.shape[1:]) for example in square.each} == {base.latent_shape[1:]}
    assert "1.png 56%" in " ".join(square.notes)
    (fitted,) = fit(base, [learning(examples)])
    assert all(np.isfinite(fitted.losses))


def test_pictures_are_as_they_are_unless_squares_are_asked_for(cat: Path, tmp_path: Path) -> None:
    base, concept = tiny_base(), Concept.open(cat)
    plain, square = made(base, cat), made(base, cat, framing="square")
    assert len({example.latent.shape for example in plain.each}) > len(
        {example.latent.shape for example in square.each}
    )
    assert acting(PictureOptions(), [concept], base.resolution).stated == {"framing": "bucket"}
    for path in cat.glob("[1-4].png"):
        Image.fromarray(np.random.default_rng(int(path.stem)).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    squares = Concept.open(cat)
    assert not acting(PictureOptions(), [squares], base.resolution).stated
    assert all(torch.equal(a.latent, b.latent) and a.framing is None for a, b in zip(
        made(base, cat).each, made(base, cat, framing="square").each, strict=True
    ))  # fmt: skip


def test_a_picture_is_judged_by_all_of_it(cat: Path) -> None:
    base, concept = tiny_base(), Concept.open(cat)
    square, wide, *_ = concept.views(16)
    assert (len(square), len(wide)) == (1, 3)
    whole = read_picture(cat / "1.png").resize((36, 16), Image.Resampling.LANCZOS)
    for view, left in zip(wide, (10, 0, 20), strict=True):
        seen = whole.crop((left, 0, left + 16, 16))
        assert np.abs(np.asarray(view, float) - np.asarray(seen, float)).mean() < 20
    work = Work(Plan.of(cat, StudyOptions(methods=("lora",))), base, concept, Layout(cat.parent / "out"), Silent())
    assert work.encoders.whole and [len(own) for own in work.redrawn] == [1, 3, 3, 3, 1]

    class Mean:
        def images(self, pictures: Sequence[Image.Image]) -> torch.Tensor:
            rows = torch.tensor([np.asarray(each, float).mean((0, 1)) for each in pictures])
            return torch.nn.functional.normalize(rows, dim=-1)

    features = covering(Mean(), [wide, square])  # type: ignore[arg-type]
    parts = Mean().images(wide).numpy()
    assert features[0] == pytest.approx(parts.mean(0) / np.linalg.norm(parts.mean(0)))
    assert np.linalg.norm(features, axis=1) == pytest.approx(1)


def test_a_square_is_as_it_was(cat: Path) -> None:
    base, concept = tiny_base(), Concept.open(cat)
    examples = made(base, cat, framing="square")
    pictures = concept.images(base.resolution)
    assert all(np.array_equal(a.picture, b) for a, b in zip(examples.each, pictures, strict=True))
    assert torch.equal(torch.stack([example.latent for example in examples.each]), base.latents(pictures))
    assert all(example.framing is None and example.weights is None for example in examples.each)


def test_sdxl_is_told_size_and_crop(cat: Path) -> None:
    examples = made(tiny_base(kind="sdxl"), cat, framing="bucket")
    told = examples.each[1].framing
    assert isinstance(told, Framing)
    assert (told.height, told.width) == (32, 72)


@pytest.mark.slow
def test_masks_beside_in_a_folder_and_in_alpha_weigh_the_loss(cat: Path) -> None:
    base = tiny_base()
    half = np.zeros((48, 48), np.uint8)
    half[:, :24] = 255
    Image.fromarray(half).save(cat / "0.mask.png")
    (cat / "masks").mkdir()
    Image.new("L", (72, 32), 128).save(cat / "masks" / "1.png")
    clear = read_picture(cat / "2.png").convert("RGBA")
    clear.putalpha(Image.fromarray(np.vstack([np.full((36, 32), 255, np.uint8), np.zeros((36, 32), np.uint8)])))
    clear.save(cat / "2.png")
    examples = made(base, cat, masks=True)
    weights = [example.weights for example in examples.each]
    assert weights[0] is not None and weights[1] is not None and weights[2] is not None
    side = base.latent_shape[2]
    left = (torch.arange(side) < side // 2).float().expand(side, side)
    assert torch.allclose(weights[0], left, atol=0.05)  # scaled as the picture is
    assert weights[1].unique().tolist() == pytest.approx([128 / 255])
    assert weights[2][0, 0] == 1 and weights[2][-1, 0] == 0
    assert weights[3] is None
    assert "masks: the loss of 3 of 5 pictures is weighed by theirs" in examples.notes
    plain = made(base, cat)
    losses = [fit(base, [learning(one, batch=5)])[0].losses for one in (examples, plain)]
    assert losses[0] != losses[1]
    flipped = made(base, cat, masks=True, flips=True).each[1]
    assert flipped.weights is not None and torch.allclose(flipped.weights, weights[0].flip(1))


def test_a_picture_and_its_mask_are_opened_once(cat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (48, 48), 128).save(cat / "0.mask.png")
    opened: list[str] = []
    read, mask = preparing.read_picture, preparing.mask_of
    monkeypatch.setattr(preparing, "read_picture", lambda path: opened.append(path.name) or read(path))
    monkeypatch.setattr(preparing, "mask_of", lambda path: opened.append(f"mask of {path.name}") or mask(path))
    examples = made(tiny_base(), cat, masks=True, crops=True)
    assert len(examples) == 8 * len(SIZES) and examples.each[7].weights is not None
    assert sorted(opened) == sorted(f"{what}{i}.png" for what in ("", "mask of ") for i in range(len(SIZES)))


def test_another_mask_is_another_training(cat: Path, tmp_path: Path) -> None:
    Image.new("L", (48, 48), 128).save(cat / "0.mask.png")
    concept, place = Concept.open(cat), Place("tiny")
    base = tiny_base()

    def inputs(options: PictureOptions) -> tuple[object, object]:
        plan = Plan.of(cat, StudyOptions(methods=("lora",), pictures=options))
        run, *_ = runs(Work(plan, base, concept, Layout(tmp_path), Silent()))
        request = TrainRequest("lora", concept, place, {}, pictures=options)
        return run.folder, _made_from(_prepare(request, base, str))

    masked, plain = PictureOptions(masks=True), PictureOptions()
    before = inputs(masked), inputs(plain)
    Image.new("L", (48, 48), 64).save(cat / "0.mask.png")
    after = inputs(masked), inputs(plain)
    assert after[1] == before[1]
    assert all(one != other for one, other in zip(after[0], before[0], strict=True))


@pytest.mark.slow
def test_a_black_mask_is_refused(cat: Path) -> None:
    Image.new("L", (48, 48)).save(cat / "0.mask.png")
    with pytest.raises(TriptychError, match="black"):
        made(tiny_base(), cat, masks=True)


def test_flips_double_the_examples(cat: Path) -> None:
    plain, both = made(tiny_base(), cat), made(tiny_base(), cat, flips=True)
    assert len(both) == 2 * len(plain)
    assert both.each[1].picture is not None and plain.each[0].picture is not None
    assert np.array_equal(both.each[1].picture, ImageOps.mirror(plain.each[0].picture))
    assert "variations: 5 pictures make 10 examples" in both.notes


@pytest.mark.slow
def test_variations_follow_from_the_seed(cat: Path) -> None:
    base = tiny_base()
    ways = {"crops": True, "colours": 0.2, "shuffle_tags": True}
    first, again, other = (made(base, cat, seed, **ways) for seed in (3, 3, 4))
    assert [one.template for one in first.each] == [one.template for one in again.each]
    assert all(torch.equal(a.latent, b.latent) for a, b in zip(first.each, again.each, strict=True))
    assert any(not torch.equal(a.latent, b.latent) for a, b in zip(first.each, other.each, strict=True))
    assert len({one.template for one in first.each[:8]}) > 2
    assert all(one.template.startswith("{}") for one in first.each)
    losses = [fit(base, [learning(one)])[0] for one in (first, again, made(base, cat))]
    assert gap(losses[0].tensors, losses[1].tensors) == 0 < gap(losses[0].tensors, losses[2].tensors)


def test_tags_and_wildcards() -> None:
    import random

    orders = {shuffled("a, {} cat, b, c, d", 2, random.Random(i)) for i in range(40)}
    assert len(orders) > 3
    assert all(order.startswith("{} cat, a, ") and len(order.split(", ")) == 5 for order in orders)
    said = {way.caption for way in varied("x", "a {red|blue} {}", PictureOptions(), 0)}
    assert said == {"a red {}", "a blue {}"}


def test_tags_that_are_not_shuffled_are_said(cat: Path) -> None:
    (cat / "0.txt").write_text("a <concept> on a sofa")
    (cat / "1.txt").write_text("<concept>, sun")
    told = [made(tiny_base(), cat, **options).notes for options in ({"shuffle_tags": True}, {"keep_tags": 2}, {})]
    assert "tags: 2 of 5 captions have none to shuffle" in told[0]
    assert "tags: none are shuffled, so how many are kept changes nothing" in told[1]
    assert not any(line.startswith("tags") for line in told[2])


def test_a_study_says_how_pictures_are_framed_and_judged(cat: Path, tmp_path: Path) -> None:
    plan = Plan.of(cat, StudyOptions(methods=("lora",), pictures=PictureOptions(framing="bucket", flips=True)))
    work = Work(plan, tiny_base(), Concept.open(cat), Layout(tmp_path), Silent())
    told = "\n".join(_prepared(work, runs(work)))
    assert "buckets (width x height: pictures)" in told and "variations: 4 pictures make 8 examples" in told
    assert "judges by whole pictures" in told


def test_an_unknown_framing_is_refused() -> None:
    with pytest.raises(TriptychError, match="did you mean 'bucket'"):
        PictureOptions(framing="buckets")  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"framing": "bucket", "flips": True}])
def test_a_second_run_encodes_nothing(cat: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, object]) -> None:
    base, calls = tiny_base(), []
    encode = base.vae.encode
    monkeypatch.setattr(base.vae, "encode", lambda pixels: calls.append(len(pixels)) or encode(pixels))
    first = made(base, cat, **options)
    assert sum(calls) == len(first)
    calls.clear()
    second = made(base, cat, **options)
    assert calls == []
    for one, other in zip(first.each, second.each, strict=True):
        assert torch.equal(one.latent, other.latent)
        assert one.latent.stride() == other.latent.stride()
    alike = [fit(base, [learning(one)])[0].tensors for one in (first, second)]
    assert gap(*alike) == 0


def test_another_base_or_picture_has_another_entry(cat: Path) -> None:
    first = made(tiny_base(), cat)
    assert not torch.equal(first.each[0].latent, made(tiny_base(seed=1), cat).each[0].latent)
    Image.new("RGB", (48, 48), "red").save(cat / "0.png")
    assert not torch.equal(first.each[0].latent, made(tiny_base(), cat).each[0].latent)


def test_a_broken_entry_is_made_anew_and_the_cache_is_bounded(cat: Path, tmp_path: Path) -> None:
    base = tiny_base()
    first = made(base, cat)
    folder = kept_latents.cache_folder() / kept_latents.FOLDER
    entries: Sequence[Path] = list(folder.glob("*.safetensors"))
    for entry in entries:
        entry.write_bytes(b"broken")
    assert torch.equal(made(base, cat).each[0].latent, first.each[0].latent)
    for i in range(4):
        (tmp_path / f"{i}.safetensors").write_bytes(bytes(100))
    (tmp_path / ".left by a killed process.tmp").write_bytes(bytes(100))
    kept.trim(tmp_path, 250)
    assert len([path for path in tmp_path.iterdir() if path.is_file()]) == 2


def test_the_cache_is_trimmed_once_and_read_where_it_cannot_be_written(
    cat: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, trimmed = tiny_base(), list[Path]()
    monkeypatch.setattr(kept_latents, "trim", lambda folder, most: trimmed.append(folder))
    first = made(base, cat, flips=True)
    assert len(trimmed) == 1

    def refuse(path: Path) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(kept.os, "utime", refuse)
    monkeypatch.setattr(base.vae, "encode", None)
    assert torch.equal(made(base, cat, flips=True).each[0].latent, first.each[0].latent)


@pytest.mark.slow
def test_the_cache_is_shown_and_cleared(
    cat: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made(tiny_base(), cat, framing="square")
    assert call(monkeypatch, "cache", "--json") == 0
    (part,) = json.loads(capsys.readouterr().out)["parts"]
    assert (part["name"], part["files"]) == ("latents", 1)
    assert call(monkeypatch, "cache", "--clear", "latent") == 2
    assert "did you mean 'latents'" in capsys.readouterr().err
    assert call(monkeypatch, "cache", "--clear", "latents") == 0
    assert call(monkeypatch, "cache", "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["parts"] == []


@pytest.mark.slow
def test_neither_a_second_epoch_nor_a_second_run_encodes_anything(cat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures and captions of ten epochs are encoded once, and not at all in another run on another open base."""
    calls: list[str] = []

    def run(**given: object) -> Fitted:
        base = tiny_base()
        for name, part in (("picture", base.vae.encoder), ("text", base.texts[0].encoder)):
            part.register_forward_hook(lambda *_, name=name: calls.append(name))
        return fit(base, [replace(learning(made(base, cat, flips=True), batch=5, **given))])[0]

    first = run()
    assert Counter(calls) == {"picture": 2 * len(SIZES), "text": 1}
    calls.clear()
    second = run()
    assert calls == [] and gap(first.tensors, second.tensors) == 0
    run(text_lr=1e-3)  # captions are encoded at every step where they change
    assert calls.count("text") > 3
    calls.clear()
    (cat / "0.txt").write_text("a <concept> in another place")
    run()
    assert calls == ["text"]
    cached.clear("texts")
    calls.clear()
    run()
    assert calls == ["text"]


def test_text_that_a_patch_changes_is_not_kept(cat: Path) -> None:
    base = tiny_base()
    before = encoded(base, [(None, ["a dog"])]).hidden
    on = {"lora": {"text_lr": 1e-3}, "textual-inversion": {"token": "dog"}, "dreambooth": {"text_lr": 1e-3}}
    assert base.reads_as_opened
    for name, given in on.items():
        one = trial(name, **given)
        start = {} if name == "dreambooth" else one.kind.start(base, one.settings, 0)
        with one.kind.patch(base, one.settings, start):
            assert not base.reads_as_opened, name
        assert base.reads_as_opened
    assert torch.equal(encoded(base, [(None, ["a dog"])]).hidden, before)


@pytest.mark.slow
def test_threads_change_neither_order_nor_results(cat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, read = tiny_base(), preparing.read_picture
    names, filters = [f"{i}.png" for i in range(len(SIZES))], list(warnings.filters)

    def slow(path: Path) -> Image.Image:
        time.sleep(0.02 * (len(SIZES) - int(path.stem)))  # the first picture is ready last
        return read(path)

    one, several = (kept_apart(base, cat, workers, slow, monkeypatch) for workers in (1, 4))
    assert several.names == one.names == names
    for a, b in zip(one.each, several.each, strict=True):
        assert torch.equal(a.latent, b.latent)
    assert warnings.filters == filters
    (cat / "3.png").write_bytes(b"no picture any more")
    concept = Concept.open(cat)
    (cat / "1.png").unlink()
    with pytest.raises(TriptychError, match=r"1\.png"):
        Examples.of(base, concept, range(len(concept.pictures)))


def kept_apart(
    base: Base, cat: Path, workers: int, read: Callable[[Path], Image.Image], monkeypatch: pytest.MonkeyPatch
) -> Examples:
    monkeypatch.setattr(preparing, "WORKERS", workers)
    monkeypatch.setattr(preparing, "read_picture", read)
    cached.clear("latents")
    return made(base, cat)
