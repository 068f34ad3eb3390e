"""What lies in a cache: listed, hashed again, cleared; beside whoever uses it meanwhile. Needs no torch."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from ..storage.blocks.verified_file import disk_error, marked
from ..storage.cid import CID, RAW
from ..storage.dag.layout import FileLayout
from ..storage.dag.walk import file_layout, raw_layout, run
from ..storage.errors import BlockMissingError, FormatError, HashMismatchError
from .cache import ShardCache


@dataclass(frozen=True, slots=True)
class CachedShard:
    """One file of a cache. `held_bytes`: of leaves that are here; `used_ns`: when it was last opened."""

    cid: CID
    bytes: int
    held_bytes: int
    in_use: bool
    used_ns: int


@dataclass(frozen=True, slots=True)
class Rotten:
    """A leaf that is no longer what was verified; it was dropped, and is fetched again when somebody needs it.

    `leaf` is None where the nodes are gone that would say what the leaves should be.
    """

    cid: CID
    leaf: int | None


def contents(cache: ShardCache) -> list[CachedShard]:
    """Every file of the cache, the least recently used first: the order in which they go. Raises `StoreError`."""
    found = []
    for path in cache.shards.glob("*.marks"):
        try:
            about, used_ns = marked(path), path.stat().st_mtime_ns
            if about is not None:
                cid = CID.parse(path.name.removesuffix(".marks"))
                found.append(CachedShard(cid, about.size, about.held_bytes, _in_use(path), used_ns))
        except (FileNotFoundError, FormatError):  # evicted meanwhile, or no file of ours
            continue
        except OSError as error:  # another user's
            raise disk_error(error, path) from error
    return sorted(found, key=lambda shard: (shard.used_ns, str(shard.cid)))


def decoded_bytes(cache: ShardCache) -> int:
    """Bytes of what was made of shards, and is kept beside them: decompressed ones, decoded rows."""
    found = 0
    for path in cache.decoded.glob("*"):
        with suppress(FileNotFoundError):
            found += path.stat().st_size
    return found


def verify(cache: ShardCache, on_bytes: Callable[[int], None] = lambda _: None) -> Iterator[Rotten]:
    """Hash every leaf that is here, also where stamps say that nothing changed. Yields what is rotten."""
    lineage = secrets.randbits(63)
    for shard in contents(cache):
        layout = _layout(cache, shard)
        if layout is None:
            yield Rotten(shard.cid, None)
            continue
        lease = cache.open(layout, lineage, distrust=True)
        try:
            for leaf in range(layout.leaves):
                here = lease.file.marked(leaf)
                if here and not lease.file.has(leaf):
                    yield Rotten(shard.cid, leaf)
                on_bytes(layout.leaf_length(leaf) if here else 0)
        finally:
            lease.close()


def clear(cache: ShardCache) -> int:
    """Remove all files that nobody uses now; returns the bytes freed. Evidence of wrong answers stays."""
    freed = ShardCache(cache.folder, 0).evict(0)
    if not any(cache.shards.glob("*.marks")):  # else their nodes are needed
        for path in cache.nodes.folder.glob("??/*"):
            with suppress(FileNotFoundError):
                freed += path.stat().st_size
                path.unlink()
    return freed


def _layout(cache: ShardCache, shard: CachedShard) -> FileLayout | None:
    if shard.cid.codec == RAW:
        return raw_layout(shard.cid, shard.bytes)
    try:
        return run(file_layout(shard.cid), lambda cid: cache.nodes.get(cid).data)
    except (BlockMissingError, HashMismatchError, FormatError):
        return None


def _in_use(marks: os.PathLike[str]) -> bool:
    fd = os.open(marks, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
