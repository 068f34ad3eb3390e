"""`Catalog`: what a repository knows in SQLite: files, pins, names. Small rows; leaves are in `leaf_index`.

Each row has an echo, so that `check` sees flipped bits: see `echoes`. A table that comes into the schema gets them.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..cid import CID
from ..errors import FormatError, StoreError
from . import echoes
from .catalog_schema import SCHEMA
from .file_row import COLUMNS, FileRow, as_bytes, file_row
from .hashing import HashedFile

__all__ = ["SCHEMA", "Catalog", "FileRow"]

_HINT = (
    "is the disk full or read-only? A damaged one is to be restored from a backup, or begun anew with another --repo"
)


class Catalog:
    """The database of one repository. Safe from any thread; every write is one transaction."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._folder = path.parent.absolute()
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._ready = False

    def open(self) -> Catalog:
        """Open or create. Raises `StoreError`.

        A new one is made at once. One that is there is only read: what an older holdfast did not write comes with the
        first use, so that `look` can say before that whether it is fit to be written to.
        """
        connection: sqlite3.Connection | None = None
        try:
            connection = sqlite3.connect(self.path, check_same_thread=False, timeout=30, isolation_level=None)
            connection.execute("PRAGMA synchronous = FULL")
            there = echoes.described(connection.execute(echoes.LIST))
            (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
            self._ready = mode == "wal" and echoes.objects(SCHEMA) <= there
            if not there:
                self._make(connection)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            if connection is not None:
                connection.close()
            raise StoreError(f"{self.path} cannot be opened: {error}", hint=_HINT) from error
        self._connection = connection
        return self

    def _make(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        echoes.install(connection, SCHEMA)
        self._ready = True

    def _prepared(self) -> sqlite3.Connection:
        """The connection, for whoever needs all tables. The caller holds the lock."""
        if self._connection is None:
            raise RuntimeError(f"{self.path.name} is not open")
        if not self._ready:
            try:
                self._make(self._connection)
            except sqlite3.Error as error:
                raise StoreError(f"{self.path} cannot be opened: {error}", hint=_HINT) from error
        return self._connection

    def leave(self) -> None:
        """It is damaged: nothing is written to it but what somebody writes in a `transaction`."""
        self._ready = True

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
            connection = self._prepared()
            try:
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:  # a COMMIT that fails (disk full) may leave it open
                        connection.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise StoreError(f"{self.path}: {error}", hint="is the disk full or read-only?") from error

    def rows(self, query: str, parameters: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        """All rows of a reading query."""
        with self._lock:
            self._prepared()
            return self.look(query, parameters)

    def look(self, query: str, parameters: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        """`rows` of a catalogue as it is: an older one lacks tables, and is not given them."""
        with self._lock:
            if self._connection is None:
                raise RuntimeError(f"{self.path.name} is not open")
            try:
                return self._connection.execute(query, parameters).fetchall()
            except (sqlite3.Error, UnicodeDecodeError) as error:
                raise StoreError(f"{self.path}: {error}", hint="`holdfast repo verify` says what is damaged") from error

    def add_file(self, file: HashedFile, cid: CID, *, owned: bool, leaf_size: int, framing: bytes = b"") -> int:
        """Record a hashed file, or the new stamp of one that is known; returns its id."""
        return self.add_files([(file, cid, leaf_size)], owned=owned, framing=framing)[0]

    def add_files(
        self, files: Iterable[tuple[HashedFile, CID, int]], *, owned: bool, framing: bytes = b""
    ) -> list[int]:
        """`add_file` of each file, CID and leaf size in one transaction: a sync for all, not for each."""
        ids: list[int] = []
        with self.transaction() as connection:
            for file, cid, leaf_size in files:
                stamp = file.stamp
                values = (
                    self.spelled(file.path), int(owned), bytes(cid), leaf_size,
                    stamp.size, stamp.mtime_ns, stamp.ctime_ns, stamp.inode, file.hashed_at_ns, framing,
                    time.time_ns(),
                )  # fmt: skip
                # other content is another file: what the leaf index says of the old one goes with its id
                connection.execute(
                    "DELETE FROM files WHERE path = ? AND NOT (cid = ? AND leaf_size = ? AND size = ? AND framing = ?)",
                    (self.spelled(file.path), bytes(cid), leaf_size, stamp.size, framing),
                )
                row = connection.execute(
                    "INSERT INTO files (path, owned, cid, leaf_size, size, mtime_ns, ctime_ns, inode, hashed_at_ns,"
                    " framing, indexed, used_ns) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?)"
                    " ON CONFLICT (path) DO UPDATE SET owned = excluded.owned,"
                    " mtime_ns = excluded.mtime_ns, ctime_ns = excluded.ctime_ns, inode = excluded.inode,"
                    " hashed_at_ns = excluded.hashed_at_ns, used_ns = excluded.used_ns"
                    " RETURNING id",
                    values,
                ).fetchone()
                ids.append(int(row[0]))
                echoes.renew(connection, SCHEMA, "files", ids[-1])  # all of the row is what was hashed just now
        return ids

    def set_indexed(self, ids: Iterable[int]) -> None:
        """The leaves of these files are in the leaf index: from now on they are there."""
        with self.transaction() as connection:
            connection.executemany("UPDATE files SET indexed = 1 WHERE id = ?", [(file_id,) for file_id in ids])

    def doubt_leaves(self, ids: Iterable[int]) -> None:
        """The leaves of these files may be missing: whoever finds one right says that it is here again."""
        with self.transaction() as connection:
            connection.executemany("UPDATE files SET indexed = 0 WHERE id = ?", [(file_id,) for file_id in ids])

    def confirm(self, row: FileRow, file: HashedFile, *, owned: bool, framing: bytes, anew: bool) -> None:
        """A file was hashed just now, it and its leaves are what they were: it gets its stamp of now, and is here.

        `anew`: also what else is in the row, and its echo; one of the two is wrong. Nothing happens if the row has gone
        meanwhile, or is of other content.
        """
        stamp = file.stamp
        sets = "owned = ?, mtime_ns = ?, ctime_ns = ?, inode = ?, hashed_at_ns = ?, indexed = 1"
        values: list[object] = [int(owned), stamp.mtime_ns, stamp.ctime_ns, stamp.inode, file.hashed_at_ns]
        if anew:
            sets += ", size = ?, framing = ?, used_ns = ?"
            values += [stamp.size, framing, time.time_ns()]
        with self.transaction() as connection:
            done = connection.execute(
                f"UPDATE files SET {sets} WHERE id = ? AND cid = ? AND leaf_size = ?",  # noqa: S608 - our own columns
                (*values, row.id, bytes(row.cid), row.leaf_size),
            )
            if anew and done.rowcount:
                echoes.renew(connection, SCHEMA, "files", row.id)

    def not_indexed(self) -> set[int]:
        """Files whose leaves are not in the leaf index, as far as is known."""
        return {int(str(file_id)) for (file_id,) in self.rows("SELECT id FROM files WHERE NOT indexed")}

    def distrust(self, file_id: int) -> None:
        """Something of this file is not what was hashed: it is no longer served unhashed, and is to be had anew."""
        with self.transaction() as connection:
            connection.execute("UPDATE files SET indexed = 0, mtime_ns = 0 WHERE id = ?", (file_id,))

    def knows(self, path: Path) -> bool:
        """Whether a file at this path is in the catalogue, indexed or not."""
        return bool(self.rows("SELECT 1 FROM files WHERE path = ?", (self.spelled(path),)))

    def keep_files(self, ids: Iterable[int]) -> set[int]:
        """Stamp files as relied on (see `lease`), in one transaction; returns those that are still here."""
        kept: set[int] = set()
        with self.transaction() as connection:
            for file_id in ids:
                done = connection.execute("UPDATE files SET used_ns = ? WHERE id = ?", (time.time_ns(), file_id))
                if done.rowcount:
                    kept.add(file_id)
        return kept

    def file(self, file_id: int) -> FileRow | None:
        """The file with this id."""
        rows = self._files("id = ?", file_id)
        return rows[0] if rows else None

    def files_of(self, cid: CID) -> list[FileRow]:
        """Every file whose whole content is `cid`."""
        return self._files("leaf_size > 0 AND indexed AND cid = ?", bytes(cid.v1()))

    def file_at(self, path: Path) -> FileRow | None:
        """The file at this path."""
        row = self.row_at(path)
        return row if row is not None and row.indexed else None

    def row_at(self, path: Path) -> FileRow | None:
        """The file at this path, also one whose leaves are not in the leaf index."""
        rows = self._files("path = ?", self.spelled(path))
        return rows[0] if rows else None

    def spelled(self, path: Path) -> bytes:
        """A path as the table has it: relative in the repository's own folder, absolute elsewhere."""
        path = path.absolute()
        return os.fsencode(path.relative_to(self._folder) if path.is_relative_to(self._folder) else path)

    def owns(self, path: Path) -> bool:
        """Whether a file lies in our own folder: only such a one is ever deleted, whatever its row says."""
        return path.absolute().parent == self._folder / "files" and path.name not in ("", "..")

    def _files(self, where: str, value: object) -> list[FileRow]:
        rows: list[tuple[object, ...]] = self.rows(f"SELECT {COLUMNS} FROM files WHERE {where}", (value,))  # noqa: S608
        try:
            return [file_row(row, self._folder) for row in rows]
        except (ValueError, FormatError) as error:
            raise self.damaged("files", error) from error

    def damaged(self, table: str, error: Exception) -> StoreError:
        """What to raise for a row that makes no sense."""
        return StoreError(
            f"{self.path}: a row of {table} is damaged: {error}",
            hint="`holdfast repo verify` says which, and what to do",
        )

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
        try:
            return {
                str(name): CID.from_bytes(as_bytes(root)) for name, root in self.rows("SELECT name, root FROM names")
            }
        except (ValueError, FormatError) as error:
            raise self.damaged("names", error) from error
