"""`Keeper`: how a publish brings files into the repository, and leaves nothing behind when it fails.

The user's files are referred to where they lie. Files that the repository owns are written by us: a copy of one that
it has already is removed again, and so is all that was not adopted when the publish ends early.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..storage.blocks.block import Block
from ..storage.blocks.catalog import FileRow
from ..storage.blocks.disk import DiskStore, reader
from ..storage.blocks.hashing import HashedFile, hash_file
from ..storage.blocks.stamp import Stamp
from ..storage.blocks.verified_file import disk_error
from ..storage.cid import CID
from ..storage.dag.build import Entry, build_file
from ..storage.dag.layout import FileLayout
from ..storage.dag.walk import file_layout, raw_layout, run
from ..storage.errors import HoldfastError
from ..storage.limits import DEFAULT_LEAF_BYTES

_BATCH_LEAVES = 1 << 20  # of one index segment: 32 MiB of digests held in memory
_BATCH_S = 2.0  # what a kill loses, of files that were hashed already

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
    """A file that was hashed before: its row in the catalogue, whose stamp proves it, and where its leaves lie."""

    row: FileRow
    layout: FileLayout

    @property
    def stamp(self) -> Stamp:
        """The file as it was hashed."""
        return self.row.stamp


class Keeper:
    """Adopts files in batches, a batch every two seconds or so; `close` removes what was written and not adopted.

    What is found here and relied on is stamped with each batch; if a `gc` took it just before, it is adopted anew.
    """

    def __init__(self, store: DiskStore, leaf_size: int) -> None:
        self._store, self._leaf_size = store, leaf_size
        self._written: set[Path] = set()
        self._batches: dict[bool, list[_Adoption]] = {True: [], False: []}
        self._waiting: set[CID] = set()  # owned files in the batch
        self._relied: dict[int, Known] = {}
        self._doubles: list[tuple[int, _Adoption]] = []  # files of ours that the repository has under this id
        self._notes: list[tuple[Path | int, bytes]] = []
        self._leaves, self._flushed_at = 0, time.monotonic()
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
        return None if row is None or row.owned else self._known(row, leaf_size)

    def noted(self, key: bytes) -> Known | None:
        """The file of ours that was kept with this key as its note, if it is still what it was."""
        for (file,) in self._store.catalog.rows("SELECT file FROM packed WHERE key = ?", (key,)):
            self._store.catalog.keep_files([int(str(file))])  # now: what a gc takes of ours is gone
            row = self._store.catalog.file(int(str(file)))
            known = self._known(row, self._leaf_size) if row is not None else None
            if known is not None:
                return known
        return None

    def _known(self, row: FileRow, leaf_size: int) -> Known | None:
        try:
            if row.leaf_size > leaf_size or not row.trusted(_stamp(row.path)):
                return None
            if row.stamp.size <= leaf_size:
                return Known(row, raw_layout(row.cid, row.stamp.size))
            layout = run(file_layout(row.cid), reader(self._store))
        except (HoldfastError, OSError):
            return None
        return Known(row, layout) if layout.leaf_size == leaf_size else None

    def keep_known(self, known: Known) -> Kept:
        """Link to a file that `known` or `noted` found."""
        layout = known.layout
        self._met.add(layout.cid)
        self._relied[known.row.id] = known
        _, entry, _ = build_file(layout.size, self._leaf_size, layout.digests)
        self._flush_in_time()
        return Kept(entry, layout.cid, layout.size, new=False)

    def keep(self, file: HashedFile, *, owned: bool, note: bytes | None = None) -> Kept:
        """Refer to a hashed file. One that is `owned` came from `new_file`, and goes if the repository has it.

        `note`: a key by which `noted` finds it.
        """
        layout, entry, nodes = build_file(file.stamp.size, file.leaf_size, file.digests)
        rows = self._store.catalog.files_of(layout.cid)
        kept = Kept(entry, layout.cid, layout.size, new=not rows and layout.cid not in self._met)
        self._met.add(layout.cid)
        if owned and layout.cid in self._waiting:
            file.path.unlink(missing_ok=True)
            self._written.discard(file.path)
            return kept
        if owned and (row_id := self._owned(rows)) is not None:
            self._doubles.append((row_id, (file, layout, nodes)))
            if note:
                self._notes.append((row_id, note))
        else:
            self._batches[owned].append((file, layout, nodes))
            self._leaves += layout.leaves
            if owned:
                self._waiting.add(layout.cid)
            if note:
                self._notes.append((file.path, note))
        self._flush_in_time()
        return kept

    def keep_bytes(self, data: bytes, suffix: str) -> Kept:
        """Keep a small file that we made, in a file of its own.

        Its leaves are of 1 MiB whatever those of the shards are: it is read whole, and a manifest page of one leaf
        needs no node, which would be a round trip more before the first sample.
        """
        path = self.new_file(suffix)
        write_owned(path, data)
        return self.keep(hash_file(path, DEFAULT_LEAF_BYTES, workers=1), owned=True)

    def _flush_in_time(self) -> None:
        if self._leaves >= _BATCH_LEAVES or time.monotonic() - self._flushed_at > _BATCH_S:
            self.flush()

    def flush(self) -> None:
        """Make everything kept so far readable from the store, for good."""
        relied = [*self._relied, *(row_id for row_id, _ in self._doubles)]
        here = self._store.catalog.keep_files(relied) if relied else set()
        for row_id, known in self._relied.items():
            again = _again(known)
            if row_id in here:
                self._keep_nodes(again)
            else:
                self._batches[known.row.owned].append(again)
        superfluous: list[Path] = []
        for row_id, adoption in self._doubles:
            if row_id in here:
                self._keep_nodes(adoption)
                superfluous.append(adoption[0].path)
            else:
                self._batches[True].append(adoption)
        for owned, batch in self._batches.items():
            if batch:
                self._store.adopt_all(batch, owned=owned)
                self._written.difference_update(file.path for file, _, _ in batch)
                batch.clear()
        for path in superfluous:
            path.unlink(missing_ok=True)
            self._written.discard(path)
        self._write_notes()
        self._waiting.clear()
        self._relied.clear()
        self._doubles.clear()
        self._leaves, self._flushed_at = 0, time.monotonic()

    def _keep_nodes(self, adoption: _Adoption) -> None:
        for node in adoption[2]:
            self._store.put(node.cid, node.data)

    def _write_notes(self) -> None:
        if not self._notes:
            return
        with self._store.catalog.transaction() as connection:
            for where, key in self._notes:
                column, value = (
                    ("id", where) if isinstance(where, int) else ("path", self._store.catalog.spelled(where))
                )
                connection.execute(
                    f"INSERT OR REPLACE INTO packed SELECT ?, id, '' FROM files WHERE {column} = ?",  # noqa: S608
                    (key, value),
                )
        self._notes.clear()

    def _owned(self, rows: list[FileRow]) -> int | None:
        for row in rows:
            with suppress(OSError):
                if row.owned and row.trusted(_stamp(row.path)):
                    return row.id
        return None


def _again(known: Known) -> _Adoption:
    layout, row = known.layout, known.row
    _, _, nodes = build_file(layout.size, row.leaf_size, layout.digests)
    return HashedFile(row.path, row.stamp, row.hashed_at_ns, layout.leaf_size, layout.digests), layout, nodes


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
