"""A character in many scenes: shared self-attention, common noise, and what is measured of a set."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.worlds import call, learned, trial, typed
from triptych.app.consistency import Measured
from triptych.base import Base, tiny_base
from triptych.errors import TriptychError
from triptych.exchange.saving import save
from triptych.sampling.controls import Controls
from triptych.sampling.generate import sample, sample_latents, settings_for
from triptych.sampling.request import Request, Share
from triptych.sampling.sharing import batches, subject_in

ALL = Share(until=1.0, dropout=0.0)


def drawn(base: Base, share: Share | None, seeds: tuple[int, ...] = (1, 2, 3), **controls: object) -> Tensor:
    singles = [Request("a dog", (seed,), share=share) for seed in seeds]
    return sample_latents(base, singles, settings_for(base), Controls(**controls))  # type: ignore[arg-type]


def test_at_strength_0_or_for_no_steps_nothing_is_shared(base: Base) -> None:
    plain = drawn(base, None)
    assert torch.equal(drawn(base, replace(ALL, strength=0.0)), plain)
    assert torch.equal(drawn(base, replace(ALL, until=0.0)), plain)
    assert not torch.allclose(drawn(base, ALL), plain, atol=1e-3)
    assert torch.equal(drawn(base, None), plain), "the base is as it was"


def test_pictures_of_equal_seed_share_nothing_new(base: Base) -> None:
    """Keys and values that are the picture's own give the same mean: the attention is what it was."""
    assert torch.allclose(drawn(base, ALL, (1, 1, 1)), drawn(base, None, (1, 1, 1)), rtol=1e-3, atol=1e-2)


def test_strength_is_the_weight_of_the_others(base: Base) -> None:
    plain = drawn(base, None)
    far = [float((drawn(base, replace(ALL, strength=s)) - plain).norm()) for s in (0.01, 0.1, 1.0)]
    assert far == sorted(far)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sd2", "sdxl"])
def test_other_families_share(kind: str) -> None:
    base = tiny_base(kind=kind)  # type: ignore[arg-type]
    assert not torch.allclose(drawn(base, ALL), drawn(base, None), atol=1e-3)
    assert not torch.allclose(drawn(base, ALL, pag=2.0), drawn(base, None, pag=2.0), atol=1e-3)


def test_a_layer_reads_what_the_formula_says(base: Base) -> None:
    """Against attention over the concatenated keys, with the logarithm of the strength on others' scores."""
    layer = next(m for path, m in base.denoiser.module.named_modules() if path.endswith("attn1"))
    hidden = torch.randn(2, 5, layer.to_q.in_features)
    scores = torch.tensor([0.0, -math.inf, math.log(0.5), 0.0, 0.0])

    class Reads:
        def reads(self, queries: int) -> dict[int, tuple[list[int], Tensor]]:
            return {0: ([1], scores)} if queries == 5 else {}

    with torch.no_grad():
        plain = layer(hidden)
        with base.denoiser.extended(Reads()):
            found = layer(hidden)
        query, key, value = (
            part.unflatten(-1, (layer.heads, -1)).transpose(1, 2)
            for part in (layer.to_q(hidden), layer.to_k(hidden), layer.to_v(hidden))
        )
        keys, values = torch.cat([key[0], key[1]], 1), torch.cat([value[0], value[1]], 1)
        raw = query[0] @ keys.mT * query.shape[-1] ** -0.5 + torch.cat([torch.zeros(5), scores])
        wanted = layer.to_out[0]((raw.softmax(-1) @ values).transpose(0, 1).flatten(1))
    assert torch.allclose(found[0], wanted, atol=1e-5)
    assert torch.equal(found[1], plain[1])


def test_others_read_the_anchors_and_are_not_read(base: Base) -> None:
    reader = replace(ALL, anchor=False)

    def sampled(last: int) -> Tensor:
        singles = [Request("a dog", (s,), share=share) for s, share in ((1, ALL), (2, ALL), (last, reader))]
        return sample_latents(base, singles, settings_for(base))

    one, other = sampled(3), sampled(4)
    assert torch.equal(one[:2], other[:2])
    alone = sample_latents(base, [Request("a dog", (3,))], settings_for(base))
    assert not torch.allclose(one[2:], alone, atol=1e-3)


def test_anchors_are_in_all_batches_and_come_once() -> None:
    requests = [Request("a dog", (k, 10 + k), share=replace(ALL, anchor=k < 2)) for k in range(5)]
    singles = [Request("a cat", (7,)), *(single for request in requests for single in request.singles)]
    found = list(batches(singles, range(len(singles)), 3))
    assert [new for _, new in found] == [[0], [1, 3, 5], [7], [9], [2, 4, 6], [8], [10]]
    assert [list(batch) for batch, _ in found[1:4]] == [[1, 3, 5], [1, 3, 7], [1, 3, 9]]


@pytest.mark.slow
def test_a_set_does_not_depend_on_the_size_of_its_batches(base: Base) -> None:
    requests = [Request("a dog", (k,), share=replace(ALL, dropout=0.5, anchor=k < 2)) for k in range(5)]
    small, large = (sample(base, requests, replace(settings_for(base), batch=size)) for size in (3, 8))
    for (one,), (other,) in zip(small, large, strict=True):
        assert np.abs(np.asarray(one).astype(int) - np.asarray(other)).max() <= 1


def test_the_mask_of_the_subject_matters(base: Base) -> None:
    whole, masked = drawn(base, ALL), drawn(base, replace(ALL, subject="dog"))
    assert not torch.allclose(whole, masked, atol=1e-3)
    with pytest.raises(TriptychError, match="does not have the word 'owl'"):
        drawn(base, replace(ALL, subject="owl"))


def test_otsu_parts_two_groups() -> None:
    found = torch.tensor([[0.1, 0.2, 0.15], [0.9, 1.0, 0.12]])
    assert subject_in(found).tolist() == [[False, False, False], [True, True, False]]


def test_what_does_not_go_with_sharing(base: Base) -> None:
    with pytest.raises(TriptychError, match="second pass at another size"):
        drawn(base, ALL, hires=2.0)
    with pytest.raises(TriptychError, match="cannot share self-attention on Z-Image"):
        base = tiny_base(kind="zimage")
        sample_latents(base, [Request("a dog", (s,), share=ALL) for s in (1, 2)], settings_for(base, sampler="euler"))


def scenes(folder: Path, *prompts: str) -> Path:
    path = folder / "scenes.txt"
    path.write_text("\n".join(prompts))
    return path


PROMPTS = ("a dog in a boat", "a dog on a hill", "a blue dog", "a dog at sea")


@pytest.mark.slow
def test_from_the_command_line(
    tmp_path: Path, random_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save(learned(tiny_base(), trial("lora")), tmp_path / "one.safetensors")
    out = tmp_path / "out"
    words = [
        "scenes", scenes(tmp_path, *PROMPTS), "--out", out, "--subject", "dog", "-n", "2", "--steps", "4",
        "--anchors", "3", "--use", f"{tmp_path / 'one.safetensors'}:1", "--image-encoder", random_base / "dino",
        "--text-encoder", random_base / "clip", "--json",
    ]  # fmt: skip
    assert call(monkeypatch, *typed(random_base, *words)) == 0
    said = json.loads(capsys.readouterr().out)
    assert [arm["name"] for arm in said["arms"]] == ["plain", "common noise 0.5", "shared attention"]
    assert set(said["arms"][2]["values"]) >= {"consistency", "subject consistency"}
    assert len(said["pictures"]) == 8
    assert len(list(out.glob("*-plain.png"))) == len(list(out.glob("*-common.png"))) == 8
    last = Image.open(out / "00007.png").text["parameters"]  # type: ignore[attr-defined]
    assert "reads the anchors" in last
    assert "Variation seed strength: 0.5" in last
    seeds = {json.loads(Image.open(path).text["triptych"])["seed"] for path in out.glob("*-plain.png")}  # type: ignore[attr-defined]
    assert seeds == set(range(8))
    assert (out / "scenes.html").read_text().count("data:image/webp") == 24
    again = typed(random_base, "generate", "--again", out / "00007.png", "--out", tmp_path / "again")
    assert call(monkeypatch, *again, "--use", tmp_path / "one.safetensors") == 0
    assert "shares self-attention with others of its set" in capsys.readouterr().err


@pytest.mark.slow
def test_plain_pictures_are_those_of_generate(
    tmp_path: Path, random_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = scenes(tmp_path, *PROMPTS)
    words = ["scenes", file, "--out", tmp_path / "out", "--steps", "4", "--share", "0", "--image-encoder"]
    assert call(monkeypatch, *typed(random_base, *words, random_base / "dino", "--share-dropout", "0")) == 0
    assert "the dropout is not used: no self-attention is shared" in capsys.readouterr().err
    for k, prompt in enumerate(PROMPTS):
        words = ["generate", prompt, "--seed", k, "--steps", "4", "--out", tmp_path / f"{k}"]
        assert call(monkeypatch, *typed(random_base, *words)) == 0
        one, other = (
            np.asarray(Image.open(path)).astype(int)
            for path in (tmp_path / "out" / f"{k:05}-plain.png", tmp_path / f"{k}" / "00000.png")
        )
        assert np.abs(one - other).max() <= 1


@pytest.mark.parametrize(
    ("prompts", "more", "told"),
    [
        (PROMPTS[:2], (), "a set has 3 scenes or more"),
        (PROMPTS, ("--subject", "owl"), "line 1 of scenes.txt does not name the subject 'owl'"),
        ((*PROMPTS[:3], "a dog --s 3"), (), "line 4 of scenes.txt: the scenes of a set are sampled alike"),
        (PROMPTS, ("--variation-strength", "0.2"), "common noise in the place of a variation"),
    ],
)
def test_bad_requests(
    prompts: tuple[str, ...], more: tuple[str, ...], told: str, tmp_path: Path, random_base: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    words = ["scenes", scenes(tmp_path, *prompts), "--out", tmp_path / "out", *more]
    assert call(monkeypatch, *typed(random_base, *words)) == 2
    assert told in capsys.readouterr().err


def test_what_was_measured_is_said() -> None:
    told = str(Measured("shared attention", {"consistency": 0.5}, {"consistency": (0.1, 0.02)}))
    assert told == "shared attention: consistency 0.500 (+0.100 ± 0.020)"


@pytest.mark.slow
def test_a_learned_word_is_the_subject(
    tmp_path: Path, random_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files of the library have owners, and scenes with other files are in one set all the same."""
    library, out = tmp_path / "library", tmp_path / "out"
    for folder, name, method in (("embeddings", "mydog", "textual-inversion"), ("loras", "one", "lora")):
        (library / folder).mkdir(parents=True)
        save(learned(tiny_base(), trial(method)), library / folder / f"{name}.safetensors")
    file = scenes(tmp_path, "a mydog in a boat", "a mydog at sea <lora:one:1>", "a blue mydog")
    words = ["scenes", file, "--library", library, "--out", out, "--steps", "3", "--common-noise", "0"]
    assert call(monkeypatch, *typed(random_base, *words, "--image-encoder", random_base / "dino", "--json")) == 0
    told = capsys.readouterr()
    assert "prompt fidelity is not measured: no encoder of texts is named" in told.err
    assert "the subject is mydog" in told.err
    assert [arm["name"] for arm in json.loads(told.out)["arms"]] == ["plain", "shared attention"]
    for k in range(3):
        plain, shared = (np.asarray(Image.open(out / f"{k:05}{end}.png")) for end in ("-plain", ""))
        assert (plain != shared).any()
