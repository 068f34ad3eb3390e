"""`Catalog`: what a repository knows in SQLite: files, pins, names. Small rows; leaves are in `leaf_index`."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..cid import CID
from ..errors import StoreError
from .hashing import HashedFile
from .stamp import Stamp

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    id INTEGER PRIMARY KEY,
    path BLOB NOT NULL UNIQUE,       -- as the file system spells it
    owned INTEGER NOT NULL,          -- 1: in the repository's own folder, 0: the user's
    cid BLOB NOT NULL,               -- of the whole file; of the first root for a CAR
    leaf_size INTEGER NOT NULL,      -- 0: a CAR, whose blocks have sizes of their own
    size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL, inode INTEGER NOT NULL,
    hashed_at_ns INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS files_cid ON files (cid);
CREATE TABLE IF NOT EXISTS names (name TEXT PRIMARY KEY, root BLOB NOT NULL, published_ns INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS pins (
    requestid TEXT PRIMARY KEY, root BLOB NOT NULL, name TEXT NOT NULL, status TEXT NOT NULL,
    created_us INTEGER NOT NULL UNIQUE,  -- the Pinning Service API pages by it
    origins TEXT NOT NULL, meta TEXT NOT NULL, info TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS pins_root ON pins (root);
"""


@dataclass(frozen=True, slots=True)
class FileRow:
    """A file that the store refers to, with its stamp of the last hashing."""

    id: int
    path: Path
    owned: bool
    cid: CID
    leaf_size: int
    stamp: Stamp
    hashed_at_ns: int

    def trusted(self, now: Stamp) -> bool:
        """Whether the file is surely the one that was hashed. Nobody else writes into our own folder."""
        return now == self.stamp and (self.owned or self.stamp.settled(self.hashed_at_ns))


class Catalog:
    """The database of one repository. Safe from any thread; every write is one transaction."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None

    def open(self) -> Catalog:
        """Open or create. Raises `StoreError`."""
        try:
            connection = sqlite3.connect(self.path, check_same_thread=False, timeout=30, isolation_level=None)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise StoreError(f"{self.path} cannot be opened: {error}", hint="choose another --repo") from error
        self._connection = connection
        return self

    def close(self) -> None:
        """Close the database. Idempotent."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One atomic write. sqlite3's errors become `StoreError`."""
        with self._lock:
            if self._connection is None:
                raise RuntimeError(f"{self.path.name} is not open")
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection
                    self._connection.execute("COMMIT")
                except BaseException:
                    if self._connection.in_transaction:  # a COMMIT that fails (disk full) may leave it open
                        self._connection.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise StoreError(f"{self.path}: {error}", hint="is the disk full or read-only?") from error

    def rows(self, query: str, parameters: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        """All rows of a reading query."""
        with self._lock:
            if self._connection is None:
                raise RuntimeError(f"{self.path.name} is not open")
            try:
                return self._connection.execute(query, parameters).fetchall()
            except sqlite3.Error as error:
                raise StoreError(f"{self.path}: {error}") from error

    def add_file(self, file: HashedFile, cid: CID, *, owned: bool, leaf_size: int) -> int:
        """Record a hashed file, or the new stamp of one that is known; returns its id."""
        return self.add_files([(file, cid, leaf_size)], owned=owned)[0]

    def add_files(self, files: Iterable[tuple[HashedFile, CID, int]], *, owned: bool) -> list[int]:
        """`add_file` of each file, CID and leaf size in one transaction: a sync for all, not for each."""
        ids: list[int] = []
        with self.transaction() as connection:
            for file, cid, leaf_size in files:
                stamp = file.stamp
                values = (
                    os.fsencode(file.path.absolute()), int(owned), bytes(cid), leaf_size,
                    stamp.size, stamp.mtime_ns, stamp.ctime_ns, stamp.inode, file.hashed_at_ns,
                )  # fmt: skip
                row = connection.execute(
                    "INSERT INTO files (path, owned, cid, leaf_size, size, mtime_ns, ctime_ns, inode, hashed_at_ns)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (path) DO UPDATE SET owned = excluded.owned,"
                    " cid = excluded.cid, leaf_size = excluded.leaf_size, size = excluded.size,"
                    " mtime_ns = excluded.mtime_ns, ctime_ns = excluded.ctime_ns, inode = excluded.inode,"
                    " hashed_at_ns = excluded.hashed_at_ns RETURNING id",
                    values,
                ).fetchone()
                ids.append(int(row[0]))
        return ids

    def file(self, file_id: int) -> FileRow | None:
        """The file with this id."""
        rows = self._files("id = ?", file_id)
        return rows[0] if rows else None

    def files_of(self, cid: CID) -> list[FileRow]:
        """Every file whose whole content is `cid`."""
        return self._files("leaf_size > 0 AND cid = ?", bytes(cid.v1()))

    def file_at(self, path: Path) -> FileRow | None:
        """The file at this path."""
        rows = self._files("path = ?", os.fsencode(path.absolute()))
        return rows[0] if rows else None

    def _files(self, where: str, value: object) -> list[FileRow]:
        columns = "id, path, owned, cid, leaf_size, size, mtime_ns, ctime_ns, inode, hashed_at_ns"
        rows: list[tuple[object, ...]] = self.rows(f"SELECT {columns} FROM files WHERE {where}", (value,))  # noqa: S608
        return [_file_row(row) for row in rows]

    def set_name(self, name: str, root: CID, published_ns: int) -> None:
        """Point a name of this repository at a root."""
        with self.transaction() as connection:
            connection.execute(
                "INSERT INTO names VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET"
                " root = excluded.root, published_ns = excluded.published_ns",
                (name, bytes(root), published_ns),
            )

    def names(self) -> dict[str, CID]:
        """Every name and its root."""
        found = {}
        for name, root in self.rows("SELECT name, root FROM names"):
            assert isinstance(root, bytes)
            found[str(name)] = CID.from_bytes(root)
        return found


def _file_row(row: tuple[object, ...]) -> FileRow:
    file_id, path, owned, cid, leaf_size, size, mtime_ns, ctime_ns, inode, hashed_at_ns = row
    assert isinstance(path, bytes)
    assert isinstance(cid, bytes)
    numbers = [int(str(value)) for value in (file_id, leaf_size, size, mtime_ns, ctime_ns, inode, hashed_at_ns)]
    stamp = Stamp(*numbers[2:6])
    return FileRow(numbers[0], Path(os.fsdecode(path)), bool(owned), CID.from_bytes(cid), numbers[1], stamp, numbers[6])
