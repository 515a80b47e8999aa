"""The report of a synthetic study: self-contained, offline, escaped, and complete."""

import html
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from PIL import Image, ImageDraw

from triptych.errors import TriptychError
from triptych.report import build, plots, scatter
from triptych.scores import BASE, Cost, Score, write_scores
from triptych.verdict import judge
from triptych.verdict.intervals import Interval
from triptych.verdict.words import inside, title, titled

FIDELITY = {"textual-inversion": 0.35, "hypernetwork": 0.55, "lora": 0.8, "aesthetic-gradients": 0.06}
CALM = {"textual-inversion": 0.98, "hypernetwork": 0.71, "lora": 0.86, "aesthetic-gradients": 0.93}
FOLLOWS = {BASE: 0.9, "textual-inversion": 0.78, "hypernetwork": 0.66, "lora": 0.81, "aesthetic-gradients": 0.85}
BYTES = {"textual-inversion": 4_200, "hypernetwork": 1_410_000, "lora": 402_000, "aesthetic-gradients": 1_100}
COLOURS = {"red": "#d8322f", "dark blue": "#1b2a63", "orange": "#f59a23", "purple": "#8d48c0", "green": "#3ba650"}
PROMPTS = [f"a drawing of a cat on a {name} background" for name in COLOURS]
UNRELATED = ["a drawing of a house", "a drawing of a fish", "a drawing of a tree", "a drawing of a car"]
SEEDS = (7001, 7002)
HOSTILE = '"><script>alert(1)</script><img src="http://example.org/x.png">'


def drawing(colour: str, likeness: float, seed: int, size: int = 64) -> Image.Image:
    """A cat's face that comes out of a blob as `likeness` goes from 0 to 1."""
    random = np.random.default_rng(seed)
    big = Image.new("RGB", (256, 256), colour)
    pen = ImageDraw.Draw(big)
    x, y = random.integers(100, 156, 2)
    fur = tuple(
        int((1 - likeness) * other + likeness * own) for own, other in zip((250, 196, 60), (120, 90, 140), strict=True)
    )
    wobble = (1 - likeness) * random.normal(0, 26, (7, 2))
    for side in (-1, 1):
        ear = [(x + side * 62, y - 20), (x + side * 56, y - 86), (x + side * 14, y - 52)]
        pen.polygon([(a + dx, b + dy) for (a, b), (dx, dy) in zip(ear, wobble, strict=False)], fill=fur)
    pen.ellipse([x - 66 + wobble[4][0], y - 54, x + 66 + wobble[5][0], y + 60 + wobble[6][1]], fill=fur)
    if likeness > 0.3:
        for side in (-1, 1):
            pen.ellipse([x + side * 28 - 9, y - 14, x + side * 28 + 9, y + 12], fill="#33251f")
        pen.polygon([(x - 9, y + 18), (x + 9, y + 18), (x, y + 29)], fill="#d9607a")
    pixels = np.asarray(big.resize((size, size), Image.Resampling.BOX), dtype=float)
    noise = random.normal(0, 3 + 9 * (1 - likeness), pixels.shape)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype("uint8"))


def write_sheet(study: Path, method: str, role: str, prompts: list[str], likeness: float, size: int) -> list[str]:
    folder = study / "sheets" / f"{method}-{role}-{len(list(study.glob('sheets/*')))}"
    folder.mkdir(parents=True)
    rows = []
    colours = list(COLOURS.values())
    for index, (prompt, seed) in enumerate((prompt, seed) for prompt in prompts for seed in SEEDS):
        name = f"{index:05}.png"
        drawing(colours[index // len(SEEDS) % 5], likeness, seed + index, size).save(folder / name)
        rows.append({"file": name, "prompt": prompt, "seed": seed})
    told = {"method": method, "replicate": 0, "role": role, "pictures": rows}
    (folder / "sheet.json").write_text(json.dumps(told))
    return [f"sheets/{folder.name}/{row['file']}" for row in rows]


def scores_of(method: str, run: int, paths: list[str], prompts: list[str]) -> list[Score]:
    random = np.random.default_rng([run, sum(map(ord, method))])
    places = [(prompt, seed) for prompt in prompts for seed in SEEDS]
    found = []
    for metric, level in (
        ("subject_fidelity", 0.41 + 0.37 * FIDELITY.get(method, 0.0)),
        ("prompt_fidelity", FOLLOWS[method]),
    ):
        for (prompt, seed), path in zip(places, paths, strict=True):
            found.append(
                Score(metric, method, level + random.normal(0, 0.03), run, prompt, seed, path if run == 0 else None)
            )
    found += [Score("diversity", method, 0.4 + random.normal(0, 0.04), run, prompt) for prompt in prompts]
    for prompt in UNRELATED:
        for seed in SEEDS:
            noise = 0 if method == BASE else random.normal(0, 0.03)
            found.append(Score("base_preservation", method, min(CALM.get(method, 1.0) + noise, 1), run, prompt, seed))
    return found


def write_study(study: Path, prompts: list[str] = PROMPTS, size: int = 64, replicates: int = 3) -> Path:
    """A whole study folder as `triptych try` leaves it, with DreamBooth failed."""
    scores = [Score("ceiling", "real", 0.78 + 0.01 * index) for index in range(-2, 3)]
    for method in (BASE, *FIDELITY):
        likeness = FIDELITY.get(method, 0.0)
        paths = write_sheet(study, method, "concept", prompts, likeness, size)
        write_sheet(study, method, "unrelated", UNRELATED, 1 - CALM.get(method, 1.0), size)
        for run in range(1 if method == BASE else replicates):
            scores += scores_of(method, run, paths, prompts)
            if method != BASE:
                write_trial(study, method, run)
    write_scores(study / "scores.jsonl", scores)
    costs = [
        Cost(
            name,
            True,
            count // 4,
            count,
            200,
            1600,
            20.0 + index * 8,
            90_000_000,
            95.0,
            ("lora", "hypernetwork"),
            seconds_a_picture=0.2,
        )
        for index, (name, count) in enumerate(BYTES.items())
    ]
    verdict = judge(scores, costs, failures={"dreambooth": "the loss became infinite at step 12; try a lower rate"})
    (study / "verdict.json").write_text(verdict.to_json())
    write_facts(study)
    return study


def write_trial(study: Path, method: str, run: int) -> None:
    folder = study / "trials" / f"{method}-{run}"
    folder.mkdir(parents=True)
    says = "<blob-cat>" if method == "textual-inversion" else "blob-cat cat"
    told = {"method": method, "replicate": run, "settings": {"rank": 4}, "steps": 200, "lr": 0.002, "says": says}
    (folder / "trial.json").write_text(json.dumps(told))
    random = np.random.default_rng(run)
    losses = [0.09 + 0.08 * np.exp(-step / 60) + random.normal(0, 0.02) for step in range(200)]
    lines = [json.dumps({"step": step, "loss": loss}) + "\n" for step, loss in enumerate(losses)]
    (folder / "log.jsonl").write_text("".join(lines))


def write_facts(study: Path) -> None:
    facts = {
        "study": {
            "folder": "blob-cat",
            "base": "demo",
            "kind": "subject",
            "class": "cat",
            "token": "<blob-cat>",
            "methods": [*FIDELITY, "dreambooth"],
            "budget": "standard",
            "need": "fidelity",
            "seed": 0,
            "version": "0.1.0",
            "command": "triptych try examples/blob-cat --base demo --class cat --budget standard --seed 0",
            "resolution": 64,
            "pictures": 8,
            "held_out": ["07.png", "08.png"],
            "broken": [{"file": "notes.png", "reason": "it is a text file"}],
            "replicates": 3,
        },
        "sampling": {"steps": 20, "guidance": 5.0, "sampler": "dpm++ 2m", "seeds": list(SEEDS)},
        "encoders": {"image": "EfficientNet-Lite0", "text": "pixels and nearest neighbours"},
    }
    (study / "study.toml").write_text(tomli_w.dumps(facts))
    (study / "thumbs").mkdir()
    (study / "artifacts").mkdir()
    for index, colour in enumerate((*COLOURS.values(), "#ffffff", "#2c9c9c", "#f7d23e")):
        drawing(colour, 1.0, index).save(study / "thumbs" / f"{index}.png")
    for name, count in BYTES.items():
        (study / "artifacts" / f"blob-cat.{name}.safetensors").write_bytes(bytes(min(count, 4200)))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build(write_study(tmp_path_factory.mktemp("study"))).read_text(encoding="utf-8")


def test_it_is_one_small_file_that_fetches_nothing(page: str) -> None:
    assert len(page) < 3_000_000
    fetched = re.findall(r"""(?:src|href|srcset|data|action)\s*=\s*["']?([^"'\s>]+)""", page.split("<script>")[0])
    assert fetched
    assert all(url.startswith(("data:", "#", "artifacts/")) for url in fetched)
    assert not re.search(r"@import|url\(|https?:", page)


def test_the_answers_come_first_and_in_words(page: str) -> None:
    order = ["Is textual inversion enough?", "Is DreamBooth excessive?", "middle ground?", "Side by side", "Measured"]
    places = [page.index(text) for text in order]
    assert places == sorted(places)
    assert re.search(r'class="answer no">No<small>', page) and re.search(
        r'class="answer cannot-tell">Cannot tell<', page
    )


def test_everything_is_there(page: str) -> None:
    for text in ("Textual inversion", "Hypernetwork", "LoRA", "Aesthetic gradients", "Bare base", *PROMPTS, *UNRELATED):
        assert text in page, text
    for text in (
        "Your picture 8",
        "notes.png: it is a text file",
        "07.png, 08.png",
        "&lt;blob-cat&gt;",
        "triptych try",
    ):
        assert text in page, text


def test_a_failure_is_a_row_that_says_why(page: str) -> None:
    assert "the loss became infinite at step 12" in page
    assert page.count('<tr class="failed">') >= 2


def test_every_picture_has_words_and_every_table_cell_a_head(page: str) -> None:
    pictures = re.findall(r"<img [^>]+>", page.split("<dialog")[0])
    assert len(pictures) == 8 + 5 * (len(PROMPTS) + len(UNRELATED)) * len(SEEDS)
    assert all(re.search(r'alt="[^"]+"', one) for one in pictures)
    assert all("scope=" in head for head in re.findall(r"<th[ >][^>]*>", page))


@pytest.mark.slow
def test_a_sheet_of_older_settings_is_not_shown(tmp_path: Path) -> None:
    study = write_study(tmp_path, prompts=PROMPTS[:1])
    write_sheet(study, "lora", "concept", ["a prompt that was asked before"], 0.5, 64)
    assert "asked before" not in build(study).read_text()


@pytest.mark.slow
def test_hostile_text_is_text(tmp_path: Path) -> None:
    study = write_study(tmp_path, prompts=[HOSTILE, "a cat"])
    facts = (study / "study.toml").read_text().replace("blob-cat", HOSTILE.replace('"', '\\"'))
    (study / "study.toml").write_text(facts)
    page = build(study).read_text()
    assert "<script>alert" not in page
    assert html.escape(HOSTILE).replace("&quot;", "&#34;") in page


@pytest.mark.slow
def test_a_picture_that_is_large_becomes_a_thumbnail(tmp_path: Path) -> None:
    page = build(write_study(tmp_path, prompts=PROMPTS[:2], size=512)).read_text()
    assert len(page) < 1_500_000


def test_only_the_verdict_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "verdict.json").write_text(judge([], []).to_json())
    assert "None of them" in build(tmp_path).read_text()
    with pytest.raises(TriptychError, match="holds no verdict"):
        build(tmp_path / "nothing")


def test_a_method_of_another_package_has_its_own_title(tmp_path: Path) -> None:
    with titled({"svd-lora": "SVD-LoRA"}):
        verdict = judge([], [], failures={"svd-lora": "no picture"})
    (tmp_path / "verdict.json").write_text(verdict.to_json())
    (tmp_path / "study.toml").write_text('[study]\nmethods = ["svd-lora"]\ntitles = {svd-lora = "SVD-LoRA"}\n')
    assert "SVD-LoRA" in build(tmp_path).read_text()
    assert (title("svd-lora"), inside("lora")) == ("Svd lora", "LoRA")


def test_a_spoilt_file_is_a_sentence(tmp_path: Path) -> None:
    study = write_study(tmp_path, prompts=PROMPTS[:1])
    (study / "study.toml").write_text("study = [")
    with pytest.raises(TriptychError, match="cannot be read"):
        build(study)


@pytest.mark.slow
def test_torch_is_not_needed() -> None:
    code = "import sys, triptych.report; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- plots -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-0.23, 1.4), (0.001, 0.0042), (0, 20_000)])
def test_ticks_are_round_and_inside(low: float, high: float) -> None:
    found = plots.ticks(low, high)
    assert 3 <= len(found) <= 7
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in found)


@pytest.mark.parametrize("seed", range(20))
def test_names_in_the_scatter_plot_never_overlap(seed: int) -> None:
    random = np.random.default_rng(seed)
    x, y = plots.Scale(0, 1, 56, 598), plots.Scale(0, 1, 352, 18)
    frame = scatter.Box(58, 8, 616, 348)
    middle = random.uniform(0.2, 0.8, 2)
    names = ("Textual inversion", "Hypernetwork", "LoRA", "DreamBooth", "Aesthetic gradients")
    points = []
    for slot, name in enumerate(names):
        at = middle + random.normal(0, 0.05, 2)  # crowded
        points.append(scatter.Point(name, slot, *(Interval(value, value - 0.1, value + 0.1, 9) for value in at)))
    boxes = scatter.place(points, x, y, frame)
    assert not any(one.overlap(other) for index, one in enumerate(boxes) for other in boxes[:index])
    assert all(frame.left <= box.left and box.right <= frame.right for box in boxes)


def test_an_interval_without_ends_is_a_dot_alone() -> None:
    known = Interval(0.5, 0.4, 0.6, 9)
    scale = plots.Scale(0, 1, 4, 116)
    assert 'class="bar"' in plots.strip(known, scale, 0)
    assert 'class="bar"' not in plots.strip(replace(known, low=-np.inf), scale, 0)
