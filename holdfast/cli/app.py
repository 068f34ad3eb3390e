"""The command line: `main` turns every end of a command into one sentence and an exit code.

0 done; 1 the thing checked does not hold; 2 the user's input is wrong; 3 not available from any source; 4 bytes
were wrong and could not be healed; 130 interrupted; 70 our own bug (its traceback goes to a log).
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import traceback
from importlib.metadata import version
from types import FrameType
from typing import Annotated

import typer

from ..configs.errors import ConfigError, HoldfastError
from . import auditor, blocks, cache, demo, key, name, order, peer, piece, pin, publisher, reader, repo
from .output import fail

INTERRUPTED, BUG = 130, 70

app = typer.Typer(
    name="holdfast",
    help="Publish datasets that no provider can withhold or alter, keep them with many, train from all of them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"holdfast {version('holdfast')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None: ...


for module in (publisher, peer, reader, order, cache, pin, piece, key, name, repo, auditor, blocks, demo):
    module.register(app)


def main() -> None:
    """Entry point of `holdfast` and `python -m holdfast`."""
    as_json = "--json" in sys.argv
    signal.signal(signal.SIGTERM, _terminated)
    try:
        code = app(standalone_mode=False)
        if code == INTERRUPTED:  # typer's own answer to Ctrl-C, without a word
            raise KeyboardInterrupt
    except HoldfastError as error:
        fail(error, as_json=as_json)
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        fail(HoldfastError("interrupted"), as_json=as_json)
        code = INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last line of defence: no traceback on the screen
        if type(error).__name__ == "NoArgsIsHelpError":  # a group without a command: what it has, in full
            typer.echo(str(error.format_message()))  # type: ignore[attr-defined]
            code = 2
        elif hasattr(error, "format_message"):  # typer's usage errors; its classes are private
            fail(ConfigError(error.format_message(), hint="see holdfast --help"), as_json=as_json)
            code = 2
        else:
            fail(_bug(error), as_json=as_json)
            code = BUG
    sys.exit(code if isinstance(code, int) else 0)


def _terminated(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _bug(error: Exception) -> HoldfastError:
    try:
        number, log = tempfile.mkstemp(prefix="holdfast-", suffix=".log")  # nobody can put a link there before
        with os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write("".join(traceback.format_exception(error)))
        hint = f"please report it with {log}"
    except OSError:
        hint = "please report it"
    found = HoldfastError(f"a bug in holdfast: {type(error).__name__}: {error}", hint=hint)
    found.kind = "bug"
    return found
