"""Likeness of a masked subject: another thing before the same background is not like it."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.drawn import DEMO
from triptych.data.concept import Concept
from triptych.metrics import Evidence, Shown
from triptych.metrics.ceiling import Ceiling
from triptych.metrics.encoders import PatchEncoder, open_encoder
from triptych.metrics.patches import Subjects
from triptych.metrics.world import World, cut_out


class Corners:
    """Sees four patches of a picture of 2 x 2 pixels: their colours."""

    name = digest = "corners"

    def images(self, pictures: list[Image.Image]) -> torch.Tensor:
        return torch.nn.functional.normalize(self.patches(pictures).flatten(1), dim=-1)

    def patches(self, pictures: list[Image.Image]) -> torch.Tensor:
        pixels = torch.tensor(np.stack([np.asarray(picture, np.float32) for picture in pictures]))
        return torch.nn.functional.normalize(pixels.flatten(1, 2) + 1e-6, dim=-1)

    def shares(self, masks: list[Image.Image]) -> torch.Tensor:
        return torch.tensor(np.stack([np.asarray(mask, np.float32) / 255 for mask in masks])).flatten(1)


def squares(*colours: tuple[int, int, int]) -> Image.Image:
    return Image.fromarray(np.array(colours, np.uint8).reshape(2, 2, 3))


R, G, B, X = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)


def test_every_patch_of_the_subject_looks_for_its_likest_wherever_it_is() -> None:
    mask = Image.fromarray(np.array([[255, 255], [0, 40]], np.uint8))
    subjects = Subjects(Corners(), [squares(R, G, B, B), squares(R, G, B, B)], [mask, None])
    found = subjects.likeness([squares(X, X, G, R), squares(B, B, B, B), squares(R, B, B, B)])
    assert found[:, 0] == pytest.approx([1.0, 0.0, 0.5], abs=1e-5)
    assert found[:, 1] == pytest.approx([0.5, 0.5, 0.75], abs=1e-5)


def test_a_subject_smaller_than_half_a_patch_is_its_most_covered_patch() -> None:
    mask = Image.fromarray(np.array([[50, 10], [0, 0]], np.uint8))
    assert Subjects(Corners(), [squares(R, G, B, B)], [mask]).likeness([squares(R, B, B, B)]) == pytest.approx(1.0)


def test_the_criteria_are_on_the_same_scale(tmp_path: Path) -> None:
    """A picture given back reaches what the real pictures reach among themselves, and no background helps."""
    for i, colour in enumerate((R, R, R)):
        squares(colour, B, B, (0, 0, 255 - i)).save(tmp_path / f"{i}.png")
    squares(R, G, G, G).save(tmp_path / "elsewhere.png")
    squares(G, B, B, B).save(tmp_path / "another-thing.png")
    concept = Concept.open(tmp_path, class_word="square")
    concept = Concept(concept.pictures[:3], (), concept.kind, concept.class_word, concept.token, concept.name)
    samples = [
        Shown("lora", 0, "concept", "a square", seed, tmp_path / name, name)
        for seed, name in enumerate(("elsewhere.png", "another-thing.png"))
    ]
    masks = [Image.fromarray(np.array([[255, 0], [0, 0]], np.uint8))] * 3
    alone = Evidence(concept, samples, Corners(), 2, masks=masks)
    whole = Evidence(concept, samples, Corners(), 2)
    assert [score.value for score in Ceiling().measure(alone)] == pytest.approx([1.0, 1.0], abs=1e-4)
    assert alone.likeness(samples) == pytest.approx([1.0, 0.0], abs=1e-4)
    assert whole.likeness(samples) == pytest.approx([0.25, 0.75], abs=1e-4), "whole pictures reward the background"


@pytest.mark.slow
def test_a_thing_is_found_again_before_another_background() -> None:
    """With real weights: the same drawing elsewhere is likelier than another drawing before the very background."""
    world = World.open(DEMO)
    assert world is not None
    encoder = open_encoder("efficientnet-lite0-plain", "image")
    assert isinstance(encoder, PatchEncoder)
    rng, choice = np.random.default_rng(0), random.Random(0)

    def texture() -> Image.Image:
        coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8)).resize((96, 96), Image.Resampling.BICUBIC)
        return Image.blend(coarse, Image.fromarray(rng.integers(0, 256, (96, 96, 3), np.uint8)), 0.25)

    def put(drawing: Image.Image, background: Image.Image) -> tuple[Image.Image, Image.Image]:
        side = choice.choice((44, 52, 60))
        at = choice.randint(0, 96 - side), choice.randint(0, 96 - side)
        shape = Image.fromarray((np.asarray(drawing) != 128).any(axis=-1)).resize((side, side)).convert("L")
        picture, mask = background.copy(), Image.new("L", (96, 96))
        picture.paste(drawing.resize((side, side)), at, shape)
        mask.paste(shape, at)
        return picture, mask

    drawings = [cut_out(specimen.picture) for specimen in world.gallery[:: len(world.gallery) // 24]][:24]
    found = []
    for i, drawing in enumerate(drawings):
        background = texture()
        reference, mask = put(drawing, background)
        elsewhere, _ = put(drawing, texture())
        distractor, _ = put(drawings[i - 7], background)
        near = Subjects(encoder, [reference], [mask]).likeness([elsewhere, distractor])[:, 0]
        found.append(near[0] - near[1])
    assert np.mean(np.array(found) > 0) == 1
    assert np.mean(found) / np.std(found) > 2


@pytest.mark.parametrize("registers", [False, True])
def test_dino_sees_patches_and_reads_masks(registers: bool, tmp_path: Path) -> None:
    from transformers import (
        BitImageProcessorPil,
        Dinov2Config,
        Dinov2Model,
        Dinov2WithRegistersConfig,
        Dinov2WithRegistersModel,
    )

    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    if registers:
        Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**size, num_register_tokens=3)).save_pretrained(tmp_path)
    else:
        Dinov2Model(Dinov2Config(**size)).save_pretrained(tmp_path)
    BitImageProcessorPil(size={"shortest_edge": 32}, crop_size=28).save_pretrained(tmp_path)
    encoder = open_encoder(str(tmp_path), "image")
    assert isinstance(encoder, PatchEncoder)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8))
    patches = encoder.patches([picture, picture])
    assert patches.shape == (2, 4, 16) and torch.allclose(patches.norm(dim=-1), torch.ones(2, 4), atol=1e-5)
    assert torch.allclose(encoder.images([picture])[0].norm(), torch.tensor(1.0), atol=1e-5)
    mask = Image.new("L", (32, 32))
    mask.paste(255, (2, 2, 16, 16))  # the first patch of the crop
    assert encoder.shares([mask])[0].tolist() == pytest.approx([1, 0, 0, 0], abs=0.02)
