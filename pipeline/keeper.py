"""`Keeper`: how a publish brings files into the repository, and leaves nothing behind when it fails.

The user's files are referred to where they lie. Files that the repository owns are written by us: a copy of one that
it has already is removed again, and so is all that was not adopted when the publish ends early.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..storage.blocks.block import Block
from ..storage.blocks.disk import DiskStore, reader
from ..storage.blocks.hashing import HashedFile, hash_file
from ..storage.blocks.stamp import Stamp
from ..storage.blocks.verified_file import disk_error
from ..storage.cid import CID
from ..storage.dag.build import Entry, build_file
from ..storage.dag.layout import FileLayout
from ..storage.dag.walk import file_layout, raw_layout, run
from ..storage.errors import HoldfastError

_BATCH_LEAVES = 1 << 20  # of one index segment: 32 MiB of digests held in memory

_Adoption = tuple[HashedFile, FileLayout, list[Block]]


@dataclass(frozen=True, slots=True)
class Kept:
    """A file of the dataset: its link, its CID and size, and whether the repository did not know it before."""

    entry: Entry
    cid: CID
    size: int
    new: bool


@dataclass(frozen=True, slots=True)
class Known:
    """A file of the user's that was hashed before: the stamp that proves it, and where its leaves lie."""

    stamp: Stamp
    layout: FileLayout


class Keeper:
    """Adopts files in batches; `close` removes what was written and not adopted."""

    def __init__(self, store: DiskStore, leaf_size: int) -> None:
        self._store, self._leaf_size = store, leaf_size
        self._written: set[Path] = set()
        self._batches: dict[bool, list[_Adoption]] = {True: [], False: []}
        self._waiting: set[CID] = set()  # owned files in the batch
        self._leaves = 0
        self._met: set[CID] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> Keeper:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove files of ours that were not adopted. Idempotent."""
        for path in self._written:
            with suppress(OSError):
                path.unlink(missing_ok=True)
        self._written.clear()

    def new_file(self, suffix: str) -> Path:
        """A path for a file that the repository will own."""
        path = self._store.new_file(suffix)
        with self._lock:
            self._written.add(path)
        return path

    def known(self, path: Path, leaf_size: int) -> Known | None:
        """What is known of the user's file from its last hashing, if its stamp proves that it is the same."""
        row = self._store.catalog.file_at(path)
        try:
            if row is None or row.owned or row.leaf_size > leaf_size or not row.trusted(_stamp(path)):
                return None
            if row.stamp.size <= leaf_size:
                return Known(row.stamp, raw_layout(row.cid, row.stamp.size))
            layout = run(file_layout(row.cid), reader(self._store))
        except (HoldfastError, OSError):
            return None
        return Known(row.stamp, layout) if layout.leaf_size == leaf_size else None

    def keep_known(self, layout: FileLayout) -> Kept:
        """Link to a file that `known` found."""
        self._met.add(layout.cid)
        _, entry, _ = build_file(layout.size, self._leaf_size, layout.digests)
        return Kept(entry, layout.cid, layout.size, new=False)

    def keep(self, file: HashedFile, *, owned: bool) -> Kept:
        """Refer to a hashed file. One that is `owned` came from `new_file`, and goes if the repository has it."""
        layout, entry, nodes = build_file(file.stamp.size, file.leaf_size, file.digests)
        rows = self._store.catalog.files_of(layout.cid)
        kept = Kept(entry, layout.cid, layout.size, new=not rows and layout.cid not in self._met)
        self._met.add(layout.cid)
        if owned and (layout.cid in self._waiting or self._owns(layout.cid)):
            file.path.unlink(missing_ok=True)
            self._written.discard(file.path)
            return kept
        if owned:
            self._waiting.add(layout.cid)
        batch = self._batches[owned]
        batch.append((file, layout, nodes))
        self._leaves += layout.leaves
        if self._leaves >= _BATCH_LEAVES:
            self.flush()
        return kept

    def keep_bytes(self, data: bytes, suffix: str) -> Kept:
        """Keep a small file that we made, in a file of its own."""
        path = self.new_file(suffix)
        write_owned(path, data)
        return self.keep(hash_file(path, self._leaf_size, workers=1), owned=True)

    def flush(self) -> None:
        """Make everything kept so far readable from the store."""
        for owned, batch in self._batches.items():
            if batch:
                self._store.adopt_all(batch, owned=owned)
                self._written.difference_update(file.path for file, _, _ in batch)
                batch.clear()
        self._waiting.clear()
        self._leaves = 0

    def _owns(self, cid: CID) -> bool:
        for row in self._store.catalog.files_of(cid):
            with suppress(OSError):
                if row.owned and row.trusted(_stamp(row.path)):
                    return True
        return False


def write_owned(path: Path, data: bytes) -> None:
    """Write a new file of ours, durably. Raises `StoreError` or `DiskFullError`."""
    try:
        with path.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise disk_error(error, path) from error


def _stamp(path: Path) -> Stamp:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return Stamp.of(fd)
    finally:
        os.close(fd)
