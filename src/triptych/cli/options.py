"""The options of commands: those derived from declared fields, and a few that several commands share."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

import typer

from ..errors import TriptychError
from ..options import NOTHING, Option, built, options_of
from ..settings import Value
from ..units import bytes_of

T = TypeVar("T")
FREE = "free"  # stands for the memory that is free now

AsJson = Annotated[bool, typer.Option("--json", help="print the result as JSON")]
Set = Annotated[list[str] | None, typer.Option("-s", "--set", metavar="KEY=VALUE", help="a setting; may be repeated")]
Say = Annotated[
    list[str] | None,
    typer.Option("--say", metavar="FILE=WORDS", help="the words that call a file [default: as `inspect` finds]"),
]
Form = Annotated[str, typer.Option("--format", help="png, jpeg or webp")]
Steps = Annotated[int | None, typer.Option(help="steps of the sampler", min=1)]
Guidance = Annotated[float | None, typer.Option(help="scale of classifier-free guidance", min=0)]
Sampler = Annotated[str | None, typer.Option(help="ddim, euler-a, 'DPM++ 2M Karras', ..., by any usual name")]
UseInAll = Annotated[
    list[str] | None, typer.Option("--use", metavar="FILE[:STRENGTH]", help="attach a file to all of them")
]
NamedFiles = Annotated[Path | None, typer.Option("--library", help="a folder with the files that prompts name")]
Start = Annotated[Path | None, typer.Option("--from", metavar="PICTURE", help="begin with a picture instead of noise")]
Mask = Annotated[Path | None, typer.Option(metavar="PICTURE", help="change what is white in it")]
Memory = Annotated[
    str,
    typer.Option(
        metavar="SIZE", help="what training may take, such as 12GB; free: what is free now [default: no plan]"
    ),
]
Preset = Annotated[str, typer.Option(metavar="SIZE", help="what fits a card of this size; see `triptych presets`")]


def refuse_unused(given: Mapping[str, object], why: str) -> None:
    """
    Raises:
        TriptychError: one of these options is given, and it is not used.
    """
    for option, value in given.items():
        if value:
            raise TriptychError(f"{option} is not used here, since {why}: leave it out")


def with_options(kind: type[T], *only: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for each field of a dataclass, in the place of its parameter `options`.

    The command is called with one object of that class. `only` names fields if not all of them are options.
    """
    derived = {option.path[-1]: option for option in options_of(kind) if not only or option.path[0] in only}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def called(**given: Any) -> None:
            texts = {name: given.pop(name) for name in derived}
            stated = {derived[name].path: _parsed(derived[name], text) for name, text in texts.items()}
            command(options=built(kind, stated), **given)

        parameters = list(_parameters(command, derived))
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return called

    return decorate


def _parameters(command: Callable[..., None], derived: dict[str, Option]) -> Iterator[inspect.Parameter]:
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        if parameter.name == "options":
            yield from (_parameter(name, option) for name, option in derived.items())
        else:
            yield parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)


def _parameter(name: str, option: Option) -> inspect.Parameter:
    help_text = f"{option.explanation}: {', '.join(option.choices)}" if option.choices else option.explanation
    help_text += f" [default: {option.unset}]" if option.unset else ""
    flags, metavar, kind = [f"--{option.name}"], None, option.kind
    if kind is dict:
        flags, metavar, kind = ["-s", *flags], "METHOD.KEY=VALUE", list[str]
    elif kind is tuple:
        kind = str
    elif kind is bool and option.default:
        flags = [f"--{option.name}/--no-{option.name}"]
    default = None if option.unset or (not option.default and kind not in (bool, int, float)) else option.default
    info = typer.Option(*flags, help=help_text, metavar=metavar, min=option.least, max=option.most)
    annotation: Any = Annotated[kind if default is not None else kind | None, info]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _parsed(option: Option, given: Any) -> Any:
    """The value of a field from what typer read; the default where nothing was given."""
    if given is None or given == "" or given == []:
        return option.default
    if option.kind is dict:
        return _by_method(given)
    if option.kind is tuple:
        if given == NOTHING and option.default is None:
            return ()
        return tuple(name.strip() for name in given.split(",") if name.strip())
    return given


def _by_method(texts: list[str]) -> dict[str, dict[str, Value]]:
    given: dict[str, dict[str, Value]] = {}
    for name, value in pairs_of(texts, "METHOD.KEY=VALUE"):
        method, _, setting = name.partition(".")
        given.setdefault(method, {})[setting] = value
    return given


def stated(context: typer.Context) -> set[str]:
    """The names of the parameters that a command was given, also where the value is the default."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}


def memory_in(text: str, device: str) -> int | None:
    """The bytes that --memory names; None for "". `device` is the one whose free memory "free" stands for.

    Raises:
        TriptychError: it names no size, or there is no such device.
    """
    if text == FREE:
        from ..base.device import device_named, free_memory

        return free_memory(device_named(device))
    try:
        return bytes_of(text) if text else None
    except ValueError:
        raise TriptychError(f"--memory takes a size such as 12GB, or {FREE}, not {text!r}") from None


def says_of(given: list[str] | None) -> dict[str, str]:
    """
    Raises:
        TriptychError: one is not of the form FILE=WORDS.
    """
    says = {}
    for text in given or ():
        name, equals, words = text.rpartition("=")
        if not equals or not words.strip():
            raise TriptychError(f"--say {text!r} is not of the form FILE=WORDS")
        says[name] = words.strip()
    return says


def pairs_of(given: list[str] | None, form: str) -> list[tuple[str, Value]]:
    """The names and values of texts such as `rank=4`. `form` is how they are written, for errors.

    Raises:
        TriptychError: a text is not of the form, or a name stands twice.
    """
    pairs: list[tuple[str, str]] = []
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or ("." in form and "." not in name):
            raise TriptychError(f"-s {text!r} is not of the form {form}")
        if name.strip() in (earlier for earlier, _ in pairs):
            raise TriptychError(f"-s {name.strip()} is given twice: give it once, as {form}")
        pairs.append((name.strip(), value.strip()))
    return cast("list[tuple[str, Value]]", pairs)
