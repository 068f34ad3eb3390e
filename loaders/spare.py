"""A full disk under the cache: what it does not take is kept in memory, and streaming goes on.

`SpareMemory` holds leaves for all files of a process, `CachedFile` is a shard in both places, `SpareNodes` does the
same for inner nodes. The disk is tried again half a minute later, not with every leaf.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from ..storage.blocks.block import Block
from ..storage.blocks.memory import MemoryStore
from ..storage.blocks.nodes import NodeStore
from ..storage.blocks.verified_file import VerifiedFile
from ..storage.cid import CID
from ..storage.dag.layout import FileLayout
from ..storage.errors import BlockMissingError, DiskFullError, HashMismatchError
from ..storage.scatter import spread

LOG = logging.getLogger("holdfast.cache")
_AGAIN_S = 30.0
_NODES_BYTES = 64 << 20

Key = tuple[CID, int]  # of a file, and the number of a leaf


class SpareMemory:
    """Verified leaves that found no place on disk. Safe from any thread.

    A leaf stays until it was read: those are bounded by what is asked for ahead, and by `max_unread_bytes`, where
    many ask. Beyond, the oldest ones go, and are fetched again by who needs them. Leaves that were read stay while all
    of them fit into `max_bytes`, the last used ones longest.
    """

    def __init__(
        self,
        folder: Path,
        max_bytes: int,
        clock: Callable[[], float] = time.monotonic,
        *,
        max_unread_bytes: int | None = None,
    ) -> None:
        self._folder, self._max_bytes, self._clock = folder, max_bytes, clock
        self._max_unread_bytes, self._unread_bytes = max_unread_bytes, 0
        self._unread: OrderedDict[Key, bytes] = OrderedDict()
        self._read: OrderedDict[Key, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        self._full_until = 0.0
        self._said = False

    @property
    def disk_is_full(self) -> bool:
        """Whether the disk was full a moment ago: it is not tried now."""
        return self._clock() < self._full_until

    def disk_was_full(self) -> None:
        """The disk took nothing more. Says so once."""
        with self._lock:
            self._full_until = self._clock() + _AGAIN_S
            first, self._said = not self._said, True
        if first:
            LOG.warning(
                "no space left in %s: streaming goes on from memory, and what comes now is fetched again next time",
                self._folder,
            )

    @property
    def crowded(self) -> bool:
        """Whether nothing more should be asked for ahead."""
        return self._max_unread_bytes is not None and 2 * self._unread_bytes > self._max_unread_bytes

    @property
    def used_bytes(self) -> int:
        """Bytes of leaves held."""
        return self._bytes

    def put(self, key: Key, data: bytes) -> None:
        """Hold a verified leaf."""
        with self._lock:
            if key in self._unread or key in self._read:
                return
            self._unread[key] = data
            self._bytes += len(data)
            self._unread_bytes += len(data)
            while self._max_unread_bytes is not None and self._unread_bytes > self._max_unread_bytes:
                gone = len(self._unread.popitem(last=False)[1])
                self._bytes -= gone
                self._unread_bytes -= gone
            while self._bytes > self._max_bytes and self._read:
                self._bytes -= len(self._read.popitem(last=False)[1])

    def has(self, key: Key) -> bool:
        """Whether the leaf is held."""
        with self._lock:
            return key in self._unread or key in self._read

    def take(self, key: Key) -> bytes | None:
        """The leaf, which counts as read from now on."""
        with self._lock:
            data = self._unread.pop(key, None)
            if data is not None:
                self._unread_bytes -= len(data)
                self._read[key] = data
            elif key in self._read:
                self._read.move_to_end(key)
            return self._read.get(key)

    def settle(self) -> None:
        """A new pass begins: what the last one asked for and did not read may go."""
        with self._lock:
            self._read.update(self._unread)
            self._unread.clear()
            self._unread_bytes = 0

    def forget(self, cid: CID) -> None:
        """Drop the leaves of a file."""
        with self._lock:
            for held in (self._unread, self._read):
                for key in [key for key in held if key[0] == cid]:
                    gone = len(held.pop(key))
                    self._bytes -= gone
                    self._unread_bytes -= gone if held is self._unread else 0


class CachedFile:
    """A shard on disk, and in memory where the disk is full. `file`: None when it could not even be opened."""

    def __init__(self, layout: FileLayout, file: VerifiedFile | None, spare: SpareMemory) -> None:
        self._layout, self._file, self._spare = layout, file, spare
        self._spared = file is None  # whether any leaf of it was ever held in memory

    def has(self, leaf: int) -> bool:
        """Whether the verified leaf is here."""
        if self._spared and self._spare.has((self._layout.cid, leaf)):
            return True
        return self._file is not None and self._file.has(leaf)

    def write(self, leaf: int, data: memoryview) -> None:
        """Hash the leaf and keep it. Raises `HashMismatchError`, or `StoreError` for a disk that fails otherwise."""
        if self._file is not None and not self._spare.disk_is_full:
            try:
                self._file.write(leaf, data)
            except DiskFullError:
                self._spare.disk_was_full()
            else:
                self.release(leaf)  # whoever waits for it sees its mark
                return
        if len(data) != self._layout.leaf_length(leaf) or not self._layout.leaf_cid(leaf).matches(data):
            raise HashMismatchError(f"leaf {leaf} of {self._layout.cid.short()} does not hash to its CID")
        self._spared = True
        self._spare.put((self._layout.cid, leaf), bytes(data))
        self.release(leaf)  # others cannot read our memory: they must fetch it themselves

    def view(self, start: int, end: int) -> memoryview | None:
        """The bytes [start, end); None if one of their leaves had to leave the memory since it was looked for."""
        if not self._spared and self._file is not None:
            return self._file.view(start, end)
        parts: list[bytes | memoryview] = []
        for leaf in self._layout.leaves_of(start, end):
            low, high = self._layout.leaf_range(leaf)
            data: bytes | memoryview | None = self._spare.take((self._layout.cid, leaf))
            if data is None and self._file is not None and self._file.has(leaf):
                data = self._file.view(low, high)
            if data is None:
                return None
            parts.append(data[max(start - low, 0) : min(end, high) - low])
        return memoryview(b"".join(parts))

    @property
    def identity(self) -> list[int] | None:
        """See `VerifiedFile.identity`; None when it could not even be opened."""
        return None if self._file is None else self._file.identity

    @property
    def complete(self) -> bool:
        """Whether every leaf is here, on disk."""
        return not self._spared and self._file is not None and self._file.complete

    def spared(self, leaf: int) -> bytes | None:
        """The leaf, if it is held in memory and not on disk."""
        return self._spare.take((self._layout.cid, leaf)) if self._spared else None

    def leaf(self, leaf: int) -> bytes | None:
        """The verified leaf, copied; None if it is not here."""
        return self.copy(*self._layout.leaf_range(leaf)) if self.has(leaf) else None

    def copy(self, start: int, end: int) -> bytes | None:
        """See `view`."""
        if not self._spared and self._file is not None:
            return self._file.copy(start, end)
        found = self.view(start, end)
        return None if found is None else found.tobytes()

    def fill(self, start: int, *outs: memoryview) -> bool:
        """See `VerifiedFile.fill`; False where `view` gives None."""
        if not self._spared and self._file is not None:
            self._file.fill(start, *outs)
            return True
        found = self.view(start, start + sum(map(len, outs)))
        if found is not None:
            spread(found, outs)
        return found is not None

    def map(self) -> memoryview | None:
        """The whole file as it is on disk; None when leaves of it are held in memory."""
        if self._spared or self._file is None:
            return None
        return self._file.view(0, self._layout.size)

    def let_go(self) -> None:
        """See `VerifiedFile.let_go`."""
        if self._file is not None:
            self._file.let_go()

    def claim(self, leaf: int) -> bool:
        """See `VerifiedFile.claim`. Without a file there is nothing to share."""
        return self._file is None or self._file.claim(leaf)

    def release(self, leaf: int) -> None:
        """See `VerifiedFile.release`."""
        if self._file is not None:
            self._file.release(leaf)

    def recheck(self) -> None:
        """See `VerifiedFile.recheck`."""
        if self._file is not None:
            self._file.recheck()

    def close(self) -> None:
        """Drop what is in memory. Who opened the file closes it."""
        if self._spared:
            self._spare.forget(self._layout.cid)


class SpareNodes(NodeStore):
    """Nodes on disk, and in memory where the disk is full."""

    def __init__(self, folder: Path, spare: SpareMemory) -> None:
        super().__init__(folder)
        self._spare, self._memory = spare, MemoryStore(_NODES_BYTES)

    def get(self, cid: CID) -> Block:
        """See `BlockStore.get`."""
        try:
            return self._memory.get(cid)
        except BlockMissingError:
            return super().get(cid)

    def has(self, cid: CID) -> bool:
        """See `BlockStore.has`."""
        return self._memory.has(cid) or super().has(cid)

    def put(self, cid: CID, data: bytes) -> Block:
        """See `BlockStore.put`."""
        if not self._spare.disk_is_full:
            try:
                return super().put(cid, data)
            except DiskFullError:
                self._spare.disk_was_full()
        return self._memory.put(cid, data)
