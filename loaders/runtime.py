"""`Runtime`: the engine, cache and open shards of one process. Never crosses a fork or a pickle."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakSet

from ..storage.cid import CID
from ..storage.dataset import Dataset
from ..storage.errors import DiskFullError, FormatError
from ..storage.fetch.node_tree import NodeTree, TreeFile
from ..storage.manifest import Shard
from ..storage.sources.source import FileRef
from .cache import ShardCache
from .decoded_files import DecodedFiles
from .fetching import Fetching
from .pages import Pages
from .shard_file import Dropped, ShardFile
from .spare import CachedFile, SpareMemory, SpareNodes
from .stats import Meter


@dataclass(frozen=True, slots=True)
class CacheOptions:
    """Where the cache lies, its budget in bytes, the run it belongs to, and whether to hash warm files again.

    `memory_bytes`: how much of it may lie in memory instead while the disk is full.
    """

    folder: Path
    max_bytes: int
    lineage: int
    reverify: bool = False
    memory_bytes: int = 64 << 20


class CachedTree(NodeTree):
    """A tree whose small files are kept in the cache as well: a second run needs no source for them."""

    def __init__(
        self,
        fetching: Fetching,
        root: CID,
        cache: ShardCache,
        options: CacheOptions,
        spare: SpareMemory,
        meter: Meter,
        pages: Pages,
    ) -> None:
        super().__init__(fetching.blocks, root, SpareNodes(cache.nodes.folder, spare))
        self._fetching, self.dropped = fetching, Dropped()
        self._cache, self._options, self._spare, self._meter, self._pages = cache, options, spare, meter, pages

    def open(self, ref: FileRef) -> ShardFile:
        """A file of the tree, cached and leased; on a full disk, in memory."""
        self.dropped.close()  # their leases first: what is opened may need their room
        # a run that hashes all again believes nobody's marks but its own, the fetcher's neither
        lease, own = None, self._options.lineage if self._options.reverify else None
        try:
            lease = self._cache.open(ref.layout, own or self._fetching.lineage, distrust=self._options.reverify)
        except DiskFullError:
            self._spare.disk_was_full()
        file = CachedFile(ref.layout, lease.file if lease else None, self._spare)
        try:
            supply = self._fetching.supply(ref, file, own)
        except BaseException:
            if lease is not None:
                lease.close()
            raise
        return ShardFile(ref, lease, file, supply, self._meter, self._pages, self.dropped)

    def read(self, file: TreeFile, limit: int) -> bytes:
        """See `NodeTree.read`."""
        ref = self.ref(file)
        if ref.layout.size > limit:
            raise FormatError(f"{file.path} has {ref.layout.size} bytes, more than {limit}")
        shard = self.open(ref)
        try:
            return bytes(shard.read(0, ref.layout.size))
        finally:
            shard.close()


class Runtime:
    """Everything that a process needs to read one dataset."""

    def __init__(self, root: CID, fetching: Fetching, options: CacheOptions) -> None:
        self.pid = os.getpid()
        self.cache = ShardCache(options.folder, options.max_bytes)
        self.fetching = fetching
        self._spare = SpareMemory(options.folder, options.memory_bytes)
        self.meter = Meter()
        self._files: WeakSet[ShardFile] = WeakSet()
        self.tree = CachedTree(fetching, root, self.cache, options, self._spare, self.meter, Pages(self._files))
        self.dataset = Dataset(self.tree)
        self.decoded = DecodedFiles(self.cache, options.lineage, distrust=options.reverify)

    def open(self) -> Runtime:
        """Read the head."""
        try:
            self.dataset.open()
        except BaseException:
            self.fetching.close()
            raise
        return self

    def open_shard(self, shard: Shard) -> ShardFile:
        """The file of a shard, open and leased until the last reference to it is gone."""
        file = self.tree.open(self.dataset.shard_file(shard))
        self._files.add(file)
        return file

    def index(self, shard: Shard) -> bytes:
        """The bytes of a shard's index."""
        if shard.index is None:
            raise FormatError(f"{shard.path} has no index")
        file = self.tree.open(self.dataset.index_file(shard.index))
        try:
            return bytes(file.read(0, shard.index.bytes))
        finally:
            file.close()

    def recheck(self) -> None:
        """Before a pass: doubt open files that somebody changed since they were complete."""
        self.tree.dropped.close()
        self._spare.settle()
        for file in list(self._files):
            file.recheck()
        self.decoded.recheck()

    def close(self) -> None:
        """Close files, and stop fetching. Idempotent; nothing in a process that was forked from ours."""
        if self.pid != os.getpid():
            return
        self.fetching.close()
        for file in list(self._files):
            file.close()
        self.tree.dropped.close()
        self.decoded.close()
        self.cache.evict(0)
