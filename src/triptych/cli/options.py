"""Options that several commands share, and the parsing of their values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from ..errors import TriptychError

if TYPE_CHECKING:
    from ..base import Place
    from ..settings import Value

BaseName = Annotated[str, typer.Option("--base", help="'demo', a diffusers folder, a checkpoint file, or a hub id")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps; auto: the best there is")]
Precision = Annotated[str, typer.Option(help="fp32, bf16, fp16; auto: bf16 where the device has it, else fp32")]
Resolution = Annotated[int, typer.Option(help="pixels, a multiple of 32; 0: the base's own")]
VaeName = Annotated[str, typer.Option("--vae", help="a file with another autoencoder for the base")]
Ema = Annotated[bool, typer.Option("--ema", help="take the averaged weights that a checkpoint file may hold")]
Prediction = Annotated[str, typer.Option(help="epsilon or v, where the base does not say [default: what it says]")]
ClipName = Annotated[str | None, typer.Option("--clip", help="the CLIP of the base, for aesthetic gradients")]
KindName = Annotated[str, typer.Option("--kind", help="subject, style or scene")]
ClassWord = Annotated[str, typer.Option("--class", help="a word for what the concept is one of, such as cat")]
Token = Annotated[str, typer.Option("--token", help="the new word for the concept [default: <concept>]")]
Seed = Annotated[int, typer.Option(help="everything random follows from it", min=0)]
AsJson = Annotated[bool, typer.Option("--json", help="print the result as JSON")]
Set = Annotated[list[str] | None, typer.Option("-s", "--set", metavar="KEY=VALUE", help="a setting; may be repeated")]
Memory = Annotated[str, typer.Option(metavar="SIZE", help="what training may take, such as 12GB [default: no plan]")]

MethodSet = Annotated[
    list[str] | None, typer.Option("-s", "--set", metavar="METHOD.KEY=VALUE", help="a setting; may be repeated")
]


def memory_in(text: str) -> int | None:
    """The bytes that --memory names; None for "".

    Raises:
        TriptychError: it names no size.
    """
    from ..units import bytes_of

    try:
        return bytes_of(text) if text else None
    except ValueError:
        raise TriptychError(f"--memory takes a size such as 12GB, not {text!r}") from None


def place_of(
    base: str, device: str, precision: str, resolution: int, clip: str | None, vae: str, ema: bool, prediction: str
) -> Place:
    from ..base import Place

    return Place(base, device, cast(Any, precision), resolution, clip, vae, ema, prediction)


def pairs_of(given: list[str] | None, form: str) -> list[tuple[str, Value]]:
    pairs = []
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or ("." in form and "." not in name):
            raise TriptychError(f"-s {text!r} is not of the form {form}")
        pairs.append((name.strip(), value.strip()))
    return cast("list[tuple[str, Value]]", pairs)
