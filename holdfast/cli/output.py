"""What commands print: one JSON object or words on standard output, progress on a terminal's standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..configs.errors import HoldfastError


def emit(document: dict[str, Any], *, as_json: bool, words: str) -> None:
    """The result of a command."""
    try:
        print(json.dumps(document) if as_json else words, flush=True)  # noqa: T201
    except BrokenPipeError:  # the reader has seen enough, as in `| head`; typer would make it exit code 1
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def fail(error: HoldfastError, *, as_json: bool) -> None:
    """One sentence and what to do next; with --json also the object that scripts read."""
    if as_json:
        print(json.dumps({"error": {"kind": error.kind, "message": error.message, "hint": error.hint}}), flush=True)  # noqa: T201
    hint = f"\n  {error.hint}" if error.hint else ""
    print(f"holdfast: {error.message}{hint}", file=sys.stderr, flush=True)  # noqa: T201


def warn(text: str) -> None:
    """One sentence about what went wrong and was got over."""
    print(f"holdfast: {text}", file=sys.stderr, flush=True)  # noqa: T201


Update = Callable[[int, int], None]


@contextmanager
def progress(title: str, unit: str = "bytes") -> Iterator[Update]:
    """A bar of bytes, or of another unit; yields a function of (done, total). On a terminal only."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TransferSpeedColumn

    amount = (DownloadColumn(), TransferSpeedColumn()) if unit == "bytes" else (MofNCompleteColumn(), TextColumn(unit))
    columns = (TextColumn("{task.description}"), BarColumn(), *amount)
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total or None)
