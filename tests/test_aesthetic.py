"""Aesthetic gradients as A1111's extension computes them, by references of a few lines."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.worlds import call, settings, trial
from triptych.base import Base
from triptych.exchange.artifact import Artifact
from triptych.exchange.formats import open_artifact
from triptych.training.fit import fit

SAY, METHOD = "a red dog", "aesthetic-gradients"


def arc(low: Tensor, high: Tensor, share: float) -> Tensor:
    """Along dimension 1."""
    angle = torch.acos((low / low.norm(dim=1, keepdim=True) * high / high.norm(dim=1, keepdim=True)).sum(1, True))
    return (torch.sin((1 - share) * angle) * low + torch.sin(share * angle) * high) / torch.sin(angle)


def reference(base: Base, mean: Tensor, weight: float, given: dict[str, Any]) -> Tensor:
    """Hidden states of the prompt: the features' lengths are as in the extension."""
    text, projection = base.texts[0], base.clips()[0].project
    z, aim, chosen = base.encode([SAY]).hidden, mean / mean.norm(dim=-1), settings(METHOD, **given)
    if chosen.text:
        feature = projection(text.encode([chosen.text]).end)
        away = (aim - feature) / (aim - feature).norm(dim=-1)
        aim = arc(aim, away if chosen.negative else feature, chosen.text_angle)
    original, text.encoder = text.encoder, deepcopy(text.encoder).requires_grad_(True)
    optimizer = torch.optim.Adam(text.encoder.parameters(), lr=chosen.lr)
    for _ in range(chosen.steps):
        feature = projection(text.encode([SAY]).end)
        optimizer.zero_grad()
        (-(feature / feature.norm(dim=-1)) @ aim.T).mean().backward()
        optimizer.step()
    changed, text.encoder = text.encode([SAY]).hidden.detach(), original
    return arc(z, changed, weight) if chosen.slerp else z * (1 - weight) + changed * weight


@pytest.fixture
def mean(base: Base) -> Tensor:
    return fit(base, [trial(METHOD)])[0].tensors["mean_image_feature"]


def hidden(base: Base, mean: Tensor, weight: float, given: dict[str, Any]) -> Tensor:
    with Artifact(METHOD, settings(METHOD, **given), {"mean_image_feature": mean}).apply(base, weight):
        return base.encode([SAY]).hidden


CASES: list[dict[str, Any]] = [
    {}, {"slerp": True}, {"text": "a cat", "text_angle": 0.4}, {"text": "a cat", "text_angle": 0.4, "negative": True},
    {"slerp": True, "text": "a cat"},
]  # fmt: skip


@pytest.mark.parametrize("given", CASES)
def test_the_extensions_settings_do_what_they_do_there(base: Base, mean: Tensor, given: dict[str, Any]) -> None:
    plain = base.encode([SAY]).hidden
    found = hidden(base, mean, 0.6, given)
    wanted = reference(base, mean, 0.6, given)
    moved = float((wanted - plain).norm())
    assert float((found - wanted).norm()) < 1e-2 * moved
    if given:
        assert float((found - hidden(base, mean, 0.6, {})).norm()) > 5e-2 * moved, "it changes the result"
    assert torch.equal(base.encode([SAY]).hidden, plain)


def test_an_arc_ends_where_a_line_does(base: Base, mean: Tensor) -> None:
    plain = base.encode([SAY]).hidden
    assert torch.equal(hidden(base, mean, 1.0, {"slerp": True}), hidden(base, mean, 1.0, {}))
    assert torch.equal(hidden(base, mean, 0.0, {"slerp": True}), plain)
    still = hidden(base, mean, 0.5, {"slerp": True, "lr": 0.0})
    assert torch.allclose(still, plain, atol=1e-5), "no arc lies between equal states"
    assert torch.equal(hidden(base, mean, 1.0, {"text": "a cat", "text_angle": 0.0}), hidden(base, mean, 1.0, {}))


@pytest.mark.slow
def test_the_settings_are_in_the_file_and_those_that_do_nothing_are_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, folder: Path, random_base: Path
) -> None:
    out, given = tmp_path / "one.safetensors", ("-s", "text_angle=0.3", "-s", "slerp=true")
    words = ("train", METHOD, folder, "--out", out, "--base", random_base / "base", *given)
    assert call(monkeypatch, *words) == 0
    assert f"{METHOD}: text_angle does nothing without text" in " ".join(capsys.readouterr().err.split())
    assert call(monkeypatch, *words, "--overwrite", "-s", "text=a cat") == 0
    assert "does nothing" not in capsys.readouterr().err
    chosen = open_artifact(out).settings
    assert (chosen.slerp, chosen.text, chosen.text_angle, chosen.negative) == (True, "a cat", 0.3, False)
    assert call(monkeypatch, "convert", out, "--to", "a1111-aesthetic", "--out", tmp_path / "one.pt") == 0
    assert "slerp, text 'a cat' at angle 0.3" in "".join(capsys.readouterr())
