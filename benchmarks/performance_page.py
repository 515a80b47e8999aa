"""docs/performance.md: what takes the time, by hand, and the tables of the JSON files in docs/performance/.

python -m benchmarks.performance_page
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import peers, training_step

FOLDER = Path(__file__).parents[1] / "docs" / "performance"
PAGE = FOLDER.with_suffix(".md")
HEAD = Path(__file__).with_name("performance_head.md")


def page() -> str:
    parts = [HEAD.read_text(encoding="utf-8").rstrip(), *map(training_step.section, _told(FOLDER))]
    return "\n\n".join([*parts, *map(peers.section, _told(FOLDER / "peers"))]) + "\n"


def _told(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("*.json")):
        yield json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
