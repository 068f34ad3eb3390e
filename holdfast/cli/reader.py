"""For those who read: `get`, `ls`, `inspect`, `verify`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..configs.errors import ConfigError
from ..configs.sizes import format_size
from .options import AllowNet, AsJson, Deadline, From, Repo, RosterFile, deadline_s, guard, sources
from .output import emit, progress, warn

if TYPE_CHECKING:
    from ..storage.fetch.scoreboard import SourceStats

Uri = Annotated[str, typer.Argument(help="ipfs://CID[/path], ipns://NAME[/path], or either bare.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(get)
    app.command()(ls)
    app.command()(inspect)
    app.command()(verify)
    app.command()(diff)


def get(
    uri: Uri,
    dest: Annotated[Path, typer.Argument(help="A new or empty folder, or one of an earlier get.")],
    urls: From = None,
    roster: RosterFile = None,
    repo: Repo = None,
    partition: Annotated[str | None, typer.Option(help="Only the shards of this partition.")] = None,
    deadline: Deadline = None,
    allow_net: AllowNet = None,
    as_json: AsJson = False,
) -> None:
    """Fetch a dataset into a folder that is a complete mirror afterwards. Every byte is hashed."""
    from ..storage.get import get as run
    from ..storage.session import locate

    given = sources(urls, roster)
    where = locate(uri, given, warn)
    with _store(repo) as store, progress("getting") as update:
        result = run(
            str(where),
            dest,
            sources=given,
            partition=partition,
            deadline_s=deadline_s(deadline),
            store=store,
            redirects=guard(allow_net),
            on_progress=lambda done: update(done.bytes, done.total_bytes),
        )
    document = {
        "bytes": result.bytes,
        "files": result.files,
        "seconds": round(result.seconds, 3),
        "refetched_bytes": result.refetched_bytes,
        "links": list(result.links),
        "sources": [_source(source) for source in result.sources],
    }
    words = [f"{result.files} files, {format_size(result.bytes)} in {result.seconds:.1f} s → {dest}"]
    words += [f"  symlink not made: {link}" for link in result.links]
    words += [
        f"  {source.url or source.name}: {format_size(source.bytes)} in {source.requests} requests,"
        f" {source.wrong} wrong, {source.state}"
        for source in result.sources
    ]
    emit(document, as_json=as_json, words="\n".join(words))


def ls(
    uri: Uri, urls: From = None, roster: RosterFile = None, repo: Repo = None, deadline: Deadline = None,
    allow_net: AllowNet = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """List a folder of a dataset: size (for a folder, of all below it), CID and name."""
    from ..storage.cid import RAW
    from ..storage.dag import walk

    with session_of(uri, urls, roster, repo, deadline, allow_net) as session:
        path = session.uri.path.split("/") if session.uri.path else []
        found = walk.run(walk.resolve(session.uri.root, path), session.tree.node)
        if found.kind != "directory":
            raise ConfigError(f"{session.uri} is a {found.kind}, not a folder", hint="`holdfast get` fetches it")
        entries = [
            {"name": entry.name, "cid": str(entry.cid), "bytes": entry.tsize, "raw": entry.cid.codec == RAW}
            for entry in session.tree.directory(found.cid)
        ]
    words = "\n".join(f"{entry['bytes']:>14}  {entry['cid']}  {entry['name']}" for entry in entries) or "(empty)"
    emit({"uri": uri, "entries": entries}, as_json=as_json, words=words)


def inspect(
    uri: Uri, urls: From = None, roster: RosterFile = None, repo: Repo = None, deadline: Deadline = None,
    allow_net: AllowNet = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Say what a dataset is: format, samples, shards, columns, partitions, order."""
    from ..storage.dataset import Dataset

    with session_of(uri, urls, roster, repo, deadline, allow_net) as session:
        head = Dataset(session.tree).open().head.model_dump(mode="json", exclude_none=True)
    words = [f"ipfs://{session.uri.root}"]
    words += [f"  {key}: {head[key]}" for key in ("title", "description", "licence") if head[key]]
    words += [
        (
            f"  {head['samples']} {'tokens' if head['shard_format'] == 'tokens' else 'samples'} in {head['shards']}"
            f" {head['shard_format']} shards, {format_size(head['bytes'])}, leaves of {format_size(head['leaf_size'])}"
        ),
        (
            f"  order v{head['order']['version']}: runs of {head['order']['run']},"
            f" blocks of {head['order']['block']} runs, {head['order']['lanes']} lanes"
        ),
    ]
    words += [f"  column {name}: {kind}" for name, kind in head["columns"].items()]
    words += [f"  partition {part['name']}: {part['samples']}" for part in head["partitions"]]
    emit({"root": str(session.uri.root), "head": head}, as_json=as_json, words="\n".join(words))


def diff(
    old: Annotated[str, typer.Argument(help="The version before: ipfs://CID, ipns://NAME, or either bare.")],
    new: Annotated[str, typer.Argument(help="The version after.")],
    urls: From = None, roster: RosterFile = None, repo: Repo = None, deadline: Deadline = None,
    allow_net: AllowNet = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Say what a version has that another has not: files, and how many of their bytes are new. Leaves are not read."""
    from ..storage.diff import diff as run

    with (
        session_of(old, urls, roster, repo, deadline, allow_net) as before,
        session_of(new, urls, roster, repo, deadline, allow_net) as after,
    ):
        found = run(before.tree, after.tree)
        roots = str(before.uri.root), str(after.uri.root)
    document = {
        "old": roots[0],
        "new": roots[1],
        "changes": [
            {"path": one.path, "kind": one.kind, "bytes": one.bytes, "new_bytes": one.new_bytes}
            for one in found.changes
        ],
        "unchanged": found.unchanged,
        "unchanged_bytes": found.unchanged_bytes,
        "new_bytes": found.new_bytes,
    }
    signs = {"added": "+", "removed": "-", "changed": "~"}  # what has only another number is counted
    words = [
        f"{signs[one.kind]} {one.path}  {format_size(one.bytes)}"
        + (f", {format_size(one.new_bytes)} of it new" if one.kind == "changed" else "")
        for one in found.changes
        if one.kind in signs
    ]
    moved = len(found.changes) - len(words)
    there = f" ({moved} more under another name)" if moved else ""
    words.append(f"{found.unchanged} files are the same{there}, {format_size(found.new_bytes)} are new")
    emit(document, as_json=as_json, words="\n".join(words))


def verify(
    target: Annotated[
        str, typer.Argument(metavar="URI|PATH", help="A dataset at its sources, or a copy on this disk.")
    ],
    urls: From = None,
    roster: RosterFile = None,
    repo: Repo = None,
    root: Annotated[str | None, typer.Option(help="For a copy: the root it should have.")] = None,
    deadline: Deadline = None,
    allow_net: AllowNet = None,
    as_json: AsJson = False,
) -> None:
    """Hash everything. Exit code 1 when something is wrong or missing."""
    from ..storage.uri import DatasetUri
    from ..storage.verify import verify_folder, verify_sources

    done = 0
    answered: list[SourceStats] = []
    with progress("verifying") as update:

        def on_bytes(count: int) -> None:
            nonlocal done
            done += count
            update(done, 0)

        if Path(target).is_dir():
            expected = DatasetUri.parse(root).root if root else None
            result = verify_folder(Path(target), expected, on_bytes)
        elif "://" not in target and ("/" in target or "." in target):
            raise ConfigError(f"{target} is not a folder", hint="name a copy that `holdfast get` made, or a URI")
        else:
            with session_of(target, urls, roster, repo, deadline, allow_net) as session:
                result = verify_sources(session.tree, on_bytes)
                answered = session.engine.stats()
    document = {
        "root": str(result.root),
        "ok": result.ok,
        "files": result.files,
        "bytes": result.bytes,
        "findings": [{"path": finding.path, "problem": finding.problem} for finding in result.findings],
        "sources": [_source(source) for source in answered],
    }
    words = [f"ipfs://{result.root}: {result.files} files, {format_size(result.bytes)} are right"]
    words += [f"  {finding.path}: {finding.problem}" for finding in result.findings]
    words += [f"  {source.url} sent {source.wrong} wrong answers" for source in answered if source.wrong]
    emit(document, as_json=as_json, words="\n".join(words))
    raise typer.Exit(0 if result.ok else 1)


def _source(source: SourceStats) -> dict[str, Any]:
    return {
        "url": source.url or source.name,
        "bytes": source.bytes,
        "requests": source.requests,
        "wrong": source.wrong,
        "state": source.state,
    }


@contextmanager
def _store(repo: Path | None) -> Iterator[Any]:
    """The repository, if one was named: `get`, `ls` and `verify` read one only then."""
    if repo is None:
        yield None
        return
    from ..storage.blocks.disk import DiskStore

    with DiskStore(repo).open(create=False) as store:
        yield store


@contextmanager
def session_of(
    uri: str, urls: list[str] | None, roster: Path | None, repo: Path | None, deadline: str | None,
    allow_net: list[str] | None,
) -> Iterator[Any]:  # fmt: skip
    """Sources, engine and tree for a URI, from what the user named on the command line."""
    from ..storage.session import Session, choose_sources, locate, user_policy

    policy, given = user_policy(deadline_s(deadline)), sources(urls, roster)
    where = locate(uri, given, warn)
    with _store(repo) as store:
        chosen = choose_sources(given, store=store, redirects=guard(allow_net))
        with Session(where, chosen, policy=policy) as session:
            yield session
