"""CLIPScore and VQAScore: the formula, the probability of yes, and prompt fidelity component by component."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, tensor

from tests.drawn import composed
from triptych.data.concept import Concept
from triptych.errors import TriptychError
from triptych.metrics import Evidence, Shown
from triptych.metrics.by_score import ByScore
from triptych.metrics.clip_score import ClipScore as ClipScoreMetric
from triptych.metrics.encoders import PromptScorer, open_encoder
from triptych.metrics.encoders.clip_score import ClipScore
from triptych.metrics.encoders.vqa_score import QUESTION
from triptych.metrics.kept_scores import KeptScores, Pair
from triptych.metrics.prompt_fidelity import PromptFidelity
from triptych.scores import BASE, REAL

COLOURS = {"red": (200, 30, 30), "blue": (30, 30, 200), "green": (30, 200, 30)}
PLACES = {"on a beach": (220, 200, 100), "in the snow": (250, 250, 250)}
WORDS = {"property": tuple(COLOURS), "place": tuple(PLACES)}
STATEMENTS = {"property": "a {value} {thing}", "place": "a scene {value}"}


@dataclass
class Sees:
    """Answers by the middle and the corner of a picture. It notes every question."""

    name: str = "sees"
    digest: str = "sees"
    asked: list[str] = field(default_factory=list)

    def scores(self, pictures: Sequence[Image.Image], texts: Sequence[str]) -> Tensor:
        self.asked += texts
        return tensor([self._one(*each) for each in zip(pictures, texts, strict=True)])

    def _one(self, picture: Image.Image, text: str) -> float:
        for known, at in ((COLOURS, (16, 16)), (PLACES, (0, 0))):
            for value, colour in known.items():
                if value in text:
                    return 0.9 if picture.getpixel(at) == colour else 0.1
        return 0.5


def drawn(path: Path, colour: str, place: str) -> Path:
    picture = Image.new("RGB", (32, 32), PLACES[place])
    picture.paste(COLOURS[colour], (8, 8, 24, 24))
    picture.save(path)
    return path


@pytest.fixture
def evidence(tmp_path: Path) -> Evidence:
    """A method that draws half of what it is asked, and a base that draws all of it."""
    (tmp_path / "my-cat").mkdir()
    for i, colour in enumerate(COLOURS):
        drawn(tmp_path / "my-cat" / f"{i}.png", colour, "on a beach")
        (tmp_path / "my-cat" / f"{i}.txt").write_text(f"a photo of a {colour} cat")
    samples = []
    for seed, (colour, place) in enumerate((("red", "on a beach"), ("blue", "in the snow"), ("green", "on a beach"))):
        for method, place_drawn in ((BASE, place), ("lora", "in the snow")):
            path = drawn(tmp_path / f"{method}-{seed}.png", colour, place_drawn)
            prompt = f"a photo of a {colour} cat {place}"
            samples.append(Shown(method, 0, "concept", prompt, seed, path, path.name))
    encoder = open_encoder("efficientnet-lite0", "image")
    return Evidence(
        Concept.open(tmp_path / "my-cat"), samples, encoder, 32, words=WORDS, scorer=Sees(), statements=STATEMENTS,
        kept_scores=tmp_path / "kept.jsonl",
    )  # fmt: skip


def test_each_component_is_a_question_of_its_own(evidence: Evidence) -> None:
    scores = list(PromptFidelity().measure(evidence))
    assert isinstance(evidence.scorer, Sees)
    assert {"a red cat", "a blue cat", "a green cat", "a scene on a beach", "a scene in the snow"} == {
        *evidence.scorer.asked
    }
    found = {(score.metric, score.method, score.seed): score.value for score in scores if score.seed is not None}
    assert all(found["prompt_property", "lora", seed] == pytest.approx(1, abs=1e-6) for seed in range(3))
    assert [round(found["prompt_place", "lora", seed], 6) for seed in range(3)] == [0, 1, 0]
    assert [round(found["prompt_fidelity", "lora", seed], 6) for seed in range(3)] == [0, 1, 0], "components multiply"
    read = {score.metric: score.value for score in scores if score.method == REAL and not score.prompt}
    assert read == {"prompt_property": pytest.approx(0.8 / 0.9), "prompt_place": pytest.approx(0.8 / 0.9)}


def test_what_no_picture_shows_better_than_chance_is_left_out(evidence: Evidence) -> None:
    class Blind(Sees):
        def _one(self, picture: Image.Image, text: str) -> float:
            return 0.4 if "scene" in text else super()._one(picture, text)

    scores = list(PromptFidelity().measure(replace(evidence, scorer=Blind(digest="blind"))))
    assert {score.metric for score in scores if score.method == "lora"} == {"prompt_property", "prompt_fidelity"}
    assert next(score.value for score in scores if (score.metric, score.method) == ("prompt_place", REAL)) == 0


def test_a_question_is_asked_once_also_by_a_later_run(evidence: Evidence) -> None:
    first = [(score.metric, score.method, score.value) for score in PromptFidelity().measure(evidence)]
    assert isinstance(evidence.scorer, Sees)
    asked = len(evidence.scorer.asked)
    again = replace(evidence, scorer=Sees())
    assert [(score.metric, score.method, score.value) for score in PromptFidelity().measure(again)] == first
    assert isinstance(again.scorer, Sees)
    # five different samples with two right statements; two wrong ones of the base's three; three captions with both
    assert asked == 5 * 2 + 3 * 2 + 3 * 2
    assert again.scorer.asked == []
    other = replace(evidence, scorer=Sees(digest="another"))
    assert ByScore(other, other.scorer or Sees()).captioned() and isinstance(other.scorer, Sees) and other.scorer.asked


def test_scores_are_saved_as_they_come(tmp_path: Path) -> None:
    class Stops(Sees):
        def scores(self, pictures: Sequence[Image.Image], texts: Sequence[str]) -> Tensor:
            if len(self.asked) >= 64:
                raise KeyboardInterrupt
            return super().scores(pictures, texts)

    picture = Pair.of_picture(Image.new("RGB", (32, 32)))
    pairs = [picture.saying(f"text {i}") for i in range(100)]
    with pytest.raises(KeyboardInterrupt):
        KeptScores(Stops(), tmp_path / "kept.jsonl").of(pairs)
    later = Sees()
    assert len(KeptScores(later, tmp_path / "kept.jsonl").of(pairs)) == 100
    assert later.asked == [f"text {i}" for i in range(64, 100)]


class Fixed:
    """An encoder whose features are those that it was given."""

    name = digest = "fixed"

    def images(self, pictures: Sequence[Image.Image]) -> Tensor:
        return tensor([[1.0, 0.0]] * len(pictures))

    def texts(self, texts: Sequence[str]) -> Tensor:
        return tensor([{"right": [0.6, 0.8], "wrong": [-1.0, 0.0]}[text] for text in texts])


def test_clip_score_is_the_papers_formula(tmp_path: Path) -> None:
    picture = Image.new("RGB", (8, 8))
    scores = ClipScore(Fixed()).scores([picture, picture, Image.new("RGB", (8, 8))], ["right", "wrong", "right"])
    assert scores.tolist() == pytest.approx([1.5, 0.0, 1.5])
    assert isinstance(ClipScore(Fixed()), PromptScorer)
    picture.save(tmp_path / "a.png")
    for i in range(3):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / f"{i}.png")
    sample = Shown("lora", 0, "concept", "right", 3, tmp_path / "a.png", "a.png")
    concept = Concept.open(tmp_path, class_word="cat")
    [score] = ClipScoreMetric().measure(Evidence(concept, [sample], Fixed(), 8, Fixed()))
    assert (score.method, score.value, score.seed) == ("lora", pytest.approx(1.5), 3)


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random LLaVA with its processor and chat template."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        CLIPImageProcessorPil,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        PreTrainedTokenizerFast,
    )

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("llava")
    words = [
        "<pad>",
        "<s>",
        "</s>",
        "<unk>",
        "<image>",
        *QUESTION.replace('"{}"', "a red cat").replace("?", " ?").split(),
    ]
    words = list(dict.fromkeys([*words, "Yes", "yes", "No", "blue", "scene", "USER:", "ASSISTANT:"]))
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        additional_special_tokens=["<image>"],
    )  # fmt: skip
    size = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlavaConfig(
        vision_config={"model_type": "clip_vision_model", **size, "image_size": 16, "patch_size": 8},
        text_config={"model_type": "llama", **size, "vocab_size": len(words), "pad_token_id": 0},
        image_token_index=words.index("<image>"), vision_feature_layer=-1,
    )  # fmt: skip
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    template = (
        "{% for message in messages %}USER: {% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}"
        "{% if add_generation_prompt %} ASSISTANT:{% endif %}"
    )
    pictures = CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    LlavaProcessor(
        pictures, tokenizer, patch_size=8, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=template,
    ).save_pretrained(folder)  # fmt: skip
    return folder


@pytest.mark.slow
def test_vqa_score_is_the_probability_of_yes(llava: Path) -> None:
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    scorer = open_encoder(str(llava), "prompt")
    assert isinstance(scorer, PromptScorer)
    pictures = [composed((20, 60 * i, 200), 0.1, 0.8) for i in range(6)]
    texts = ["a red cat", "a blue cat", "a scene", "cat", "a red red red cat", "red"]  # of different lengths: padded
    together = scorer.scores(pictures, texts)
    model, processor = LlavaForConditionalGeneration.from_pretrained(llava).eval(), AutoProcessor.from_pretrained(llava)
    yes = [processor.tokenizer.convert_tokens_to_ids(word) for word in ("Yes", "yes")]
    for picture, text, score in zip(pictures, texts, together, strict=True):
        asked = f"USER: <image> {QUESTION.format(text)} ASSISTANT:"
        with torch.inference_mode():
            last = model(**processor(images=picture, text=asked, return_tensors="pt")).logits[0, -1]
        assert float(score) == pytest.approx(float(last.softmax(dim=0)[yes].sum()), abs=1e-6)
    assert len(set(together.tolist())) == 6
    assert scorer.digest == open_encoder(str(llava), "prompt").digest


@pytest.mark.slow
def test_what_answers_questions_encodes_no_pictures(llava: Path) -> None:
    for kind in ("image", "text"):
        with pytest.raises(TriptychError, match="answers questions about pictures, and encodes none"):
            open_encoder(str(llava), kind)  # type: ignore[call-overload]


@pytest.mark.slow
def test_a_model_that_cannot_be_asked_is_refused(llava: Path, tmp_path: Path) -> None:
    from shutil import copytree

    copytree(llava, tmp_path / "mute")
    for name in ("chat_template.jinja", "chat_template.json"):
        (tmp_path / "mute" / name).unlink(missing_ok=True)
    with pytest.raises(TriptychError, match="it has no chat template"):
        open_encoder(str(tmp_path / "mute"), "prompt")
