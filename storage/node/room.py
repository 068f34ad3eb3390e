"""`Room`: the files of a repository that pins fill, shared by the downloads of one peer.

    files/<cid>.part, <cid>.part.marks    while it is fetched; a restart goes on from there (and hashes again)
    files/<cid>                           complete; in the catalogue a moment later

Files enter the catalogue in batches: one leaf index segment for many small files. A file that a crash left between
the two is found by its marks, hashed again and taken.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from ..blocks.atomic import sync_folder
from ..blocks.disk import DiskStore
from ..blocks.hashing import HashedFile
from ..blocks.stamp import Stamp
from ..blocks.verified_file import disk_error
from ..cid import CID
from ..dag.layout import FileLayout
from .budget import Budget

_BATCH_FILES, _BATCH_BYTES, _BATCH_S = 256, 256 << 20, 2.0


@dataclass(frozen=True, slots=True)
class _Complete:
    file: HashedFile
    layout: FileLayout
    marks: Path


class Room:
    """Who fills what. Safe from any thread; everything that renames happens under one lock."""

    def __init__(self, store: DiskStore, budget: Budget) -> None:
        self.store, self.budget = store, budget
        self.lineage = secrets.randbits(63)
        self._filling: set[Path] = set()
        self._complete: dict[CID, _Complete] = {}
        self._relied: set[int] = set()  # files that were here already
        self._bytes, self._flushed_at = 0, time.monotonic()
        self._lock = threading.RLock()

    def clean(self) -> None:
        """Remove what a killed peer left of files that it filled twice."""
        for path in self.store.files_folder.glob("*.*.part"):
            _drop(path)

    def has(self, layout: FileLayout) -> bool:
        """Whether this file is here, by its stamp. Index entries that a crash lost are made again."""
        with self._lock:
            if layout.cid in self._complete:
                return True
            file = self.store.open_file(layout.cid)
            if file is None:
                return False
            row = file.row
            file.close()
            self._relied.add(row.id)
            if not (self.store.has(layout.leaf_cid(0)) and self.store.has(layout.leaf_cid(layout.leaves - 1))):
                known = HashedFile(row.path, row.stamp, row.hashed_at_ns, layout.leaf_size, layout.digests)
                self.store.adopt(known, layout, (), owned=row.owned)
            return True

    def enter(self, layout: FileLayout, what: str) -> Path:
        """A partial file that nobody else fills. Raises `QuotaError`. Give it to `keep` or `leave`."""
        final = self.store.files_folder / str(layout.cid)
        partial = final.with_name(f"{final.name}.part")
        with self._lock:
            if partial in self._filling or self.has(layout):  # filled twice, and one dropped at the end: rare
                partial = final.with_name(f"{final.name}.{secrets.token_hex(4)}.part")
            self.budget.reserve(partial, layout.size, what)
            self._filling.add(partial)
            try:
                with self.store.sweep.shared():  # no gc takes what we go on with
                    if final.exists() and not self.has(layout):  # after a crash, or no longer what it was
                        final.replace(partial)
                    partial.touch()
            except OSError as error:
                self.leave(partial)
                raise disk_error(error, final) from error
        return partial

    def keep(self, partial: Path, layout: FileLayout) -> None:
        """The partial file holds every leaf, synced and closed: it becomes the file."""
        final = self.store.files_folder / str(layout.cid)
        with self._lock:
            double = self.has(layout)
            try:
                if double:
                    _drop(partial)
                else:
                    partial.replace(final)
                    complete = HashedFile(final, _stamp(final), time.time_ns(), layout.leaf_size, layout.digests)
                    self._complete[layout.cid] = _Complete(complete, layout, marks_of(partial))
                    self._bytes += layout.size
            except OSError as error:
                raise disk_error(error, final) from error
            finally:
                self._filling.discard(partial)
                self.budget.release(partial, kept=not double)
            late = time.monotonic() - self._flushed_at > _BATCH_S
            if late or len(self._complete) >= _BATCH_FILES or self._bytes >= _BATCH_BYTES:
                self.flush()

    def leave(self, partial: Path) -> None:
        """Nobody fills it any more. It stays, for the next try."""
        with self._lock:
            self._filling.discard(partial)
            self.budget.release(partial, kept=False)

    def drop(self, partial: Path) -> None:
        """As `leave`, but it is deleted."""
        with self._lock:
            self.leave(partial)
            _drop(partial)

    def flush(self) -> None:
        """Take what is complete into the catalogue."""
        with self._lock:
            self.store.catalog.keep_files(self._relied)  # what a gc took before will be missed at the end
            self._relied.clear()
            done = list(self._complete.values())
            if done:
                sync_folder(self.store.files_folder)
                self.store.adopt_all([(item.file, item.layout, ()) for item in done], owned=True)
                for item in done:
                    item.marks.unlink(missing_ok=True)
            self._complete.clear()
            self._bytes, self._flushed_at = 0, time.monotonic()


def marks_of(partial: Path) -> Path:
    """The file of marks beside a partial file."""
    return partial.with_name(f"{partial.name}.marks")


def _stamp(path: Path) -> Stamp:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return Stamp.of(fd)  # after the renaming, which changes it
    finally:
        os.close(fd)


def _drop(partial: Path) -> None:
    partial.unlink(missing_ok=True)
    marks_of(partial).unlink(missing_ok=True)
