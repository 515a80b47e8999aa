"""What a picture is worth: the regression finds planted effects, and the command trains, samples and tells."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.plain import call, typed
from triptych.app.worth import effects, random_halves, told


def test_halves_are_halves_and_complements() -> None:
    members = random_halves(9, 10, 0)
    assert members.shape == (10, 9)
    assert set(members.sum(axis=1)) == {4, 5}
    assert (members[0::2] != members[1::2]).all()
    assert (random_halves(9, 10, 0) == members).all()
    assert (random_halves(9, 10, 1) != members).any()


def test_planted_effects_are_found_and_covered() -> None:
    """One bad picture in twelve, and noise of half its effect: 50 worlds."""
    covered, found, surely = 0, 0, 0
    for seed in range(50):
        truth = np.zeros(12)
        truth[7] = -0.1
        members = random_halves(12, 48, seed)
        values = 0.6 + members @ truth + np.random.default_rng(seed).normal(0, 0.05, 48)
        got = effects(members, values, np.eye(12))
        wanted = truth - truth.mean()
        covered += sum(low <= one <= high for one, (_, low, high) in zip(wanted, got, strict=True))
        found += min(range(12), key=lambda i: got[i][0]) == 7
        _, groups = told([*"abcdefghijkl"], members, values, {"bad": "gh", "good": "abc", "lone": "a"})
        (bad,) = (group for group in groups if group.name == "bad")
        assert len(groups) == 2 and bad.effect == pytest.approx(got[6:8, 0].mean())
        surely += bad.high < 0
    assert found >= 48 and surely >= 45
    assert 0.92 < covered / (50 * 12) < 0.98


@pytest.mark.slow
def test_the_command_tells_it(
    random_base: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    judge = ["--image-encoder", random_base / "dino", "--text-encoder", random_base / "clip"]
    words = typed(random_base, "check", folder, "--worth", "--halves", "16", "--steps", "2", "--json")
    assert call(monkeypatch, *words, *judge, "--out", tmp_path) == 0
    said = json.loads(capsys.readouterr().out)
    assert len(said["worth"]) == 7
    assert sum(one["effect"] for one in said["worth"]) == pytest.approx(0, abs=1e-9)
    assert all(one["low"] <= one["effect"] <= one["high"] for one in said["worth"])
    assert {one["name"] for one in said["worth_of_groups"]} <= {"no caption", "without a finding"}
    assert "worth +" in (tmp_path / "check.html").read_text()
