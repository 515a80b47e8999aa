"""Errors name no option of the command line: they have remedies, and the command line words each."""

from __future__ import annotations

import ast
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

import triptych
from triptych.cli import app
from triptych.cli.remedies import WORDS, worded
from triptych.errors import OtherBaseError, Remedy, TriptychError

ROOT = Path(triptych.__file__).parent
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def texts(tree: ast.AST) -> Iterator[ast.Constant]:
    """The string constants of a module, those of f-strings included, without its docstrings."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node


@pytest.mark.slow
def test_only_the_command_line_names_its_flags() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{text.lineno}: {text.value!r}"
        for path in sorted(ROOT.rglob("*.py"))
        if path.parent.name != "cli"
        for text in texts(ast.parse(path.read_text()))
        if FLAG.search(str(text.value))
    ]
    assert not found


def test_the_walk_finds_flags() -> None:
    code = 'def f():\n    """--of a docstring"""\n    raise E(f"give {a} --out")\n'
    assert [text.value for text in texts(ast.parse(code)) if FLAG.search(str(text.value))] == [" --out"]


@pytest.mark.parametrize("remedy", Remedy)
def test_every_remedy_names_options_that_exist(remedy: Remedy) -> None:
    commands = get_command(app).commands.values()  # type: ignore[attr-defined]
    options = {name for command in commands for parameter in command.params for name in parameter.opts}
    assert set(FLAG.findall(WORDS[remedy])) <= options
    assert not FLAG.search(remedy.value)


def test_an_error_is_its_sentence_and_its_remedies() -> None:
    error = TriptychError("a.txt exists already", Remedy.OTHER_PLACE, Remedy.OVERWRITE)
    assert str(error) == "a.txt exists already"
    assert worded(error.remedies) == "give another --out, or replace it with --overwrite"
    assert OtherBaseError("it is wider").remedies == ()
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.remedies) == (str(error), error.remedies)
