"""Use files of any tool at once: `python examples/compose_files.py "a cat" out.png FILE[:STRENGTH]...`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import triptych


def main(prompt: str, out: Path, uses: Sequence[tuple[Path, float]], base_name: str = "demo") -> None:
    base = triptych.open_base(base_name)
    parts = []
    for path, strength in uses:
        artifact = triptych.load(path)
        if not isinstance(artifact, triptych.Artifact):
            raise SystemExit(f"{path} is a base: give it as the base instead")
        parts.append(triptych.Part(artifact, strength))
    with triptych.compose(base, *parts):
        triptych.sample(base, [triptych.Request(prompt, seeds=(0,))])[0][0].save(out)


if __name__ == "__main__":
    split = [use.rpartition(":") for use in sys.argv[3:]]
    main(
        sys.argv[1], Path(sys.argv[2]), [(Path(name or last), float(last) if name else 1.0) for name, _, last in split]
    )
