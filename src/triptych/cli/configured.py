"""A command from a TOML file: every option by its name, and a table of settings. Options that are typed go first."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import tomli_w
import typer

from ..errors import TriptychError, did_you_mean
from ..files.atomic import write_text
from ..settings import Value

SETTINGS = "settings"  # the table of the method's settings
OWN = ("config", "again", "resume", "overwrite", "json", "set", "help")  # options that a file does not hold


def _read(context: typer.Context, path: Path | None) -> Path | None:
    """Take the values of a file as the defaults of the command.

    Raises:
        TriptychError: the file cannot be read, or has a name that is no option.
    """
    if path is None:
        return None
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TriptychError(f"cannot read {path}: {error}") from error
    names = {name: parameter.name for name, parameter in _options(context).items()}
    settings = said.pop(SETTINGS, {})
    for name, value in said.items():
        if name not in names and isinstance(value, dict):
            raise TriptychError(f"{path} has an unknown table [{name}]: options stand in none, before [settings]")
        if name not in names:
            raise TriptychError(f"{path} has an unknown entry {name!r}{did_you_mean(name, [*names, SETTINGS])}")
    if not isinstance(settings, dict):
        raise TriptychError(f"{path}: [{SETTINGS}] must be a table")
    context.meta[SETTINGS] = settings
    several = {parameter.name for parameter in context.command.params if parameter.multiple or parameter.nargs == -1}
    values = {names[name]: value for name, value in said.items()}
    context.default_map = {
        name: [value] if name in several and isinstance(value, str) else value for name, value in values.items()
    }
    return path


Config = Annotated[
    Path | None, typer.Option(is_eager=True, callback=_read, help="a TOML file with options and a table [settings]")
]


def _options(context: typer.Context) -> dict[str, Any]:
    """The options and arguments of the command, by their names in a file."""
    found = {}
    for parameter in context.command.params:
        longest = max(parameter.opts, key=len).removeprefix("--").replace("-", "_")
        if longest not in OWN and parameter.name:
            found[longest] = parameter
    return found


def configured(context: typer.Context) -> dict[str, Value]:
    """The settings of the file."""
    return dict(context.meta.get(SETTINGS, {}))


def is_typed(context: typer.Context, name: str) -> bool:
    """Whether an option was given, on the command line or in the file."""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def write_config(context: typer.Context, settings: Mapping[str, Any], path: Path, **known: Any) -> None:
    """Write a file that repeats the command: its options as they were, all settings, and what is `known` besides."""
    values = {}
    for name, parameter in _options(context).items():
        value = known.get(parameter.name, context.params[str(parameter.name)])
        if value or (value == 0 and value != parameter.default):  # 0 and false are not always the default
            values[name] = [str(item) for item in value] if isinstance(value, list | tuple) else _plain(value)
    values.pop("steps", None)  # it is among the settings
    write_text(path, tomli_w.dumps({**values, SETTINGS: dict(settings)}))


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float | str) else str(value)
