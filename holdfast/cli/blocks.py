"""For those who look under the hood: `cid`, `car export`, `car import`."""

from __future__ import annotations

import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from ..configs.errors import ConfigError
from ..configs.sizes import format_size, parse_size
from .options import AllowNet, AsJson, Deadline, From, Repo, RosterFile, repo_path, sources
from .output import emit, warn
from .reader import Uri, session_of

if TYPE_CHECKING:
    from ..storage.blocks.disk import DiskStore
    from ..storage.fetch.tree import TreeFile
    from ..storage.session import Session

car = typer.Typer(no_args_is_help=True, help="CAR files: whole DAGs as one stream.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(cid)
    car.command("export")(export)
    car.command("import")(import_)
    app.add_typer(car, name="car")


def cid(
    path: Annotated[Path, typer.Argument(help="A file or folder.")],
    leaf_size: Annotated[str, typer.Option(help="16KiB to 1MiB.")] = "1MiB",
    as_json: AsJson = False,
) -> None:
    """Print the CID of a file or folder (profile unixfs-v1-2025), as Kubo and Helia would name it."""
    from ..storage.blocks.hash_tree import hash_tree
    from ..storage.limits import MAX_LEAF_BYTES

    size = parse_size(leaf_size)
    if not 1 <= size <= MAX_LEAF_BYTES:
        raise ConfigError(f"--leaf-size {leaf_size}: expected 1 byte to 1MiB", hint="1MiB is the default; or 256KiB")
    entry = hash_tree(path, size)
    emit({"cid": str(entry.cid), "path": str(path)}, as_json=as_json, words=f"{entry.cid} {path}")


def export(
    uri: Uri,
    output: Annotated[Path, typer.Option("-o", "--output", help="The CAR to write.")],
    urls: From = None,
    roster: RosterFile = None,
    repo: Repo = None,
    deadline: Deadline = None,
    allow_net: AllowNet = None,
    car_v2: Annotated[bool, typer.Option("--car-v2", help="A CARv2, with an index of its blocks.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a whole DAG as CARv1, the same bytes every time. From sources if named, else from the repository."""
    from ..storage.blocks.car_file import export_car
    from ..storage.blocks.disk import DiskStore
    from ..storage.dag import walk
    from ..storage.session import locate
    from ..storage.uri import DatasetUri

    where = locate(uri, sources(urls, roster), warn) if urls or roster else DatasetUri.parse(uri)
    version = 2 if car_v2 else 1
    path = where.path.split("/") if where.path else []
    if not urls and not roster:
        with DiskStore(repo_path(repo)).open(create=False) as store:
            target = walk.run(walk.resolve(where.root, path), lambda block: store.get(block).data)
            summary = export_car(store, target.cid, output, version=version)
    else:
        with (
            tempfile.TemporaryDirectory(dir=output.absolute().parent, prefix=".holdfast-export-") as folder,
            DiskStore(Path(folder)).open() as store,
            session_of(str(where), urls, roster, repo, deadline, allow_net) as session,
        ):
            found = walk.run(walk.resolve(where.root, path), session.tree.node)
            _fetch(session, session.tree.find(where.path) if path else None, store)
            summary = export_car(store, found.cid, output, version=version)
    document = {"root": str(summary.roots[0]), "blocks": summary.blocks, "bytes": summary.bytes, "path": str(output)}
    words = f"{output}: {summary.blocks} blocks, {format_size(summary.bytes)}, root {summary.roots[0]}"
    emit(document, as_json=as_json, words=words)


def _fetch(session: Session, top: TreeFile | None, store: DiskStore) -> None:
    """A whole DAG into a store: leaves come as ranges of files, which a CAR has no place for."""
    from ..storage.fetch.download import download
    from ..storage.fetch.tree import RemoteTree
    from ..storage.node.budget import Budget
    from ..storage.node.repo_target import RepoTarget
    from ..storage.node.room import Room

    with closing(RepoTarget(Room(store, Budget(store, None)))) as target:
        download(RemoteTree(session.engine, session.uri.root, store.nodes, top), target)


def import_(
    files: Annotated[
        list[Path], typer.Argument(metavar="F...", help="CAR files, of version 1 or 2; pipes; - is standard input.")
    ],
    repo: Repo = None,
    as_json: AsJson = False,
) -> None:
    """Take CAR files into the repository. Every block is hashed. Exit code 1 when blocks are missing at the end.

    After a kill the same command goes on where it was; what came through a pipe starts over.
    """
    from ..storage.blocks.car_file import first_missing, import_car, look
    from ..storage.blocks.disk import DiskStore

    found = []
    for file in files:  # before there is a repository
        if str(file) != "-":
            look(file)
    with DiskStore(repo_path(repo)).open() as store:
        read = [(file, import_car(store, file, _standard_input() if str(file) == "-" else None)) for file in files]
        for file, summary in read:
            missing = summary.missing and next(  # a later one may have had it
                (cid for root in summary.roots if (cid := first_missing(store, root))), None
            )
            found.append(
                {
                    "path": str(file),
                    "roots": [str(root) for root in summary.roots],
                    "blocks": summary.blocks,
                    "bytes": summary.bytes,
                    "complete": missing is None,
                    "missing": missing and str(missing),
                }
            )
    emit({"cars": found}, as_json=as_json, words="\n".join(map(_line, found)))
    raise typer.Exit(0 if all(item["complete"] for item in found) else 1)


def _standard_input() -> BinaryIO:
    if sys.stdin.isatty():
        raise ConfigError("standard input is a terminal", hint="holdfast car import - < FILE, or behind a pipe")
    return sys.stdin.buffer


def _line(item: dict[str, Any]) -> str:
    words = f"{item['path']}: {item['blocks']} blocks, root {', '.join(item['roots'])}"
    if item["complete"]:
        return words
    return (
        f"{words}\n  incomplete: it ends at byte {item['bytes']}, and {item['missing']} is neither in it nor here."
        " What came is kept: import the rest, or the whole CAR again"
    )
