"""For those who keep data: `repo stat`, `repo verify`, `gc`."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from typing import Annotated

import typer

from ..configs.sizes import format_size
from .options import AsJson, Repo, repo_path
from .output import emit, progress

repo_app = typer.Typer(no_args_is_help=True, help="The repository: what it holds, and whether it is whole.")
_SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add the commands."""
    repo_app.command("stat")(stat)
    repo_app.command("verify")(verify)
    app.add_typer(repo_app, name="repo")
    app.command()(gc)


def stat(repo: Repo = None, as_json: AsJson = False) -> None:
    """Say what a repository holds, in files and bytes."""
    from ..storage.blocks.disk import DiskStore
    from ..storage.blocks.stat import stat as run

    with DiskStore(repo_path(repo)).open(create=False) as store:
        found = run(store)
    pins = ", ".join(f"{count} {status}" for status, count in sorted(found.pins.items())) or "none"
    words = [
        f"{found.path} ({found.format})",
        f"  names: {found.names}; pins: {pins}",
        f"  own files: {found.owned_files}, {format_size(found.owned_bytes)}",
        f"  your files that it refers to: {found.referenced_files}, {format_size(found.referenced_bytes)}",
        f"  nodes: {found.nodes}, {format_size(found.node_bytes)}",
        f"  leaves: {found.leaves} in {found.leaf_segments} segments",
        f"  strays: {found.stray_files}, {format_size(found.stray_bytes)} (half-written, or left by a kill: gc)",
        f"  free on this disk: {format_size(found.free_bytes)}",
    ]
    emit(asdict(found), as_json=as_json, words="\n".join(words))


def verify(
    repo: Repo = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads that hash (all cores).")] = None,
    as_json: AsJson = False,
) -> None:
    """Read everything a repository holds, your own files too; exit 1 when something is not what was hashed."""
    from ..storage.blocks.check import Checked, check
    from ..storage.blocks.disk import DiskStore
    from ..storage.blocks.stat import stat as run
    from ..storage.errors import StoreError

    done = Checked()
    read = 0
    with DiskStore(repo_path(repo)).open(create=False) as store, progress("verifying") as update:
        try:
            about = run(store)
            total = about.owned_bytes + about.referenced_bytes + about.node_bytes
        except StoreError:  # a damaged catalogue: what is wrong is for the check to say
            total = 0

        def note(size: int) -> None:
            nonlocal read
            read += size
            update(read, total)

        faults = list(check(store, done, workers=workers, on_bytes=note))
    document = {"ok": not faults, **asdict(done), "faults": [asdict(fault) for fault in faults]}
    words = [f"{done.files} files and {done.blocks} blocks are right, {format_size(done.bytes)}; {len(faults)} faults"]
    words += [f"  {f.file}{f' at byte {f.offset}: {f.cid}' if f.cid else ''}: {f.reason}" for f in faults[:_SHOWN]]
    if len(faults) > _SHOWN:
        words.append("    … (--json names all)")
    if faults:
        words.append("  nothing of these is served; restore the files, or publish or pin them again")
    emit(document, as_json=as_json, words="\n".join(words))
    if faults:
        raise typer.Exit(1)


def gc(
    repo: Repo = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be freed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Free what no pin and no published name leads to. Peers, publishing and importing may go on meanwhile."""
    from ..storage.blocks.collect import collect
    from ..storage.blocks.disk import DiskStore

    with closing(DiskStore(repo_path(repo))) as store:
        freed = collect(store.open(create=False), dry_run=dry_run)
    words = [
        f"{'would free' if dry_run else 'freed'} {format_size(freed.bytes)}: {freed.files} files, {freed.nodes} nodes",
        f"  no longer referred to: {freed.forgotten} of your own files, which stay where they are",
        f"  kept: {freed.kept_files} files, {freed.kept_nodes} nodes",
    ]
    if freed.missing:
        words.append(f"  {freed.missing} nodes of what is pinned are missing here: holdfast repo verify")
    emit(asdict(freed) | {"dry_run": dry_run}, as_json=as_json, words="\n".join(words))
