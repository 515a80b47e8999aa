"""The pages of `docs/` build into a site, with the reference made from docstrings, and no link in them is dead."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_site_builds(tmp_path: Path) -> None:
    site = tmp_path / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(site)]
    ended = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={"NO_MKDOCS_2_WARNING": "1"}, check=False
    )
    assert ended.returncode == 0, ended.stderr
    reference = (site / "api" / "index.html").read_text()
    assert "triptych.fit" in reference
    assert "Attach it to" in reference
