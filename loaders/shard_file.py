"""`ShardFile`: ranges of one shard, fetched when missing and verified before they are seen."""

from __future__ import annotations

import os
import time

from ..storage.errors import UnavailableError
from ..storage.fetch.engine import FetchEngine
from ..storage.sources.source import FileRef
from .cache import Lease
from .spare import CachedFile
from .stats import Meter

_POLL_S = 0.002  # how often to look whether another process has fetched what it claimed


class ShardFile:
    """Random access to a cached file. One engine, one process; several processes share the cache by claims.

    A leaf is fetched by the process that claims it; the others watch its mark. The kernel frees the claims of a
    process that dies, and whoever waits takes them over.
    """

    def __init__(
        self, ref: FileRef, lease: Lease | None, file: CachedFile, engine: FetchEngine, meter: Meter | None = None
    ) -> None:
        self.ref, self.layout = ref, ref.layout
        self._lease, self._file, self._engine = lease, file, engine
        self._handle = engine.open_file(ref, self._file)
        self._mine: set[int] = set()
        self._meter = meter or Meter()
        self._met = bytearray(self.layout.leaves)  # leaves that somebody has needed since it was opened
        self._closed = False
        self._pid = os.getpid()

    def prefetch(self, start: int, end: int, urgency: float) -> int:
        """Ask for the bytes [start, end) without waiting; returns how many bytes had to be asked for."""
        leaves = self.layout.leaves_of(start, end)
        missing = [leaf for leaf in leaves if not self._file.has(leaf)]
        self._count(leaves, missing)
        wanted = [leaf for leaf in missing if leaf not in self._mine and self._file.claim(leaf)]
        # between the look and the claim another process may have finished it
        for leaf in [leaf for leaf in wanted if self._file.has(leaf)]:
            wanted.remove(leaf)
            self._file.release(leaf)
        if wanted:
            self._mine.update(wanted)
            self._engine.want(self._handle, wanted, urgency)
        return sum(self.layout.leaf_length(leaf) for leaf in wanted)

    def _count(self, leaves: range, missing: list[int]) -> None:
        for leaf in leaves:
            if not self._met[leaf]:
                self._met[leaf] = 1
                if leaf in missing:
                    self._meter.missed_bytes += self.layout.leaf_length(leaf)
                else:
                    self._meter.cached_bytes += self.layout.leaf_length(leaf)

    def read(self, start: int, end: int) -> memoryview:
        """The verified bytes [start, end). Waits; raises what `FetchEngine.wait` raises."""
        leaves = self.layout.leaves_of(start, end)
        waited_since = time.monotonic()
        while True:
            self._await(start, end, leaves, waited_since)
            if (view := self._file.view(start, end)) is not None:
                return view

    def _await(self, start: int, end: int, leaves: range, since: float) -> None:
        while missing := [leaf for leaf in leaves if not self._file.has(leaf)]:
            waited_from = time.monotonic()
            self.prefetch(start, end, 0.0)
            mine = [leaf for leaf in missing if leaf in self._mine]
            if mine:
                self._engine.want(self._handle, [leaf for leaf in mine if not self._file.has(leaf)], 0.0)
                self._wait(mine)
            else:
                self._watch(missing[0], since)
            self._meter.stalled_s += time.monotonic() - waited_from
        self._release([leaf for leaf in leaves if leaf in self._mine])

    def _wait(self, leaves: list[int]) -> None:
        try:
            self._engine.wait(self._handle, leaves)
        except BaseException:
            self._release([leaf for leaf in leaves if leaf in self._mine])
            raise

    def _watch(self, leaf: int, since: float) -> None:
        """Another process fetches this leaf: look again soon; it may die, then its claim is free."""
        policy = self._engine.policy
        if time.monotonic() - since > policy.progress_deadline_s * policy.hard_deadline_factor:
            raise UnavailableError(
                f"leaf {leaf} of {self.ref.path} is being fetched by another process that gets nowhere",
                hint="is a stopped worker still holding the cache?",
            )
        time.sleep(_POLL_S)

    def _release(self, leaves: list[int]) -> None:
        for leaf in leaves:
            self._mine.discard(leaf)
            self._file.release(leaf)

    def recheck(self) -> None:
        """Doubt the file if somebody changed it since it was complete."""
        if not self._closed:
            self._file.recheck()

    def close(self) -> None:
        """Forget the file: what is still wanted of it is dropped. Idempotent."""
        # a forked child drops its copy: the engine's lock may have been held when it was forked
        if not self._closed and self._pid == os.getpid():
            self._closed = True
            self._engine.close_file(self._handle)
            self._release(list(self._mine))  # a worker forked meanwhile would keep the claims of a closed descriptor
            self._file.close()
            if self._lease is not None:
                self._lease.close()

    def __del__(self) -> None:
        # readers of up to 256 shards are kept; one that is dropped gives its lease back at once
        if hasattr(self, "_closed"):
            self.close()
