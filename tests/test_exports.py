"""The public names, and what importing costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import triptych

PROMISED = {
    "Artifact", "Base", "Cancel", "Cancelled", "Concept", "Controls", "Depth", "Examples", "Fitted", "Method",
    "Part", "Place", "Plan", "Preview", "Request", "SampleRequest", "ScenesRequest", "Session", "Share",
    "TrainRequest", "Trial", "TriptychError",
    "__version__", "compose", "sample", "fit", "generate", "load", "method_named", "open_base", "save", "tiny_base",
}  # fmt: skip
HEAVY = {"torch", "diffusers", "transformers", "numpy", "scipy", "PIL", "jinja2"}


def test_exports_are_what_is_promised() -> None:
    assert set(triptych.__all__) == PROMISED
    assert all(getattr(triptych, name) is not None for name in PROMISED)
    assert set(dir(triptych)) == PROMISED
    with pytest.raises(AttributeError):
        _ = triptych.nonsense


def loaded_by(code: str) -> set[str]:
    ended = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(ended.stdout.split()) & HEAVY


def test_help_imports_nothing_heavy() -> None:
    assert not loaded_by("import triptych")
    help_text = "from triptych.cli import app\ntry: app(['--help'])\nexcept SystemExit: pass"
    assert not loaded_by(help_text)


@pytest.mark.slow
def test_inspect_imports_nothing_heavy(tmp_path: Path) -> None:
    """Neither the lines on one file nor the table on a folder."""
    save_file({"emb_params": torch.zeros(2, 768)}, tmp_path / "word.safetensors")
    for place in (tmp_path / "word.safetensors", tmp_path):
        words = f"['inspect', {str(place)!r}]"
        assert not loaded_by(
            f"from triptych.cli import app\ntry: app({words})\nexcept SystemExit as end: assert not end.code"
        )


@pytest.mark.slow
def test_reports_and_verdicts_need_no_torch() -> None:
    assert "torch" not in loaded_by("import triptych.report, triptych.verdict, triptych.data.concept, triptych.metrics")
