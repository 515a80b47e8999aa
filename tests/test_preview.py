"""Previews while pictures are sampled, and an autoencoder that takes pictures in tiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.worlds import call, typed
from triptych.app.previews import Previews
from triptych.app.sample import generate
from triptych.base import Base, generator, open_base, tiling, tiny_base
from triptych.cancel import Cancel, Cancelled
from triptych.files.cached import parts
from triptych.sampling.controls import Controls
from triptych.sampling.generate import stream
from triptych.sampling.preview import LinearDecoder, Preview, Watching
from triptych.sampling.request import Edit, Request


@pytest.mark.slow
def test_the_linear_decoder_is_near_the_decoder() -> None:
    base = open_base("demo")
    shown: list[Preview] = []
    (made,) = generate(base, "a cat on a blue background", (3,), watch=shown.append)
    (small,) = shown[-1].pictures()
    wanted = np.asarray(made.resize(small.size, Image.Resampling.BOX)).astype(float)
    off = np.abs(np.asarray(small) - wanted).mean()
    noise = np.abs(np.asarray(shown[0].pictures()[0]) - wanted).mean()
    assert off < 20 < noise, "colours of 0 to 255"


def test_it_is_fitted_once(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    first = LinearDecoder.of(base)
    assert first.factors.shape == (5, 3)
    assert [part.name for part in parts()] == ["previews"]
    monkeypatch.setattr(LinearDecoder, "fitted", None)
    assert torch.allclose(LinearDecoder.of(base).factors, first.factors)


def test_a_fit_by_least_squares_leaves_nothing_that_latents_explain(base: Base) -> None:
    """On an autoencoder that is linear, it is exact."""
    mix = torch.rand(4, 3, generator=generator("mix")) / 4

    def decode(latents: torch.Tensor, tiled: bool | None = None) -> list[Image.Image]:
        colours = torch.einsum("nchw,cd->nhwd", latents.tanh(), mix) + 0.5
        grown = colours.repeat_interleave(2, 1).repeat_interleave(2, 2)
        return [Image.fromarray((own * 255).clamp(0, 255).byte().numpy()) for own in grown]

    def encode(pictures: list[Image.Image], tiled: bool | None = None) -> torch.Tensor:
        return 0.1 * torch.randn(len(pictures), 4, 8, 8, generator=generator("latents"))

    base.decode, base.latents = decode, encode  # type: ignore[method-assign]
    found = LinearDecoder.fitted(base)
    assert torch.allclose(found.factors, torch.cat([mix, torch.full((1, 3), 0.5)]), atol=0.02)


@pytest.mark.parametrize("sampler", ["dpm++", "heun", "dpm++-karras", "euler"])
def test_a_picture_is_seen_after_each_step(base: Base, sampler: str) -> None:
    shown: list[Preview] = []
    generate(base, "a dog", (1, 2), watch=shown.append, sampler=sampler, steps=6)
    assert [seen.step for seen in shown] == [1, 2, 3, 4, 5, 6]
    assert all((list(seen.places), seen.steps) == ([0, 1], 6) for seen in shown)
    assert [picture.size for picture in shown[0].pictures()] == [(8, 8)] * 2


def test_the_last_glimpse_is_the_picture(base: Base) -> None:
    from triptych.sampling.generate import sample_latents, settings_for

    seen: list[Preview] = []
    drawing = settings_for(base, sampler="ddim", steps=8)
    latents = sample_latents(base, [Request("a dog", (1,))], drawing, watching=Watching(seen.append, places=[0]))
    assert torch.allclose(seen[-1].latents, latents, rtol=1e-2, atol=1e-2 * float(latents.abs().max()))


def test_only_what_is_asked_for_is_shown(base: Base) -> None:
    shown: list[Preview] = []
    requests = [Request("a dog", (1,), edit=Edit("a cat")), Request("a dog", (2, 3))]
    list(stream(base, requests, watching=Watching(shown.append, every=2)))
    assert [seen.step for seen in shown] == [2, 4]
    assert [list(seen.places) for seen in shown] == [[0, 1, 2]] * 2
    assert shown[0].latents.shape[0] == 3


def test_a_flow_is_seen_too() -> None:
    shown: list[Preview] = []
    generate(tiny_base(kind="zimage"), "a dog", (1,), watch=shown.append, sampler="euler", steps=4)
    assert len(shown) == 4


@pytest.mark.slow
def test_previews_lie_beside_the_pictures_and_go(
    tmp_path: Path, random_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written: list[str] = []
    show = Previews.__call__

    def shown(self: Previews, seen: Preview) -> None:
        show(self, seen)
        written.extend(path.name for path in sorted(tmp_path.glob("*.png")))
        assert min(Image.open(tmp_path / written[-1]).size) >= 128

    monkeypatch.setattr(Previews, "__call__", shown)
    words = typed(random_base, "generate", "a dog", "--out", tmp_path, "--preview", "2", "--steps", "4", "-n", "2")
    assert call(monkeypatch, *words) == 0
    assert written == ["00000-preview.png", "00001-preview.png"] * 2
    assert sorted(path.name for path in tmp_path.glob("*")) == ["00000.png", "00001.png"]
    words = typed(random_base, "generate", "a dog", "--out", tmp_path / "more", "--preview", "9", "--steps", "4")
    assert call(monkeypatch, *words) == 0
    assert "there is no preview after 9 steps, since a picture has 4" in capsys.readouterr().err


def test_a_cancelled_call_leaves_no_preview(base: Base, tmp_path: Path) -> None:
    cancel = Cancel()

    def stop(seen: Preview) -> None:
        previews(seen)
        cancel.cancel()

    with Previews(tmp_path, 0) as previews, pytest.raises(Cancelled), cancel.applied():
        generate(base, "a dog", (1,), watch=stop)
    assert not list(tmp_path.iterdir())


# --- tiles ----------------------------------------------------------------------------------------------------------


def sizes(base: Base) -> list[tuple[int, ...]]:
    """The sizes of what the decoder and the encoder take from now on."""
    found: list[tuple[int, ...]] = []
    for part, scale in ((base.vae.decoder, base.pixels), (base.vae.encoder, 1)):
        part.register_forward_pre_hook(
            lambda _, given, scale=scale: found.append(
                (len(given[0]), scale * given[0].shape[2], scale * given[0].shape[3])
            )
        )
    return found


def test_large_pictures_are_taken_in_tiles(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = sizes(base)
    latents = torch.randn(2, 4, 20, 24, generator=generator("tiles"))
    whole = base.decode(latents)
    assert taken == [(2, 40, 48)]
    taken.clear()
    monkeypatch.setattr(tiling, "MOST", 1000)
    in_tiles = base.decode(latents)
    assert [picture.size for picture in in_tiles] == [picture.size for picture in whole]
    assert len(taken) > 8 and max(max(size) for size in taken) <= 16, "no larger than what it was trained on"
    assert all(count == 1 for count, *_ in taken)
    taken.clear()
    assert base.latents(in_tiles).shape == latents.shape
    assert max(max(size) for size in taken) <= 16
    assert not base.vae.use_tiling
    assert not base.vae.use_slicing


def test_a_large_batch_is_taken_picture_by_picture(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    latents = torch.randn(4, 4, 8, 8, generator=generator("tiles"))
    whole = base.decode(latents)
    monkeypatch.setattr(tiling, "MOST", 300)
    taken = sizes(base)
    parted = base.decode(latents)
    assert taken == [(1, 16, 16)] * 4
    for one, other in zip(whole, parted, strict=True):
        assert np.abs(np.asarray(one).astype(int) - np.asarray(other)).max() <= 1


@pytest.mark.parametrize(("how", "tiles"), [("auto", False), ("always", True), ("never", False)])
def test_tiles_can_be_asked_for(base: Base, how: str, tiles: bool) -> None:
    taken = sizes(base)
    ((_, picture),) = stream(base, [Request("a dog", (1,))], controls=Controls(width=32, vae_tiles=how))
    assert picture.size == (32, 16)
    assert (max(max(size) for size in taken) <= 16) == tiles


def test_tiles_that_were_not_asked_for_are_said(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiling, "MOST", 16 * 16)
    assert not Controls().notes(base)
    assert "decoded in tiles" in Controls(hires=2.0).notes(base)[-1]
    assert not any("tiles" in said for said in Controls(hires=2.0, vae_tiles="always").notes(base))


@pytest.mark.slow
def test_seams_are_hardly_seen() -> None:
    base = open_base("demo")
    (whole,), (in_tiles,) = (
        generate(base, "a cat on a blue background", (3,), controls=Controls(width=128, height=128, vae_tiles=how))
        for how in ("never", "always")
    )
    far = np.abs(np.asarray(whole).astype(int) - np.asarray(in_tiles))
    assert far.mean() < 6
    assert far.max() > 0
