"""The command line. It parses and prints only; heavy modules are imported inside the commands."""

from __future__ import annotations

import atexit
import io
import os
import signal
import sys
from typing import Annotated, Any

import typer

from .. import __version__
from ..cancel import Cancelled
from ..errors import TriptychError
from .caching import cache
from .captioning import caption
from .checking import check
from .command import Command
from .files import convert, inspect
from .grids import grid
from .judging import judge
from .mixing import dilution, merge
from .pictures import generate
from .remedies import worded
from .scenery import scenes
from .studies import report, try_, tune
from .sweeping import sweep
from .training import methods, presets, train

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="One folder of pictures in; every kind of Stable Diffusion personalisation out, measured on one yardstick.",
)  # fmt: skip

QUIET = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error", "DIFFUSERS_VERBOSITY": "error"}

STOPPED = 130  # the exit code for Ctrl-C


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="print the version")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


app.command("try", cls=Command)(try_)
COMMANDS = (
    check, caption, train, sweep, generate, grid, scenes, inspect, convert, merge, dilution, report, judge, tune,
    methods, presets, cache,
)  # fmt: skip
for command in COMMANDS:
    app.command(cls=Command)(command)


def main() -> None:
    """Exit codes: 0; 2 for bad input, with one sentence on stderr, or if no job of a sweep trained; 130 for Ctrl-C."""
    os.environ |= QUIET
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # file names keep their bytes
    try:
        code = app(standalone_mode=False)
    except TriptychError as error:
        code = _told("; ".join(filter(None, (str(error), worded(error.remedies)))))
    except (KeyboardInterrupt, Cancelled, typer.Abort):
        code = STOPPED
    except BrokenPipeError:  # the reader of our output has gone, as in `triptych methods | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        if not hasattr(error, "format_message"):  # typer's usage errors have it
            raise
        code = _told(error.format_message() + _as_setting(error))
    if code == STOPPED:  # typer returns it for Ctrl-C, too
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C ends the process at once
        print(
            "stopped; `try`, `judge`, `tune`, `sweep`, `dilution` and `merge --search` go on with the same command,"
            " `train` with --resume",
            file=sys.stderr,
        )
    sys.exit(code if isinstance(code, int) else 0)


def _as_setting(error: Any) -> str:
    """How a setting is given, where an option that is none was given to a command that takes settings."""
    option, context = getattr(error, "option_name", ""), getattr(error, "ctx", None)
    takes = context is not None and any("--set" in parameter.opts for parameter in context.command.params)
    return f"; a setting is given as -s {option.lstrip('-').replace('-', '_')}=VALUE" if option and takes else ""


def _told(sentence: str) -> int:
    print(f"triptych: {sentence}", file=sys.stderr)
    return 2
