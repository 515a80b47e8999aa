"""A command as a person pastes it into a shell: every word reaches the program as it is."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable


def command_line(words: Iterable[str]) -> str:
    """The words of a command, each quoted where it needs to be.

    A word with bytes that are not UTF-8, or with signs that a terminal does not show, is written as bash and zsh take
    it: `$'caf\\351'`.
    """
    return " ".join(shlex.quote(word) if word.isprintable() else _escaped(word) for word in words)


def _escaped(word: str) -> str:
    plain = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 -_./=+:,<>@")
    return "$'" + "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in os.fsencode(word)) + "'"


def writable(text: str) -> str:
    """The text as a UTF-8 file can hold it: bytes of a file's name that are no UTF-8 are written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
