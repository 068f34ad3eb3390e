"""For Filecoin: `piece cid`."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from ..configs.errors import ConfigError
from ..configs.sizes import format_size
from .options import AsJson
from .output import emit, progress

_READ_BYTES = 1 << 20

piece = typer.Typer(no_args_is_help=True, help="Filecoin: what its providers call the bytes that they keep.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    piece.command("cid")(cid)
    app.add_typer(piece, name="piece")


def cid(
    file: Annotated[Path, typer.Argument(help="A file, mostly a CAR; - is standard input.")],
    as_json: AsJson = False,
) -> None:
    """Print the PieceCID (version 2) of a file: its CommP and its size (FRC-0069)."""
    from ..storage.pieces.hasher import PieceHasher

    with PieceHasher() as hasher, _opened(file) as stream, progress("hashing") as update:
        total = os.fstat(stream.fileno()).st_size
        while data := _read(stream, file):
            hasher.update(data)
            update(hasher.size, total)
        found = hasher.finish().cid
    document: dict[str, Any] = {
        "cid": str(found),
        "v1": str(found.v1),
        "bytes": found.size,
        "padded_bytes": found.padded_size,
        "path": str(file),
    }
    words = f"{found} {file}\n  {format_size(found.size)}, stored as {format_size(found.padded_size)}; v1: {found.v1}"
    emit(document, as_json=as_json, words=words)


def _opened(file: Path) -> Any:
    if str(file) == "-":
        return nullcontext(_standard_input())
    try:
        return file.open("rb", buffering=0)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}", hint="check the path") from error


def _standard_input() -> BinaryIO:
    if sys.stdin.isatty():
        raise ConfigError("standard input is a terminal", hint="holdfast piece cid - < FILE, or behind a pipe")
    return sys.stdin.buffer


def _read(stream: BinaryIO, file: Path) -> bytes:
    try:
        return stream.read(_READ_BYTES)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}", hint="check the path, and its disk") from error
