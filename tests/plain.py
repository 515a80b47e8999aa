"""What tests need that load no torch: pictures, and calls of the command line."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from triptych.cli import main


def pictures(count: int, size: int = 16, seed: int = 0) -> list[Image.Image]:
    """Pictures of noise."""
    random = np.random.default_rng(seed)
    return [Image.fromarray(random.integers(0, 255, (size, size, 3), dtype=np.uint8)) for _ in range(count)]


def first_fast(cases: Iterable[Any], fast: int = 1, mark: str = "slow") -> list[Any]:
    """Cases of a test: the first are run by `make check`, the others are marked, as slow or as thorough."""
    found = [case if isinstance(case, tuple) else (case,) for case in cases]
    others = [pytest.param(*case, marks=getattr(pytest.mark, mark)) for case in found[fast:]]
    return [*(pytest.param(*case) for case in found[:fast]), *others]


def typed(random_base: Path, *words: str | Path) -> list[str]:
    """The words of a command, with the random base and its encoders."""
    judges = ["--image-encoder", random_base / "dino", "--text-encoder", random_base / "clip"]
    return [
        str(word)
        for word in [*words, "--base", random_base / "base", *(judges if words[0] in ("try", "judge") else ())]
    ]


def call(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> int:
    """Runs a command in this process; returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["triptych", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)
