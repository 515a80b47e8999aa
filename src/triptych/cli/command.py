"""The class of all commands. It checks that text arguments are UTF-8."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

from ..errors import TriptychError


class Command(TyperCommand):
    """A command that refuses text arguments that are not UTF-8. A path may have any bytes."""

    def invoke(self, ctx: Any) -> Any:
        for parameter in self.params:
            given = ctx.params.get(parameter.name)
            for text in given if isinstance(given, list | tuple) else (given,):
                if isinstance(text, str) and not _is_text(text):
                    name = max(parameter.opts, key=len)
                    raise TriptychError(f"{name} {text!r} is not UTF-8: set the terminal to UTF-8, or rename the file")
        return super().invoke(ctx)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
