"""Pictures that begin with a picture: all of it, what a mask shows, or a second pass that makes it larger."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from tests.plain import first_fast
from tests.worlds import call, pictures, typed
from triptych.base import Base, tiny_base
from triptych.errors import TriptychError
from triptych.options import FILLS
from triptych.sampling.controls import Controls
from triptych.sampling.generate import sample, sample_latents, settings_for
from triptych.sampling.image_to_image import Start
from triptych.sampling.outpainting import Extension
from triptych.sampling.request import Request
from triptych.sampling.samplers import SAMPLERS

SIZE = (16, 16)


@pytest.fixture
def picture() -> Image.Image:
    return pictures(1)[0]


def half() -> Image.Image:
    """A mask of the right half."""
    mask = Image.new("L", SIZE)
    ImageDraw.Draw(mask).rectangle((8, 0, 15, 15), fill=255)
    return mask


def drawn(base: Base, start: Start | None, sampler: str = "dpm++", steps: int = 8, **controls: object) -> Tensor:
    drawing = settings_for(base, steps=steps, sampler=sampler, guidance=1.5)
    return sample_latents(base, [Request("a dog", (1,), start=start)], drawing, Controls(**controls))[0]  # type: ignore[arg-type]


@pytest.mark.parametrize("sampler", first_fast([name for name in SAMPLERS if "-karras" not in name], 3))
def test_the_distance_rises_with_denoise(base: Base, picture: Image.Image, sampler: str) -> None:
    start, clean = Start.of(picture, SIZE), base.latents([picture])[0]
    far = [float((drawn(base, start, sampler, denoise=share) - clean).norm()) for share in (0.0, 0.25, 0.5, 1.0)]
    assert far[0] == 0
    assert far == sorted(far)
    assert torch.equal(drawn(base, start, sampler, denoise=0.5), drawn(base, start, sampler, denoise=0.5))


@pytest.mark.parametrize("fill", FILLS)
def test_what_the_mask_does_not_show_is_kept(base: Base, picture: Image.Image, fill: str) -> None:
    start = Start.of(picture, SIZE, half(), blur=0, fill=fill)
    latents, clean = drawn(base, start, denoise=0.75), base.latents([start.picture])[0]
    assert torch.equal(latents[:, :, :4], clean[:, :, :4])
    assert not torch.allclose(latents[:, :, 4:], clean[:, :, 4:], atol=1e-3)
    ((made,),) = sample(base, [Request("a dog", (1,), start=start)], controls=Controls(denoise=0.75))
    old, new = np.asarray(picture), np.asarray(made)
    assert np.array_equal(new[:, :8], old[:, :8])
    assert (new[:, 8:] != old[:, 8:]).any()


def test_fills_differ(base: Base, picture: Image.Image) -> None:
    found = [drawn(base, Start.of(picture, SIZE, half(), 0, fill), denoise=0.75) for fill in FILLS]
    assert all(not torch.equal(one, other) for i, one in enumerate(found) for other in found[:i])


def test_blurred_surroundings_hold_nothing_of_what_is_masked() -> None:
    picture = Image.new("RGB", (64, 64), (200, 0, 0))
    ImageDraw.Draw(picture).rectangle((20, 20, 43, 43), fill=(0, 0, 255))
    mask = Image.new("L", (64, 64))
    ImageDraw.Draw(mask).rectangle((20, 20, 43, 43), fill=255)
    filled = np.asarray(Start.of(picture, (64, 64), mask, 0, "blur").picture).astype(int)
    assert np.abs(filled - (200, 0, 0)).max() <= 12


def test_only_masked_samples_a_box_at_the_whole_size(base: Base) -> None:
    large = pictures(1, size=64)[0]
    mask = Image.new("L", (64, 64))
    ImageDraw.Draw(mask).rectangle((40, 40, 50, 47), fill=255)
    start = Start.of(large, SIZE, mask, blur=0, padding=4)
    assert start.box == (36, 34, 55, 53) or (start.box[2] - start.box[0] == start.box[3] - start.box[1])
    assert start.box[0] <= 36 and start.box[2] >= 55 and start.box[3] <= 64
    ((made,),) = sample(base, [Request("a dog", (1,), start=start)], controls=Controls(denoise=0.75))
    assert made.size == (64, 64)
    old, new = np.asarray(large).astype(int), np.asarray(made).astype(int)
    changed = (old != new).any(-1)
    assert changed[40:48, 40:51].any()
    changed[36:52, 36:55] = False
    assert not changed.any()


def test_masks_that_are_none(picture: Image.Image) -> None:
    with pytest.raises(TriptychError, match="the mask is 8 x 8 pixels, and the picture 16 x 16"):
        Start.of(picture, SIZE, Image.new("L", (8, 8), 255))
    with pytest.raises(TriptychError, match="the mask is black"):
        Start.of(picture, SIZE, Image.new("L", SIZE))


@pytest.mark.parametrize("by", ["latent", "pixel"])
def test_a_second_pass_makes_it_larger(base: Base, by: str) -> None:
    first = drawn(base, None)
    larger = drawn(base, None, hires=2.0, hires_by=by, hires_denoise=0.5)
    assert larger.shape == (4, 16, 16)
    kept = drawn(base, None, hires=2.0, hires_by=by, hires_denoise=0.0)
    assert not torch.equal(larger, kept)
    if by == "pixel":  # the tiny base's autoencoder is random, so that it does not give back what it got
        return
    small = torch.nn.functional.interpolate(kept[None], (8, 8), mode="area")[0]
    assert torch.corrcoef(torch.stack([small.flatten(), first.flatten()]))[0, 1] > 0.5


def middles(base: Base, **controls: object) -> list[int]:
    """The width of the middle block's maps in each call of the denoiser."""
    seen: list[int] = []
    hook = base.denoiser.module.mid_block.register_forward_hook(lambda *call: seen.append(call[-1].shape[-1]))
    drawn(base, None, **controls)  # type: ignore[arg-type]
    hook.remove()
    return seen


@pytest.mark.parametrize(("until", "sizes"), [(1.0, [4] * 4), (0.5, [4, 4, 8, 8]), (0.0, [8] * 4)])
def test_coarse_layers_of_a_second_pass_see_the_first_size(base: Base, until: float, sizes: list[int]) -> None:
    """For as much of the second pass as is asked for."""
    plain = drawn(base, None)
    assert middles(base, hires=2.0, hires_denoise=0.5, hires_shrink=until) == [4] * 8 + sizes
    assert torch.equal(drawn(base, None), plain)


def test_coarse_layers_of_a_large_picture_see_the_bases_own_size(base: Base) -> None:
    assert middles(base, width=32, height=24) == [8] * 8
    assert middles(base, width=32, height=24, shrink=0.25) == [4] * 2 + [8] * 6
    assert middles(base, width=32, height=24, shrink=1.0, hires=2.0, hires_denoise=0.25) == [4] * 10
    assert drawn(base, None, width=24, height=12, shrink=1.0).shape == (4, 6, 12)
    assert torch.equal(drawn(base, None, shrink=1.0), drawn(base, None))
    assert "shrink is not used: 16 x 16" in Controls(shrink=1.0).notes(base)[0]
    assert "has no coarse layers" in Controls(shrink=1.0).notes(tiny_base(kind="zimage"))[0]


def test_a_picture_on_a_flow() -> None:
    base = tiny_base(kind="zimage")
    (picture,) = pictures(1)
    clean = base.latents([picture])[0]
    drawing = settings_for(base, steps=8, sampler="euler", guidance=1.0)
    start = Start.of(picture, SIZE)
    found = [
        sample_latents(base, [Request("a dog", (1,), start=start)], drawing, Controls(denoise=share))[0]
        for share in (0.25, 0.9)
    ]
    far = [float((one - clean).norm()) for one in found]
    assert far[0] < far[1]


def test_from_the_command_line(
    tmp_path: Path, random_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures(1, size=32)[0].save(tmp_path / "start.png")
    Image.new("L", (32, 32), 255).save(tmp_path / "mask.png")
    words = typed(random_base, "generate", "a dog", "--from", tmp_path / "start.png", "--out", tmp_path / "out")
    assert call(monkeypatch, *words, "--denoise", "0.25", "--denoise", "0.75", "--mask", tmp_path / "mask.png") == 0
    texts = [Image.open(path).text["parameters"] for path in sorted((tmp_path / "out").glob("*.png"))]  # type: ignore[attr-defined]
    assert ["Denoising strength: 0.25" in texts[0], "Denoising strength: 0.75" in texts[1]] == [True, True]
    assert "Mask blur: 4" in texts[0]
    without = [word for word in words if word not in ("--from", str(tmp_path / "start.png"))]
    assert call(monkeypatch, *without, "--denoise", "0.5") == 2
    assert "--from" in capsys.readouterr().err


@pytest.mark.slow
def test_what_needs_a_picture_or_a_mask_is_said(
    tmp_path: Path, random_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = typed(random_base, "generate", "a dog", "--out", tmp_path / "out", "--steps", "1")
    unused = ("--fill", "blur", "--mask-padding", "8", "--hires-by", "pixel", "--variation-seed", "3")
    assert call(monkeypatch, *words, *unused) == 0
    told = capsys.readouterr().err
    for sentence in (
        "fill is not used: there is no mask", "hires by is not used without hires",
        "variation seed is not used without variation strength", "mask padding is not used without only masked",
    ):  # fmt: skip
        assert sentence in told
    again = typed(random_base, "generate", "--again", tmp_path / "out" / "00000.png", "--out", tmp_path / "again")
    assert call(monkeypatch, *again, "--denoise", "0.5") == 2
    assert "are for a picture to begin with; name it with --from PICTURE" in capsys.readouterr().err
    pictures(1, size=32)[0].save(tmp_path / "start.png")
    Image.new("L", (32, 32), 255).save(tmp_path / "mask.png")
    more = ("--from", tmp_path / "start.png", "--mask", tmp_path / "mask.png", "--only-masked", "--heat", "dog")
    assert call(monkeypatch, *words, *more) == 2
    assert "maps of words do not go with a masked part" in capsys.readouterr().err


# --- outpainting ---------------------------------------------------------------------------------------------------


def test_an_extension_grows_to_what_the_base_can_have() -> None:
    assert Extension.of("0,0,8,0").rounded((16, 16), 4) == Extension(0, 0, 8, 0)
    assert Extension.of("3,0,0,1").rounded((16, 16), 4) == Extension(4, 0, 0, 4)
    assert Extension.of("1,2,1,2").rounded((15, 15), 8) == Extension(1, 2, 8, 7)
    assert Extension(1, 2, 8, 7).grown((15, 15)) == (24, 24)
    for wrong in ("1,2,3", "0,0,0,0", "-1,0,0,0", "0,0,0,9999", "a,0,0,0"):
        with pytest.raises(TriptychError, match="LEFT,TOP,RIGHT,BOTTOM in pixels"):
            Extension.of(wrong)


def test_the_canvas_is_the_picture_and_its_mirror_image(picture: Image.Image) -> None:
    by, old = Extension(0, 0, 8, 4), np.asarray(picture)
    canvas, mask = np.asarray(by.canvas(picture)), np.asarray(by.mask(SIZE))
    assert np.array_equal(canvas[:16, :16], old)
    assert np.array_equal(canvas[:16, 16:], old[:, :7:-1])
    assert not mask[:16, :16].any()
    assert mask[16:].all() and mask[:, 16:].all()
    edged = np.asarray(by.mask(SIZE, half(), 2))
    assert edged[:, 8:].all() and edged[14:].all()
    assert not edged[:14, :8].any()


@pytest.mark.slow
@pytest.mark.parametrize("fill", FILLS)
def test_outpainting_from_the_command_line(
    fill: str, tmp_path: Path, random_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start = pictures(1)[0]
    start.save(tmp_path / "start.png")
    words = typed(random_base, "generate", "a dog", "--from", tmp_path / "start.png", "--out", tmp_path / "out")
    more = ("--extend", "3,0,0,8", "--fill", fill, "--mask-blur", "0", "--denoise", "1")
    assert call(monkeypatch, *words, *more) == 0
    assert "extended by 4,0,0,8, so that its sides are multiples of 4" in capsys.readouterr().err
    made = Image.open(tmp_path / "out" / "00000.png")
    assert made.size == (20, 24)
    assert np.array_equal(np.asarray(made)[:16, 4:], np.asarray(start)), "the picture itself is kept"
    assert "Extended by: 4,0,0,8" in made.text["parameters"].replace('"', "")  # type: ignore[attr-defined]
    again = typed(random_base, "generate", "--again", tmp_path / "out" / "00000.png", "--out", tmp_path / "again")
    assert call(monkeypatch, *again, "--from", tmp_path / "start.png") == 0
    assert np.array_equal(np.asarray(Image.open(tmp_path / "again" / "00000.png")), np.asarray(made))


def test_an_extension_needs_a_picture(
    tmp_path: Path, random_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = typed(random_base, "generate", "a dog", "--extend", "0,0,8,0", "--out", tmp_path / "out")
    assert call(monkeypatch, *words) == 2
    assert "what is extended is a picture to begin with; name it with --from" in capsys.readouterr().err
