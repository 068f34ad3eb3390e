"""Hash and describe shards, in order: the middle of a publish, the same for files as they lie and packed ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from ..storage.blocks.hashing import hash_files
from ..storage.blocks.stamp import Stamp
from ..storage.errors import FileChangedError
from ..storage.manifest import DEFAULT_PARTITION, MAX_PARTITIONS, ShardFormat, check_page_names
from .describe import describe
from .detect import SourceFile
from .facts import Facts
from .keeper import Keeper, Kept, Known
from .options import PublishOptions


@dataclass(frozen=True, slots=True)
class ShardSource:
    """A shard to be: where it is, its path below `data/`, its partition; `known`: what is so from last time.

    `note`: the key by which a packed one is known next time. `facts`: what its packer knows of it; else it is read.
    """

    path: Path
    name: str
    partition: str = DEFAULT_PARTITION
    owned: bool = False
    known: Known | None = None
    note: bytes | None = None
    facts: Facts | None = None


@dataclass(frozen=True, slots=True)
class ReadShard:
    """A shard that is kept, and what it holds."""

    source: ShardSource
    kept: Kept
    facts: Facts


def as_they_lie(
    source: Path,
    files: Iterable[SourceFile],
    known: Callable[[Path], Known | None],
    warn: Callable[[str], None],
    *,
    indexed: bool,
) -> Iterator[ShardSource]:
    """The user's own shards, ordered by partition and path, bytewise. `indexed`: each has an index file beside it.

    Where every shard lies in a subfolder, the partition is the first folder's name; of more than 256 folders,
    "default", with a warning: the head lists partitions, and has a limit. Raises `ConfigError` for names too long.
    """
    names = [file.name for file in files]
    folders = {name.split("/")[0] if "/" in name else "" for name in names}
    split = "" not in folders
    if split and len(folders) > MAX_PARTITIONS:
        split = False
        warn(f"{len(folders)} subfolders are more than {MAX_PARTITIONS} partitions: all shards are in 'default'")
    parts = [(name.split("/")[0] if split else DEFAULT_PARTITION, name) for name in names]
    parts.sort(key=lambda part: (part[0].encode(), part[1].encode()))
    check_page_names([name for _, name in parts], indexed=indexed)
    for partition, name in parts:
        path = source / name
        yield ShardSource(path, name, partition, known=known(path))


def read_shards(
    sources: Iterable[ShardSource],
    format_: ShardFormat,
    options: PublishOptions,
    keeper: Keeper,
    on_bytes: Callable[[int], None],
) -> Iterator[ReadShard]:
    """Hash each shard once, on all cores, and describe it meanwhile; yields in the order given."""

    def look(source: ShardSource) -> Facts:
        return source.facts or describe(source.path, source.name, format_, options.dtype)

    for is_known, group in groupby(sources, key=lambda source: source.known is not None):
        if not is_known:
            yield from _hash(group, look, options, keeper, on_bytes)
            continue
        for source in group:
            assert source.known is not None
            facts = look(source)
            _check_same(source, facts.stamp, source.known.stamp)
            kept = keeper.keep_known(source.known)
            on_bytes(kept.size)
            yield ReadShard(source, kept, facts)


def _hash(
    sources: Iterable[ShardSource],
    look: Callable[[ShardSource], Facts],
    options: PublishOptions,
    keeper: Keeper,
    on_bytes: Callable[[int], None],
) -> Iterator[ReadShard]:
    pending: deque[tuple[ShardSource, Future[Facts]]] = deque()  # as many as hash_files has in hand
    pool = ThreadPoolExecutor(1, thread_name_prefix="describe")  # more would only wait for the GIL

    def paths() -> Iterator[Path]:
        for source in sources:
            pending.append((source, pool.submit(look, source)))
            yield source.path

    try:
        hashing = hash_files(paths(), options.leaf_size, workers=options.workers, on_bytes=on_bytes)
        with closing(hashing):  # type: ignore[type-var]  # a generator
            for hashed in hashing:
                source, future = pending.popleft()
                facts = future.result()
                _check_same(source, facts.stamp, hashed.stamp)
                yield ReadShard(source, keeper.keep(hashed, owned=source.owned, note=source.note), facts)
    finally:
        pool.shutdown(cancel_futures=True)


def _check_same(source: ShardSource, described: Stamp, hashed: Stamp) -> None:
    if described != hashed:
        raise FileChangedError(
            f"{source.path} changed while it was being read", hint="publish again when it is complete"
        )
