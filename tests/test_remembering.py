"""What encoders saw is kept: a study that grows by prompts, trainings or methods encodes its new pictures alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.plain import call, pictures, typed
from triptych.metrics.encoders import ImageEncoder, TextImageEncoder
from triptych.study.remembering import Remembering


class Counting:
    """Means of the channels, and how many pictures it was asked for."""

    name, digest = "counting", "counting 1"

    def __init__(self) -> None:
        self.seen = 0

    def images(self, given: Sequence[Image.Image]) -> Tensor:
        self.seen += len(given)
        means = [torch.tensor(list(one.convert("RGB").resize((1, 1)).tobytes()), dtype=torch.float32) for one in given]
        return torch.nn.functional.normalize(torch.stack(means) + 1)


class Reading(Counting):
    def texts(self, texts: Sequence[str]) -> Tensor:
        return torch.ones(len(texts), 3)


def test_a_picture_is_encoded_once_also_by_a_later_run(tmp_path: Path) -> None:
    first, (one, two, three) = Counting(), pictures(3)
    told = Remembering(first, tmp_path).images([one, two, one])
    assert first.seen == 2 and torch.equal(told, Counting().images([one, two, one]))
    later = Counting()
    assert torch.equal(Remembering(later, tmp_path).images([three, two]), Counting().images([three, two]))
    assert later.seen == 1


def test_another_encoder_and_other_pixels_are_not_mistaken_for_it(tmp_path: Path) -> None:
    (one,), other = pictures(1), Counting()
    Remembering(Counting(), tmp_path).images([one])
    other.digest = "counting 2"
    Remembering(other, tmp_path).images([one])
    assert other.seen == 1
    same = Counting()
    Remembering(same, tmp_path).images([one.resize((8, 32))])
    assert same.seen == 1


def test_a_file_that_cannot_be_read_is_as_good_as_none(tmp_path: Path) -> None:
    (one,), again = pictures(1), Counting()
    Remembering(Counting(), tmp_path).images([one])
    for path in tmp_path.glob("*/*.npz"):
        path.write_bytes(path.read_bytes()[:50])
    Remembering(again, tmp_path).images([one])
    assert again.seen == 1


def test_what_reads_texts_still_does(tmp_path: Path) -> None:
    assert isinstance(Remembering(Reading(), tmp_path), TextImageEncoder)
    assert not isinstance(Remembering(Counting(), tmp_path), TextImageEncoder)


@pytest.mark.study
@pytest.mark.xdist_group("remembering")
def test_a_study_that_grows_encodes_its_new_pictures_alone(
    folder: Path, random_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoders: list[Counting] = []

    def counted(name: str, kind: str, device: str) -> ImageEncoder:
        encoders.append(Counting() if kind == "image" else Reading())
        return encoders[-1]

    def encoded(*more: str) -> int:
        encoders.clear()
        assert call(monkeypatch, *words, *more) == 0
        return sum(encoder.seen for encoder in encoders)

    monkeypatch.setattr("triptych.metrics.encoders.open_encoder", counted)
    monkeypatch.setattr("triptych.study.encoders.open_encoder", counted)
    words = typed(random_base, "try", folder, "--budget", "quick", "--precision", "fp32", "--no-points")
    words += ["--together", "none", "--unrelated", "4", "--out", str(tmp_path / "out")]
    words += ["-s", "lora.steps=2", "-s", "textual-inversion.steps=2"]
    two = ("--methods", "textual-inversion,lora")
    begun = encoded(*two, "--prompts", "8")
    assert begun > 0 and encoded(*two, "--prompts", "8") == 0
    pictures_before = len(list((tmp_path / "out").glob("sheets/*/*.png")))
    grown = encoded(*two, "--prompts", "12")
    assert 0 < grown < begun / 2
    more = encoded("--methods", "textual-inversion,lora,aesthetic-gradients", "--prompts", "12")
    new = {path.parent.name for path in (tmp_path / "out").glob("sheets/aesthetic-gradients*/*.png")}
    drawn = len(list((tmp_path / "out").glob("sheets/aesthetic-gradients*/*.png")))
    assert new and 0 < more <= 2 * drawn and pictures_before > 0
    assert call(monkeypatch, *words, "--methods", "lora", "--prompts", "12") == 2, "rows are added, not taken away"
