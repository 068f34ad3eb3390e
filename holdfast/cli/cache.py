"""For those who train: `cache ls`, `cache verify`, `cache clear`."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..configs.errors import ConfigError
from ..configs.settings import cache_folder
from ..configs.sizes import format_size
from .options import AsJson
from .output import emit, progress

if TYPE_CHECKING:
    from ..loaders.cache import ShardCache

cache_app = typer.Typer(no_args_is_help=True, help="What the loader keeps of what it fetched.")
Folder = Annotated[
    Path | None, typer.Option("--cache", metavar="DIR", help="The folder given as cache= (the user's cache folder).")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    cache_app.command("ls")(ls)
    cache_app.command("verify")(verify)
    cache_app.command("clear")(clear)
    app.add_typer(cache_app, name="cache")


def ls(folder: Folder = None, as_json: AsJson = False) -> None:
    """List what is there, the file that goes next first."""
    from ..loaders.cache_contents import contents, decoded_bytes

    cache = _cache(folder)
    found, decoded = contents(cache), decoded_bytes(cache)
    rows = [
        {
            "cid": str(shard.cid),
            "bytes": shard.bytes,
            "held_bytes": shard.held_bytes,
            "in_use": shard.in_use,
            "used_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(shard.used_ns / 1e9)),
        }
        for shard in found
    ]
    held = sum(shard.held_bytes for shard in found)
    words = [
        f"{row['used_at']}  {format_size(shard.held_bytes):>8} of {format_size(shard.bytes):>8}  {row['cid']}"
        + ("  in use" if shard.in_use else "")
        for row, shard in zip(rows, found, strict=True)
    ]
    words.append(f"{len(found)} files, {format_size(held)}" + (f"; decoded {format_size(decoded)}" if decoded else ""))
    emit({"files": rows, "held_bytes": held, "decoded_bytes": decoded}, as_json=as_json, words="\n".join(words))


def verify(folder: Folder = None, as_json: AsJson = False) -> None:
    """Hash all of it; what is rotten is dropped, and fetched again when needed. Exit code 1 if there was any."""
    from ..loaders.cache_contents import contents
    from ..loaders.cache_contents import verify as run

    cache, done = _cache(folder), 0
    total = sum(shard.held_bytes for shard in contents(cache))
    with progress("verifying") as update:

        def note(size: int) -> None:
            nonlocal done
            done += size
            update(done, total)

        rotten = list(run(cache, note))
    words = [f"{format_size(done)} hashed, {len(rotten)} rotten"]
    words += [
        f"  {bad.cid}: {'its nodes are gone' if bad.leaf is None else f'leaf {bad.leaf} was dropped'}" for bad in rotten
    ]
    document = {"bytes": done, "rotten": [{"cid": str(bad.cid), "leaf": bad.leaf} for bad in rotten]}
    emit(document, as_json=as_json, words="\n".join(words))
    raise typer.Exit(1 if rotten else 0)


def clear(folder: Folder = None, as_json: AsJson = False) -> None:
    """Remove everything that nobody uses now."""
    from ..loaders.cache_contents import clear as run
    from ..loaders.cache_contents import contents

    cache = _cache(folder)
    freed = run(cache)
    left = len(contents(cache))
    words = f"freed {format_size(freed)}" + (f"; {left} files are in use" if left else "")
    emit({"freed_bytes": freed, "left_files": left}, as_json=as_json, words=words)


def _cache(folder: Path | None) -> ShardCache:
    """Raises `ConfigError` for a folder that somebody named and that is no cache: nothing rotten was found there."""
    from ..loaders.cache import ShardCache

    cache = ShardCache(folder or cache_folder(os.environ) / "loader", 0)
    if folder is not None and not (folder.is_dir() and (cache.shards.is_dir() or not any(folder.iterdir()))):
        why = "holds something else" if folder.is_dir() else "is no folder"
        raise ConfigError(f"{folder} is no cache of the loader: it {why}", hint="name what was given as cache=")
    return cache
