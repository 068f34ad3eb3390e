"""For those who keep data: `serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..configs.sizes import parse_size
from .options import AllowNet, AsJson, Repo, repo_path


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(serve)


def serve(
    repo: Repo = None,
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Port 0: any free one.")] = "127.0.0.1:4301",
    roster: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where pins may be fetched from, besides their origins.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The bearer token of the pinning service.")
    ] = None,
    max_bytes: Annotated[str | None, typer.Option(metavar="SIZE", help="Quota: what pins may take in all.")] = None,
    announce: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="Where others reach it, if not at --listen (a proxy); again for more."),
    ] = None,
    allow_net: AllowNet = None,
    as_json: AsJson = False,
) -> None:
    """Run a peer: trustless gateway, pinning service, router, keeper of names. Ends on SIGTERM or Ctrl-C."""
    from .serve import run_serve

    run_serve(
        repo_path(repo),
        listen,
        roster,
        token_file,
        None if max_bytes is None else parse_size(max_bytes),
        allow_net or [],
        as_json,
        announce=announce or [],
    )
