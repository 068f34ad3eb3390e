"""`Shelf`: the engines of a fetcher, and the cache files that they fill; shared by its clients."""

from __future__ import annotations

import threading
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

_SPARE_BYTES = 64 << 20  # of leaves that a full disk did not take, once they were read
_UNBOUNDED = 1 << 62  # clients make room before they open a file; the fetcher opens what is there


@dataclass(slots=True)
class Desk:
    """An engine, and how many clients it has."""

    engine: FetchEngine
    clients: int = 0
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
        self._spare = SpareMemory(folder, _SPARE_BYTES)
        self._desks: dict[Terms, Desk] = {}
        self._lock = threading.Lock()

    def desk(self, terms: Terms) -> Desk:
        """The engine for these terms; give it back by `leave`. Raises `ConfigError`."""
        with self._lock:
            desk = self._desks.get(terms)
            if desk is None:
                engine = FetchEngine(terms.sources(), policy=terms.policy, evidence=Evidence(self._cache.evidence))
                desk = self._desks[terms] = Desk(engine.start())
            desk.clients += 1
            return desk

    def leave(self, terms: Terms) -> None:
        """A client is gone. An engine without clients stays for the next one: it knows its sources."""
        with self._lock:
            self._desks[terms].clients -= 1

    def open(self, desk: Desk, ref: FileRef, lineage: int, *, distrust: bool) -> OpenFile:
        """A file, open and leased. Give it back by `close`. Raises `StoreError`."""
        key = (ref.layout, ref.path, lineage)
        with self._lock:
            found = desk.files.get(key)
            if found is None:
                lease = None
                try:
                    lease = self._cache.open(ref.layout, lineage, distrust=distrust)
                except DiskFullError:
                    self._spare.disk_was_full()
                file = CachedFile(ref.layout, lease.file if lease else None, self._spare)
                found = desk.files[key] = OpenFile(lease, file, OwnSupply(ref, file, desk.engine))
            found.clients += 1
            return found

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
        """End the engines."""
        with self._lock:
            desks, self._desks = list(self._desks.values()), {}
        for desk in desks:
            desk.engine.close()
            for file in desk.files.values():
                file.close()
