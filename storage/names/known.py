"""`KnownNames`: the newest record of each name that was ever seen here, so that nobody can take a reader back.

A file of its own, in SQLite. State only moves up: an older record changes nothing, so processes need not agree on an
order. Whoever loses the file starts anew, and believes the first valid record that comes: a weak point that no reader
without a memory can avoid (facts: T9); a run pinned by its root has none of it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from ..blocks.verified_file import disk_error
from ..errors import HoldfastError, QuotaError, StoreError
from .choice import rank
from .name import Name
from .record import Record, read_record

_BUSY_S = 10.0
_SCHEMA = "CREATE TABLE IF NOT EXISTS known (name BLOB PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID"


class KnownNames:
    """Safe between threads and processes: each call has a connection of its own. Every method raises `StoreError`."""

    def __init__(self, path: Path, *, max_names: int = 1_000_000) -> None:
        self._path, self._max_names = path, max_names

    def get(self, name: Name) -> Record | None:
        """The newest record seen, expired or not. One that was damaged on disk is as if it had not been seen."""
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
            connection.execute("COMMIT")
        return before

    def forget(self, name: Name) -> None:
        """Believe the next valid record again, whatever its sequence: after a key was stolen and won back."""
        with self._open() as connection:
            connection.execute("DELETE FROM known WHERE name = ?", (name.public_key,))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute(_SCHEMA)
                yield connection
        except sqlite3.Error as error:
            raise StoreError(
                f"{self._path}: {error}",
                hint="it holds which versions of names were seen; removing it starts that memory anew",
            ) from error
        except OSError as error:
            raise disk_error(error, self._path) from error


def _read(connection: sqlite3.Connection, name: Name) -> Record | None:
    row = connection.execute("SELECT record FROM known WHERE name = ?", (name.public_key,)).fetchone()
    if row is None:
        return None
    with suppress(HoldfastError, TypeError):
        return read_record(name, bytes(row[0]))
    return None
