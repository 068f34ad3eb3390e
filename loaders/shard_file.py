"""`ShardFile`: ranges of one shard, fetched when missing and verified before they are seen."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TypeVar

from ..storage.errors import UnavailableError
from ..storage.sources.source import FileRef
from .cache import Lease
from .pages import REGION, Pages
from .spare import CachedFile
from .stats import Meter
from .supply import Supply

T = TypeVar("T")

_FUTILE = 20  # waits in a row after which no leaf more is here: each ended because one was said to be


class Held:
    """What a file has of the machine: given back in this order, once."""

    def __init__(self, supply: Supply, file: CachedFile, lease: Lease | None) -> None:
        self.supply, self.file, self.lease = supply, file, lease
        self.pid = os.getpid()

    def close(self) -> None:
        """Give it back. A forked child drops its copy: the engine's lock may have been held when it was forked."""
        if self.pid != os.getpid():
            return
        with ExitStack() as stack:  # whatever one of them raises, the others are given back
            if self.lease is not None:
                stack.callback(self.lease.close)
            stack.callback(self.file.close)
            stack.callback(self.supply.close)


class Dropped:
    """What files held that nobody refers to any more.

    The collector finds them in the middle of whatever a thread is doing, maybe under the locks that giving back would
    take, or half way through a message to the fetcher: so it only puts them here, and who opens a file next, or begins
    a pass, gives them back.
    """

    def __init__(self) -> None:
        self._held: deque[Held] = deque()

    def add(self, held: Held) -> None:
        """Takes no lock: safe in a finalizer."""
        self._held.append(held)

    def close(self) -> None:
        """Give back what is here."""
        while True:
            try:
                held = self._held.popleft()
            except IndexError:
                return
            held.close()


class ShardFile:
    """Random access to a cached file; its `supply` makes missing leaves appear."""

    def __init__(
        self,
        ref: FileRef,
        lease: Lease | None,
        file: CachedFile,
        supply: Supply,
        meter: Meter | None = None,
        pages: Pages | None = None,
        dropped: Dropped | None = None,
    ) -> None:
        self.ref, self.layout = ref, ref.layout
        self._file, self._supply = file, supply
        self._held, self._dropped = Held(supply, file, lease), dropped
        self._meter, self._pages = meter or Meter(), pages or Pages(())
        self._touched = bytearray(self.layout.size // REGION + 1)  # regions, since they were last let go
        self._met = bytearray(self.layout.leaves)  # leaves that somebody has needed since it was opened
        self._whole: memoryview | None = None  # all of it, when it was here whole at the last look
        self._closed = False
        self._look()

    def _look(self) -> None:
        self._whole = self._file.view(0, self.layout.size) if self._file.complete else None

    @property
    def whole(self) -> bool:
        """Whether nothing of it has to be asked for."""
        return self._whole is not None

    def prefetch(self, start: int, end: int, urgency: float) -> int:
        """Ask for the bytes [start, end) without waiting; returns how many bytes had to be asked for."""
        if self._whole is not None:
            return 0
        return self.prefetch_leaves(self.layout.leaves_of(start, end), urgency)

    def prefetch_leaves(self, leaves: Sequence[int], urgency: float) -> int:
        """See `prefetch`; the leaves by number."""
        if self._whole is not None:
            return 0
        missing = [leaf for leaf in leaves if not self._file.has(leaf)]
        self._count(leaves, missing)
        if not missing:
            return 0
        return sum(self.layout.leaf_length(leaf) for leaf in self._supply.ask(missing, urgency))

    def map(self, leaves: Sequence[int]) -> memoryview | None:
        """The whole file, of which only these leaves may be looked at. Waits for them, and raises, as `read` does.

        None where one of them is not in the file: the disk is full.
        """
        if len(leaves):
            self._touch(self.layout.leaf_range(leaves[0])[0], self.layout.leaf_range(leaves[-1])[1])
        if self._whole is not None:
            self._count(leaves, ())
            return self._whole
        self._wait(leaves)
        return self._file.map()

    def holds(self, start: int, end: int) -> bool:
        """Whether the bytes [start, end) are here, so that `read` would not wait."""
        return all(self._file.has(leaf) for leaf in self.layout.leaves_of(start, end))

    def _count(self, leaves: Sequence[int], missing: Sequence[int]) -> None:
        for leaf in leaves:
            if not self._met[leaf]:
                self._met[leaf] = 1
                if leaf in missing:
                    self._meter.missed_bytes += self.layout.leaf_length(leaf)
                else:
                    self._meter.cached_bytes += self.layout.leaf_length(leaf)

    def _needed(self, start: int, end: int) -> None:
        """Count what is needed of a file that is whole."""
        size = self.layout.leaf_size
        if start < end and not (self._met[start // size] and self._met[(end - 1) // size]):
            self._count(self.layout.leaves_of(start, end), ())

    def read(self, start: int, end: int) -> memoryview:
        """The verified bytes [start, end). Waits; raises what `FetchEngine.wait` raises."""
        if start < end:
            self._touch(start, end)
        if self._whole is not None:
            self._needed(start, end)
            return self._whole[start:end]
        leaves = self.layout.leaves_of(start, end)
        while True:
            self._wait(leaves)
            if (view := self._file.view(start, end)) is not None:
                return view

    def copy(self, start: int, end: int) -> bytes:
        """As `read`, but copied, and no page of the map is touched: these count as memory of this process."""
        return self._once_here(start, end, lambda: self._file.copy(start, end))

    def fill(self, start: int, *outs: memoryview) -> None:
        """As `copy`, from `start` on, into `outs`, one after the other."""
        end = start + sum(map(len, outs))
        self._once_here(start, end, lambda: self._file.fill(start, *outs) or None)

    def _once_here(self, start: int, end: int, take: Callable[[], T | None]) -> T:
        """What `take` gives of the bytes [start, end). It gives None where a leaf of them is gone again: then they are
        waited for once more.
        """
        if self._whole is not None:
            self._needed(start, end)
        leaves = self.layout.leaves_of(start, end)
        while True:
            if self._whole is None:
                self._wait(leaves)
            if (found := take()) is not None:
                return found

    def _wait(self, leaves: Sequence[int]) -> None:
        before, futile = len(leaves) + 1, 0
        while missing := [leaf for leaf in leaves if not self._file.has(leaf)]:
            futile = 0 if len(missing) < before else futile + 1
            if futile > _FUTILE:
                raise UnavailableError(
                    f"leaf {missing[0]} of {self.ref.path or self.layout.cid} was fetched {_FUTILE} times, and is not "
                    "in the cache",
                    hint="was the cache folder replaced or cleared meanwhile? close the dataset, and open it again",
                )
            before = len(missing)
            self._count(leaves, missing)
            with self._meter.stall():
                self._supply.bring(missing)

    def _touch(self, start: int, end: int) -> None:
        for region in range(start // REGION, (end - 1) // REGION + 1):
            if not self._touched[region]:
                self._pages.touched()  # which may let go of this file too
                self._touched[region] = 1

    def let_go(self) -> None:
        """See `Mapped`."""
        self._file.let_go()
        self._touched = bytearray(len(self._touched))

    def recheck(self) -> None:
        """Doubt the file if somebody changed it since it was complete."""
        if not self._closed:
            self._file.recheck()
            self._look()

    def close(self) -> None:
        """Forget the file: what is still wanted of it is dropped. Idempotent."""
        if not self._closed:
            self._closed, self._whole = True, None
            self._held.close()

    def __del__(self) -> None:
        # readers of up to 256 shards are kept; one that is dropped gives its lease back when the next is opened
        if hasattr(self, "_closed") and not self._closed:
            if self._dropped is None:
                self.close()
            else:
                self._dropped.add(self._held)
