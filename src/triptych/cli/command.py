"""What all commands have in common: words that are text must be UTF-8."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand

from ..errors import TriptychError

PATHS = {"base", "use", "vae", "clip", "image_encoder", "text_encoder", "other_base"}  # texts that may name a file


class Command(TyperCommand):
    """A command that refuses bytes in its words which are no text, but for names of files."""

    def invoke(self, ctx: typer.Context) -> Any:
        for name, value in ctx.params.items():
            for text in value if isinstance(value, list | tuple) else (value,):
                if isinstance(text, str) and name not in PATHS and not _is_text(text):
                    option = name if name in ("prompt", "method") else f"--{name.replace('_', '-')}"
                    raise TriptychError(f"{option} is not UTF-8: {text!r}; set the terminal to UTF-8")
        return super().invoke(ctx)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
