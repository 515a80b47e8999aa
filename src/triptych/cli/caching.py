"""The command `cache`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from .options import AsJson


def cache(
    clear: Annotated[str, typer.Option(help="a part to delete, or all")] = "",
    as_json: AsJson = False,
) -> None:
    """Show what triptych keeps to be faster next time, or delete it. All of it can be made again."""
    from ..files.atomic import cache_folder
    from ..files.cached import clear as cleared
    from ..files.cached import parts
    from ..units import counted, size

    found = cleared(clear) if clear else parts()
    if as_json:
        print(json.dumps({"folder": str(cache_folder()), "parts": [vars(part) for part in found]}))
        return
    print(f"{cache_folder()}{': deleted' if clear else ''}")
    for part in found:
        print(f"  {part.name:<9} {size(part.bytes):>9}, {counted(part.files, 'file')}: {part.holds}")
    if not found:
        print("  nothing")
