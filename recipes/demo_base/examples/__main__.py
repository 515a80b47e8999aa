"""`python -m recipes.demo_base.examples --out examples`: make the examples anew from the drawings."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from recipes.demo_base.examples.blob_cat import blob_cat
from recipes.demo_base.examples.folder import write
from recipes.demo_base.examples.junk import junk
from recipes.demo_base.examples.menagerie import menagerie
from recipes.demo_base.examples.night import night
from recipes.demo_base.examples.outline import outline
from recipes.demo_base.world import World

EXAMPLES = (blob_cat, outline, night, menagerie, junk)


def main() -> None:
    """Write every example."""
    parser = argparse.ArgumentParser(prog="python -m recipes.demo_base.examples", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder that gets one folder per example")
    parser.add_argument("--packs", type=Path, help="folder of icon package archives (default: a temporary one)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        packs = options.packs or Path(temporary)
        for make in EXAMPLES:
            example = make(World.open(), packs)
            write(example, options.out)
            print(f"{example.name}: {len(example.pictures)} pictures")


if __name__ == "__main__":
    main()
