"""`Shelf`: the engines of a fetcher, and the cache files that they fill; shared by its clients."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from ...storage.dag.layout import FileLayout
from ...storage.errors import DiskFullError
from ...storage.fetch.engine import FetchEngine
from ...storage.fetch.evidence import Evidence
from ...storage.sources.source import FileRef
from ..cache import Lease, ShardCache
from ..spare import CachedFile, SpareMemory
from ..supply import OwnSupply
from .terms import Terms
from .wire import HungUpError

_SPARE_BYTES = 64 << 20  # of leaves that a full disk did not take, once they were read
_UNREAD_BYTES = 256 << 20  # and before: of all clients, where one alone may ask for 64 MiB ahead
_UNBOUNDED = 1 << 62  # clients make room before they open a file; the fetcher opens what is there


@dataclass(slots=True, eq=False)
class Desk:
    """An engine, and how many clients it has. `retired`: it is broken, and takes no more of them."""

    terms: Terms
    engine: FetchEngine
    clients: int = 0
    idle_since: float = 0.0
    retired: bool = False
    files: dict[tuple[FileLayout, str, int], OpenFile] = field(default_factory=dict)


@dataclass(slots=True)
class OpenFile:
    """A file that is being filled, for so many clients."""

    lease: Lease | None
    file: CachedFile
    supply: OwnSupply
    clients: int = 0

    def close(self) -> None:
        """Stop filling it."""
        self.supply.close()
        self.file.close()
        if self.lease is not None:
            self.lease.close()


class Shelf:
    """Safe from any thread."""

    def __init__(self, folder: Path, lineage: int) -> None:
        self.lineage = lineage
        self._cache = ShardCache(folder, _UNBOUNDED)
        self._spare = SpareMemory(folder, _SPARE_BYTES, max_unread_bytes=_UNREAD_BYTES)
        self._desks: dict[Terms, Desk] = {}
        self._retired: set[Desk] = set()
        self._lock = threading.Lock()
        self.closed = False

    @property
    def crowded(self) -> bool:
        """See `SpareMemory.crowded`."""
        return self._spare.crowded

    def _check(self) -> None:
        if self.closed:
            raise HungUpError("the fetcher ends")

    def desk(self, terms: Terms) -> Desk:
        """The engine for these terms; give it back by `leave`. Raises `ConfigError`, `HungUpError` at the end."""
        with self._lock:
            self._check()
            desk = self._desks.get(terms)
            if desk is None:
                engine = FetchEngine(terms.sources(), policy=terms.policy, evidence=Evidence(self._cache.evidence))
                desk = self._desks[terms] = Desk(terms, engine.start())
            desk.clients += 1
            return desk

    def leave(self, desk: Desk) -> None:
        """A client is gone. An engine without clients stays a while for the next one: it knows its sources."""
        with self._lock:
            desk.clients -= 1
            desk.idle_since = time.monotonic()
            ends = desk.retired and not desk.clients
            if ends:
                self._retired.discard(desk)
        if ends:
            desk.engine.close()

    def retire(self, desk: Desk) -> None:
        """An engine is broken: its clients get another one when they come again."""
        with self._lock:
            if self._desks.get(desk.terms) is desk:
                del self._desks[desk.terms]
                desk.retired = True
                self._retired.add(desk)

    def sweep(self, idle_s: float) -> None:
        """Close the engines that nobody has used for so long."""
        now = time.monotonic()
        with self._lock:
            idle = [desk for desk in self._desks.values() if not desk.clients and now - desk.idle_since > idle_s]
            for desk in idle:
                del self._desks[desk.terms]
        for desk in idle:  # up to five seconds, in which others must be able to come
            threading.Thread(target=desk.engine.close, name="holdfast-sweep", daemon=True).start()

    def open(self, desk: Desk, ref: FileRef, lineage: int, *, distrust: bool) -> OpenFile:
        """A file, open and leased. Give it back by `close`. Raises `StoreError`, `HungUpError` at the end."""
        key = (ref.layout, ref.path, lineage)
        with self._lock:
            self._check()
            found = desk.files.get(key)
            if found is not None:
                found.clients += 1
                return found
        made = self._make(desk, ref, lineage, distrust=distrust)  # may wait for locks
        with self._lock:
            found = None if self.closed else desk.files.setdefault(key, made)
            if found is not None:
                found.clients += 1
        if found is not made:  # another client was faster, or the fetcher ends
            made.close()
        if found is None:
            raise HungUpError("the fetcher ends")
        return found

    def _make(self, desk: Desk, ref: FileRef, lineage: int, *, distrust: bool) -> OpenFile:
        lease = None
        try:
            lease = self._cache.open(ref.layout, lineage, distrust=distrust)
        except DiskFullError:
            self._spare.disk_was_full()
        file = CachedFile(ref.layout, lease.file if lease else None, self._spare)
        return OpenFile(lease, file, OwnSupply(ref, file, desk.engine))

    def close(self, desk: Desk, file: OpenFile) -> None:
        """A client needs this file no more."""
        with self._lock:
            file.clients -= 1
            if file.clients:
                return
            for key, held in list(desk.files.items()):
                if held is file:
                    del desk.files[key]
        file.close()

    def close_all(self) -> None:
        """End the engines. Sessions that still run, or only start, see that they have to hang up."""
        with self._lock:
            self.closed = True
            desks = [*self._desks.values(), *self._retired]
            self._desks.clear()
            self._retired.clear()
        for desk in desks:
            desk.engine.close()
            with self._lock:
                files = list(desk.files.values())
                desk.files.clear()
            for file in files:
                file.close()
