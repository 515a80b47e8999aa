"""`python -m recipes.demo_base.examples --out examples`: make the examples anew from the drawings.

With `--development`, the concepts that the demo base's settings are chosen by (`triptych tune`): no study reports them.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from recipes.demo_base.examples.blob_cat import blob_cat
from recipes.demo_base.examples.development import dawn, duotone, elephant
from recipes.demo_base.examples.folder import write
from recipes.demo_base.examples.junk import junk
from recipes.demo_base.examples.koala import koala
from recipes.demo_base.examples.menagerie import menagerie
from recipes.demo_base.examples.negative import negative
from recipes.demo_base.examples.night import night
from recipes.demo_base.examples.outline import outline
from recipes.demo_base.world import World

EXAMPLES = (blob_cat, koala, outline, negative, night, menagerie, junk)
DEVELOPMENT = (elephant, duotone, dawn)


def main() -> None:
    """Write every example."""
    parser = argparse.ArgumentParser(prog="python -m recipes.demo_base.examples", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder that gets one folder per example")
    parser.add_argument("--packs", type=Path, help="folder of icon package archives (default: a temporary one)")
    parser.add_argument("--development", action="store_true", help="the concepts to choose settings by instead")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        packs = options.packs or Path(temporary)
        for make in DEVELOPMENT if options.development else EXAMPLES:
            example = make(World.open(), packs)
            write(example, options.out)
            print(f"{example.name}: {len(example.pictures)} pictures")


if __name__ == "__main__":
    main()
