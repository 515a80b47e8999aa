"""The recipe of the demo base in miniature: drawings made here, seconds of training, no network."""

from __future__ import annotations

import io
import itertools
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPModel

from recipes.demo_base.art import Package, every_package, render, render_all, world_drawings
from recipes.demo_base.compose import Composer
from recipes.demo_base.examples.development import CREATURE
from recipes.demo_base.export import install
from recipes.demo_base.fit import Plan, Progress, fit, rate_factor
from recipes.demo_base.fleet import Fleet
from recipes.demo_base.judge.exam import psnr, set_exam
from recipes.demo_base.judge.judge import Judge, Reading
from recipes.demo_base.stage import STAGES, Workshop
from recipes.demo_base.words import build_tokenizer
from recipes.demo_base.world import WORLD_FILE, Scene, World
from triptych.base.opening.difference import add, compress, energy
from triptych.metrics.world import World as Facts

SHAPES = {
    "lion": '<circle cx="16" cy="16" r="14" fill="{}"/>',
    "red-apple": '<rect x="4" y="10" width="24" height="12" fill="{}"/>',
    "owl": '<path d="M16 2 L30 30 L2 30 Z" fill="{}"/>',
    "rocket": '<rect x="12" y="2" width="8" height="28" fill="{}"/>',
}
COLOURS = ("#c00", "#0a0", "#00c", "#fc0", "#808", "#088", "#f80")


def pack(file: Path, colour: str) -> None:
    """An icon package of four shapes."""
    icons = {name: {"body": shape.format(colour)} for name, shape in SHAPES.items()}
    table = json.dumps({"icons": icons, "aliases": {"red-apple-again": {"parent": "red-apple"}}, "width": 32}).encode()
    with tarfile.open(file, "w:gz") as archive:
        entry = tarfile.TarInfo("package/icons.json")
        entry.size = len(table)
        archive.addfile(entry, io.BytesIO(table))


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an archive for every package of the world."""
    folder = tmp_path_factory.mktemp("packs")
    for colour, (package, version) in zip(COLOURS, every_package(World.open()).items(), strict=True):
        pack(folder / f"{package.lstrip('@').replace('/', '-')}-{version}.tgz", colour)
    return folder


@pytest.fixture(scope="module")
def composer(packs: Path, tmp_path_factory: pytest.TempPathFactory) -> Composer:
    """Scenes of the drawn shapes."""
    world = World.open()
    return Composer(world, render_all(world_drawings(world, packs), tmp_path_factory.mktemp("art") / "art.npy"))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Small models are fastest so, and other tests run beside this one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_every_stage_in_seconds_makes_a_base_that_diffusers_opens(packs: Path, tmp_path: Path) -> None:
    shop = Workshop(tmp_path, packs, Fleet(0, 1, torch.device("cpu")), 8.0, World.open())
    for stage in STAGES.values():
        stage(shop)
    base = StableDiffusionPipeline.from_pretrained(tmp_path / "demo", torch_dtype=torch.float32)
    base.set_progress_bar_config(disable=True)
    picture = base("a glossy lion on a red background", num_inference_steps=2, height=64, width=64).images[0]
    assert picture.size == (64, 64)
    assert base.unet.config.cross_attention_dim not in base.unet.config.block_out_channels
    assert base.tokenizer.model_max_length == base.text_encoder.config.max_position_embeddings == 77
    clip = CLIPModel.from_pretrained(tmp_path / "demo" / "clip", dtype=torch.float32)
    ours, theirs = base.text_encoder.state_dict(), clip.text_model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert (tmp_path / "demo" / "clip" / "preprocessor_config.json").exists()


def test_installing_leaves_foreign_files(tmp_path: Path) -> None:
    fresh, base = tmp_path / "fresh", tmp_path / "base"
    for folder in (fresh, base):
        for name in ("unet", "vae", "text_encoder", "tokenizer", "scheduler", "clip"):
            (folder / name).mkdir(parents=True)
            (folder / name / "config.json").write_text(folder.name)
        for name in ("model_index.json", "gallery.png", "ATTRIBUTION.md"):
            (folder / name).write_text(folder.name)
    (base / "triptych.toml").write_text("kept")
    install(fresh, base)
    assert (base / "unet" / "config.json").read_text() == "fresh"
    assert (base / "triptych.toml").read_text() == "kept"
    assert not [*base.glob(".*")]


def test_every_word_of_the_world_is_one_token_and_others_spell(tmp_path: Path) -> None:
    words = World.open().words()
    tokenizer = build_tokenizer(words, tmp_path)
    assert all(len(tokenizer(word).input_ids) == 3 for word in words)
    strange = "zürich 1648, naïve!"
    assert tokenizer.decode(tokenizer(strange).input_ids, skip_special_tokens=True).replace(" ", "") == strange.replace(
        " ", ""
    )


def test_captions_follow_the_grammar() -> None:
    world = World.open()
    assert world.caption(Scene("lion", "glossy", "teal")) == "a glossy lion on a teal background"
    assert (
        world.caption(Scene("owl", "blob", "red", "left", "small"))
        == "a small blob owl on the left on a red background"
    )
    assert world.say("<concept>", background="red") == "a <concept> on a red background"


def test_nothing_held_out_is_known() -> None:
    world = World.open()
    assert len(world.unseen_drawings) >= 60
    assert not world.unseen_drawings & set(world.subjects.values())
    assert "@iconify-json/fluent-emoji-high-contrast" not in every_package(world)


def test_no_example_shows_what_settings_are_chosen_by() -> None:
    shown = {path.stem.split("-", 1)[1] for path in (Path(__file__).parents[1] / "examples").glob("*/*.png")}
    assert "duck" in shown
    assert CREATURE not in shown


def test_aliases_are_followed(packs: Path) -> None:
    package = Package(next(packs.glob("*noto-1*.tgz")))
    assert package.svg("red-apple-again") == package.svg("red-apple")
    assert package.svg("nothing of that name") is None


def test_pictures_obey_their_scene(composer: Composer) -> None:
    facts = Facts.open(WORLD_FILE.parent)
    assert facts is not None
    picture = composer.picture(Scene("lion", "noto", "pink", "left", "small"), np.random.default_rng(0))
    assert facts.background(picture) == "pink"
    assert (picture[:, 40:] == picture[0, 63]).all()


class Pixels:
    """An encoder that compares pictures pixel by pixel."""

    name = digest = "pixels"

    def images(self, pictures: list[Image.Image]) -> Tensor:
        """float32 [pictures, d], rows of length 1."""
        small = np.stack([np.asarray(picture.resize((16, 16))).ravel() for picture in pictures]).astype(np.float32)
        return nn.functional.normalize(torch.from_numpy(small) - 128, dim=1)


@pytest.mark.slow
def test_the_judge_reads_real_pictures_and_shuffled_labels_give_chance(composer: Composer) -> None:
    facts = Facts.open(WORLD_FILE.parent)
    assert facts is not None
    judge, exam = Judge.open(composer, facts, Pixels(), list), set_exam(composer, 300)
    readings = judge.read([Image.fromarray(picture) for picture in exam.real])
    shuffled = [exam.scenes[i] for i in np.random.default_rng(0).permutation(len(exam.scenes))]
    right, chance = judge.marks(exam.scenes, readings), judge.marks(shuffled, readings)
    assert np.mean(right["background"]) > 0.98
    assert np.mean(right["subject"]) > 0.9
    assert np.mean(chance["subject"]) == pytest.approx(1 / len(SHAPES), abs=0.1)
    assert np.mean(chance["background"]) == pytest.approx(1 / 12, abs=0.07)


class Outlines(Pixels):
    """An encoder that sees shapes and no colours."""

    def images(self, pictures: list[Image.Image]) -> Tensor:
        shapes = [(np.asarray(picture) != 128).any(axis=-1) for picture in pictures]
        return super().images([Image.fromarray(np.uint8(255 * shape)).convert("RGB") for shape in shapes])


@pytest.mark.slow
def test_drawings_that_two_styles_share_are_one_style(composer: Composer) -> None:
    facts = Facts.open(WORLD_FILE.parent)
    assert facts is not None
    coarse = Judge.open(composer, facts, Outlines(), lambda seen: [one[::2, ::2] for one in seen])
    exact = Judge.open(composer, facts, Pixels(), list)
    lion = Scene("lion", "noto", "red")
    read = [Reading("red", "centre", "medium", subject, "blob") for subject in ("lion", "owl")]
    assert coarse.shared.keys() == {"lion", "apple", "owl", "rocket"} and not exact.shared
    assert coarse.marks([lion, lion], read)["style"] == [True, False]
    assert exact.marks([lion, lion], read)["style"] == [False, False]


def test_psnr_of_a_known_error() -> None:
    dark, light = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 51, np.uint8)
    assert psnr([dark], [light]) == pytest.approx(20 * np.log10(5))


def test_an_svg_from_nowhere_fills_its_square() -> None:
    wide = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 20"><rect width="40" height="20" fill="#fff"/></svg>'
    )
    assert render(wide, 32).size == (32, 32)


class Parabola:
    """The smallest task: one number that wants to be three."""

    name = "parabola"

    def __init__(self) -> None:
        self.modules = nn.ModuleDict({"line": nn.Linear(1, 1, bias=False)})

    def loss(self, rng: np.random.Generator, noise: torch.Generator) -> Tensor:
        """(w - 3)², with a little noise."""
        w = self.modules["line"].weight
        return ((w - 3 + 0.01 * torch.randn(1, generator=noise) + 0.0 * rng.random()) ** 2).mean()


def test_a_killed_run_resumes_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()  # a clock on which every step takes a hundredth of a second, on any machine
    monkeypatch.setattr("recipes.demo_base.fit.time", SimpleNamespace(perf_counter=lambda: next(ticks) / 100))
    plan = Plan(seconds=3.0, rate=0.05, warm_up=5, averaging=0.9)
    task, fleet = Parabola(), Fleet(0, 1, torch.device("cpu"))
    fit(task, plan, fleet, tmp_path)
    first = Progress(Parabola(), plan)
    first.load(tmp_path / "parabola.checkpoint")
    assert first.step > 5
    fit(Parabola(), Plan(seconds=4.0, rate=0.05, warm_up=5, averaging=0.9), fleet, tmp_path)
    second = Progress(Parabola(), plan)
    second.load(tmp_path / "parabola.checkpoint")
    assert second.step > first.step
    assert task.modules["line"].weight.item() == pytest.approx(3, abs=0.3)


def test_the_rate_rises_holds_and_falls() -> None:
    plan = Plan(seconds=1, rate=1, hold=0.5, warm_up=10)
    assert rate_factor(0.0, 0, plan) == pytest.approx(0.1)
    assert rate_factor(0.4, 100, plan) == 1
    assert rate_factor(1.0, 100, plan) == pytest.approx(0)


def test_a_difference_of_low_rank_is_kept_whole() -> None:
    generator = torch.Generator().manual_seed(0)
    before = {"matrix": torch.randn(8, 4, 3, 3, generator=generator), "vector": torch.randn(8, generator=generator)}
    step = torch.randn(8, 2, generator=generator) @ torch.randn(2, 36, generator=generator)
    after = {"matrix": before["matrix"] + step.view(8, 4, 3, 3), "vector": before["vector"] + 1}
    kept = compress(before, after, rank=2)
    assert {name: tensor.shape for name, tensor in kept.items()} == {
        "matrix.up": (8, 2),
        "matrix.down": (2, 36),
        "vector.whole": (8,),
    }
    assert all(torch.allclose(value, after[name], atol=0.02) for name, value in add(before, kept).items())
    assert energy(before, after, kept) > 0.9999
    assert energy(before, after, compress(before, after, rank=1)) < 0.99


@pytest.mark.slow
def test_going_on_from_a_finished_base_begins_with_its_weights(tmp_path: Path) -> None:
    from diffusers import UNet2DConditionModel

    from recipes.demo_base.denoiser import build_denoiser
    from recipes.demo_base.fit import load_mean
    from recipes.demo_base.onwards import go_on_from
    from recipes.demo_base.stage import PACES, denoiser_plan
    from triptych.base import EMBEDDED

    go_on_from(EMBEDDED["demo"], tmp_path, denoiser_plan(1.0, PACES["cpu"]))
    begun = build_denoiser()
    load_mean(torch.nn.ModuleDict({"unet": begun}), tmp_path / "unet.checkpoint")
    shipped = UNet2DConditionModel.from_pretrained(EMBEDDED["demo"] / "unet", torch_dtype=torch.float32)
    assert all(torch.equal(value, shipped.state_dict()[name]) for name, value in begun.state_dict().items())
    assert (tmp_path / "vae" / "config.json").is_file()
    assert (tmp_path / "clip.done").is_file()


@pytest.mark.slow
def test_demo_b_is_the_demo_base_and_a_small_difference() -> None:
    from triptych.base import Place
    from triptych.base.opening.loading import DIFFERENCES

    demo, other = (Place(name, "cpu", "fp32").open() for name in ("demo", "demo-b"))
    assert demo.identity != other.identity
    assert demo.description == other.description
    assert DIFFERENCES["demo-b"].stat().st_size < 1_000_000
    weights = {name: weight.flatten(1) for name, weight in demo.denoiser.module.named_parameters() if weight.ndim > 1}
    name = max(weights, key=lambda name: min(weights[name].shape))
    change = other.denoiser.module.get_parameter(name).flatten(1) - weights[name]
    assert torch.linalg.matrix_rank(change, rtol=1e-3) == 4
