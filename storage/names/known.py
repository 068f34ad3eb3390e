"""`KnownNames`: the newest record of each name that was ever seen here, so that nobody can take a reader back.

A file of its own, in SQLite. State only moves up: an older record changes nothing, so processes need not agree on an
order. Whoever loses the file starts anew, and believes the first valid record that comes: a weak point that no reader
without a memory can avoid (facts: T9); a run pinned by its root has none of it.
"""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from ..blocks.verified_file import disk_error
from ..errors import HoldfastError, QuotaError
from ..memory_database import opened
from .choice import rank
from .name import Name
from .record import Record, read_record

_HINT = "it holds which versions of names were seen; removing it starts that memory anew"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS known (name BLOB PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS versions (
    name BLOB NOT NULL, sequence BLOB NOT NULL, record BLOB NOT NULL,  -- sequence: 8 bytes, big-endian
    PRIMARY KEY (name, sequence)
) WITHOUT ROWID;
"""


class KnownNames:
    """Safe between threads and processes: each call has a connection of its own. Every method raises `StoreError`."""

    def __init__(self, path: Path, *, max_names: int = 1_000_000, max_versions: int = 1_000) -> None:
        self._path, self._max_names, self._max_versions = path, max_names, max_versions

    @contextmanager
    def moving(self) -> Iterator[None]:
        """Held while a name is moved: of two on this machine, one goes on from what the other signed."""
        path = self._path.with_suffix(".lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = path.open("ab")
        except OSError as error:
            raise disk_error(error, path) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # for as long as places take to answer
            yield

    def get(self, name: Name) -> Record | None:
        """The newest record seen, ended or not. Of one that was damaged on disk, the newest version that was not."""
        if not self._path.exists():
            return None
        with self._open() as connection:
            return _read(connection, name)

    def note(self, record: Record) -> Record | None:
        """Remember it, if it is newer than what is remembered, which is returned. Durable by then.

        Raises `QuotaError` where more names are known already than this memory may have.
        """
        with self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            before = _read(connection, record.name)
            if before is None or rank(record) > rank(before):
                (count,) = connection.execute("SELECT COUNT(*) FROM known").fetchone()
                if before is None and count >= self._max_names:
                    raise QuotaError(f"{count} names are known here already (at most {self._max_names})")
                connection.execute("INSERT OR REPLACE INTO known VALUES (?, ?)", (record.name.public_key, record.data))
                self._keep_version(connection, record)
            connection.execute("COMMIT")
        return before

    def versions(self, name: Name) -> list[Record]:
        """The records that were followed here, the newest first, of each sequence the last; the last 1,000."""
        if not self._path.exists():
            return []
        with self._open() as connection:
            rows = connection.execute(
                "SELECT record FROM versions WHERE name = ? ORDER BY sequence DESC", (name.public_key,)
            ).fetchall()
        found = []
        for (data,) in rows:
            with suppress(HoldfastError, TypeError):
                found.append(read_record(name, bytes(data)))
        return found

    def _keep_version(self, connection: sqlite3.Connection, record: Record) -> None:
        if not self._max_versions:
            return
        key = record.name.public_key
        connection.execute(
            "INSERT OR REPLACE INTO versions VALUES (?, ?, ?)", (key, record.sequence.to_bytes(8, "big"), record.data)
        )
        connection.execute(
            "DELETE FROM versions WHERE name = ? AND sequence NOT IN"
            " (SELECT sequence FROM versions WHERE name = ? ORDER BY sequence DESC LIMIT ?)",
            (key, key, self._max_versions),
        )

    def forget(self, name: Name) -> None:
        """Believe the next valid record again, whatever its sequence: after a key was stolen and won back."""
        with self._open() as connection:
            for table in ("known", "versions"):
                connection.execute(f"DELETE FROM {table} WHERE name = ?", (name.public_key,))  # noqa: S608 - constants

    def _open(self) -> AbstractContextManager[sqlite3.Connection]:
        return opened(self._path, _SCHEMA, _HINT)


def _read(connection: sqlite3.Connection, name: Name) -> Record | None:
    """The row, or where it is damaged the newest version that is not."""
    rows = connection.execute(
        "SELECT record FROM known WHERE name = ?1 UNION ALL SELECT * FROM"
        " (SELECT record FROM versions WHERE name = ?1 ORDER BY sequence DESC)",
        (name.public_key,),
    )
    for (data,) in rows:
        with suppress(HoldfastError, TypeError):
            return read_record(name, bytes(data))
    return None
