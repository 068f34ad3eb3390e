"""`opened`: a small SQLite file of its own, for what may be lost: made if it is not there, a connection a call."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from .blocks.verified_file import disk_error
from .errors import StoreError

_BUSY_S = 30.0


@contextmanager
def opened(path: Path, schema: str, hint: str) -> Iterator[sqlite3.Connection]:
    """A connection in autocommit mode; what it commits is durable. Safe between threads and processes.

    sqlite3's errors, also those inside of the `with`, become `StoreError` with this `hint`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(error, path) from error
    try:
        with closing(sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.executescript(schema)
            yield connection
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}", hint=hint) from error
