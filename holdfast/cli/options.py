"""Options that several commands share, and what they mean."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..configs.errors import ConfigError
from ..configs.settings import repo_folder
from ..configs.sizes import parse_duration

if TYPE_CHECKING:
    from ..storage.sources.netguard import NetGuard

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Repo = Annotated[
    Path | None, typer.Option("--repo", help="The repository ($HOLDFAST_REPO, else the user data folder).")
]
From = Annotated[
    list[str] | None,
    typer.Option(
        "--from", metavar="URL", help="Read from this gateway, peer or mirror; again for more. No others are asked."
    ),
]
RosterFile = Annotated[
    Path | None, typer.Option("--roster", metavar="FILE", help="Read from the providers of this roster.")
]
Deadline = Annotated[
    str | None, typer.Option(metavar="TIME", help="Give up after so long without progress on a leaf (30s).")
]
AllowNet = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-net", metavar="CIDR", help="Addresses that redirects and pin origins may name although not public."
    ),
]


def repo_path(repo: Path | None) -> Path:
    """Where the repository is."""
    return repo or repo_folder(os.environ)


def sources(urls: list[str] | None, roster: Path | None) -> list[str] | Path | None:
    """What the user named: URLs or a roster, not both."""
    if urls and roster:
        raise ConfigError("--from and --roster exclude each other", hint="give one of them")
    return urls or roster


def guard(allow_net: list[str] | None) -> NetGuard:
    """`--allow-net`: what redirects and origins may name."""
    from ..storage.sources.netguard import NetGuard

    return NetGuard.parse(allow_net or [])


def deadline_s(text: str | None) -> float | None:
    """`--deadline` in seconds."""
    return None if text is None else parse_duration(text)
