"""For Filecoin: `piece cid`, `piece pack`, `piece manifest`; and the commands of `piece_audit` and `piece_pay`."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from ..configs.errors import ConfigError
from ..configs.sizes import format_size
from .options import AsJson, Repo, repo_path
from .output import emit, progress, warn
from .piece_audit import audit
from .piece_pay import fund, providers, quote
from .reader import Uri

if TYPE_CHECKING:
    from ..storage.blocks.disk import DiskStore
    from ..storage.cid import CID
    from ..storage.pieces.manifest import PieceManifest

_READ_BYTES = 1 << 20

piece = typer.Typer(no_args_is_help=True, help="Filecoin: what its providers call the bytes that they keep.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    piece.command("cid")(cid)
    piece.command("pack")(pack)
    piece.command("manifest")(manifest)
    piece.command("audit")(audit)
    piece.command("providers")(providers)
    piece.command("quote")(quote)
    piece.command("fund")(fund)
    app.add_typer(piece, name="piece")


def cid(
    file: Annotated[Path, typer.Argument(help="A file, mostly a CAR; - is standard input.")],
    as_json: AsJson = False,
) -> None:
    """Print the PieceCID (version 2) of a file: its CommP and its size (FRC-0069)."""
    from ..storage.pieces.hasher import PieceHasher

    with PieceHasher() as hasher, _opened(file) as stream, progress("hashing") as update:
        total = os.fstat(stream.fileno()).st_size
        while (data := _read(stream, file)) != b"":
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


def pack(
    uri: Uri,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FOLDER", help="Write the CARs there, too.")
    ] = None,
    repo: Repo = None,
    as_json: AsJson = False,
) -> None:
    """Cut a dataset of the repository into pieces; keep their manifest there, pinned as pieces-of-ROOT.

    The pieces follow from the dataset: another version shares those whose shards did not change.
    """
    from ..pipeline.pieces.keep import keep_manifest
    from ..storage.blocks.disk import DiskStore

    with DiskStore(repo_path(repo)).open(create=False) as store:
        made, kept = _packed(store, uri, output, partial(keep_manifest, store))
    _say(made, kept, output, as_json)


def manifest(
    uri: Uri,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="A new or empty folder.")],
    repo: Repo = None,
    as_json: AsJson = False,
) -> None:
    """Write where each block of a dataset lies in its pieces: what `pieces = "FOLDER"` in a roster names.

    Made anew from the data in the repository: the same bytes as those of whoever packed it.
    """
    from ..pipeline.pieces.keep import write_manifest
    from ..storage.blocks.disk import DiskStore
    from ..storage.pieces.manifest import BLOCKS, LAYERS, PIECES

    names = {PIECES, BLOCKS, LAYERS}  # those of an earlier call, which may have been interrupted, are replaced
    if output.exists() and (not output.is_dir() or {path.name for path in output.iterdir()} - names):
        raise ConfigError(f"{output} is not an empty folder", hint="give a new one")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{output} cannot be made: {error.strerror}", hint="check the path") from error
    with DiskStore(repo_path(repo)).open(create=False) as store:
        made, kept = _packed(store, uri, None, lambda made: write_manifest(made, output))
    _say(made, kept, output, as_json)


def _packed(
    store: DiskStore, uri: str, cars: Path | None, keep: Callable[[PieceManifest], CID]
) -> tuple[PieceManifest, CID]:
    from ..pipeline.pieces.pack import pack as run
    from ..storage.session import locate

    where = locate(uri, None, warn)
    if where.path:
        raise ConfigError(f"{uri} is a path in a dataset", hint="pieces are made of a whole one: give its root")
    kept: list[CID] = []
    with progress("packing") as update:
        made = run(store, where.root, cars=cars, on_bytes=update, on_made=lambda one: kept.append(keep(one)))
    return made, kept[0]


def _say(made: PieceManifest, cid: CID, output: Path | None, as_json: bool) -> None:
    pieces = [
        {"cid": str(one.cid), "v1": str(one.cid.v1), "bytes": one.cid.size, "padded_bytes": one.cid.padded_size}
        for one in made.pieces
    ]
    document = {"root": str(made.root), "manifest": str(cid), "blocks": len(made.blocks), "pieces": pieces}
    lines = [f"{one.cid}  {format_size(one.cid.size)}" for one in made.pieces]
    total = format_size(sum(one.cid.size for one in made.pieces))
    lines.append(f"{len(made.pieces)} pieces, {total}, {len(made.blocks)} blocks; manifest {cid}")
    lines += [f"  → {output}"] if output is not None else []
    emit(document | ({"path": str(output)} if output is not None else {}), as_json=as_json, words="\n".join(lines))


def _opened(file: Path) -> Any:
    if str(file) == "-":
        return nullcontext(_standard_input())
    try:
        return file.open("rb", buffering=0)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}", hint="check the path") from error


def _standard_input() -> BinaryIO:
    try:
        is_terminal = sys.stdin.isatty()
    except AttributeError:  # it is None where it was closed
        raise ConfigError("there is no standard input", hint="name a file, or put a pipe before the command") from None
    if is_terminal:
        raise ConfigError("standard input is a terminal", hint="holdfast piece cid - < FILE, or behind a pipe")
    return open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)  # what a pipe has now, and not the most of it


def _read(stream: BinaryIO, file: Path) -> bytes:
    read: Callable[[int], bytes | None] = stream.read
    try:
        while (data := read(_READ_BYTES)) is None:  # a pipe that does not block, and has nothing just now
            select.select([stream], [], [])
        return data
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}", hint="check the path, and its disk") from error
