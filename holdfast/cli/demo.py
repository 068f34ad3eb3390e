"""`demo`: the whole path on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..configs.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    path: Annotated[Path | None, typer.Argument(help="A folder of text (default: Python's standard library).")] = None,
    output: Annotated[Path, typer.Option(help="Where the report goes.")] = Path("holdfast-demo"),
    steps: Annotated[int, typer.Option(min=16, help="Training steps of each run.")] = 240,
) -> None:
    """Publish, keep on three peers, train twice while they die and lie; exit 0 only if every claim held."""
    try:
        from ..demo.run import run_demo
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the demo needs {error.name}, which is not installed", hint="pip install 'holdfast[demo]'"
        ) from error
    raise typer.Exit(run_demo(path, output, steps))
