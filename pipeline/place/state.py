"""`Placements`: which provider keeps which root: what it promised, and what was read back from it. SQLite.

A memory and no truth: whoever loses it asks the providers again. One row for each provider and root.
"""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from ...storage.cid import CID
from ...storage.errors import FormatError, StoreError
from ...storage.memory_database import opened
from ...storage.pins.pin import Status

_HINT = "it is a memory only: remove it, and `holdfast pin add` fills it again"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS placed (
    provider TEXT NOT NULL, url TEXT NOT NULL, root BLOB NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
    requestid TEXT NOT NULL, status TEXT NOT NULL, message TEXT NOT NULL,
    promised_us INTEGER NOT NULL, proven_us INTEGER NOT NULL, leaves INTEGER NOT NULL,
    PRIMARY KEY (provider, root)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS placed_root ON placed (root);
CREATE INDEX IF NOT EXISTS placed_state ON placed (provider, status, proven_us > 0);
"""
_COLUMNS = "provider, url, root, kind, name, requestid, status, message, promised_us, proven_us, leaves"


UNPROVEN = "nothing was read back: the roster does not say where (gateway = …)"
NOTHING_HERE = "nothing was read back: it is not in the repository here, to be compared with"


@dataclass(frozen=True, slots=True)
class Placed:
    """One root at one provider. Times in microseconds since 1970, 0 for never.

    `url`: who it was when it was asked; another one under the same name is somebody else. `promised_us`: when it first
    said `pinned`. `proven_us`: when `leaves` leaves drawn at random were read back from it and were right; each time it
    is asked anew, that is forgotten first.
    """

    provider: str
    url: str
    root: CID
    kind: str
    name: str
    requestid: str
    status: Status
    message: str = ""
    promised_us: int = 0
    proven_us: int = 0
    leaves: int = 0
    done_bytes: int = field(default=0, compare=False)  # that it was sent, or fetched, this time; not kept
    total_bytes: int = field(default=0, compare=False)  # 0 where that is not known

    @property
    def counts(self) -> bool:
        """Whether this provider is one that keeps it: a promise that was never read back is none (T24)."""
        return self.status is Status.PINNED and self.proven_us > 0

    @property
    def kept(self) -> bool:
        """Whether it says that it has all of it."""
        return self.status is Status.PINNED

    @property
    def failed(self) -> bool:
        """Whether it refused or could not, or says `pinned` and gave something else, or nothing, when it was asked."""
        return self.status is Status.FAILED or (
            self.status is Status.PINNED and not self.proven_us and self.message not in (UNPROVEN, NOTHING_HERE)
        )


@dataclass(frozen=True, slots=True)
class Tally:
    """How many roots a provider has in one status, and how many of these were proven."""

    provider: str
    status: Status
    roots: int
    proven: int


class Placements:
    """Safe between threads and processes: each call has a connection of its own. Every method raises `StoreError`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def note(self, placed: Placed) -> None:
        """Write one row, in place of the one before. Durable when it returns."""
        self.note_all([placed])

    def note_all(self, rows: list[Placed]) -> None:
        """Write many rows at once."""
        values = [
            (
                row.provider, row.url, bytes(row.root), row.kind, row.name, row.requestid, row.status.value,
                row.message, row.promised_us, row.proven_us, row.leaves,
            )
            for row in rows
        ]  # fmt: skip
        with self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(f"INSERT OR REPLACE INTO placed ({_COLUMNS}) VALUES ({','.join('?' * 11)})", values)  # noqa: S608 - constants
            connection.execute("COMMIT")

    def of(self, root: CID | None = None, provider: str | None = None) -> list[Placed]:
        """Rows of a root, of a provider, or all, by root and provider."""
        where, values = "1", list[object]()
        for column, value in (("root", None if root is None else bytes(root)), ("provider", provider)):
            if value is not None:
                where += f" AND {column} = ?"
                values.append(value)
        if not self._path.exists():
            return []
        with self._open() as connection:
            found = connection.execute(
                f"SELECT {_COLUMNS} FROM placed WHERE {where} ORDER BY root, provider",  # noqa: S608 - constants
                values,
            )
            return [self._row(row) for row in found]

    def last(self, provider: str, url: str, name: str) -> CID | None:
        """The root that this provider was the last to call pinned under this name."""
        if not self._path.exists():
            return None
        with self._open() as connection:
            found = connection.execute(
                "SELECT root FROM placed WHERE provider = ? AND url = ? AND name = ? AND status = 'pinned'"
                " ORDER BY promised_us DESC LIMIT 1",
                (provider, url, name),
            ).fetchone()
        try:
            return CID.from_bytes(found[0]) if found else None
        except (TypeError, FormatError):
            return None

    def tally(self) -> list[Tally]:
        """How much of what, provider by provider: does not read the rows one by one."""
        if not self._path.exists():
            return []
        with self._open() as connection:
            rows = connection.execute(
                "SELECT provider, status, COUNT(*), SUM(proven_us > 0 AND status = 'pinned') FROM placed"
                " GROUP BY provider, status"
            )
            return [Tally(provider, Status(status), roots, proven) for provider, status, roots, proven in rows]

    def remove(self, provider: str, root: CID) -> None:
        """Forget a row."""
        with self._open() as connection:
            connection.execute("DELETE FROM placed WHERE provider = ? AND root = ?", (provider, bytes(root)))

    def _open(self) -> AbstractContextManager[sqlite3.Connection]:
        return opened(self._path, _SCHEMA, _HINT)

    def _row(self, row: tuple[object, ...]) -> Placed:
        provider, url, root, kind, name, requestid, status, message, promised, proven, leaves = row
        try:
            assert isinstance(root, bytes)
            return Placed(
                str(provider), str(url), CID.from_bytes(root), str(kind), str(name), str(requestid),
                Status(str(status)), str(message), int(str(promised)), int(str(proven)), int(str(leaves)),
            )  # fmt: skip
        except (ValueError, AssertionError, FormatError) as error:
            raise StoreError(f"{self._path}: a row is damaged", hint="remove the file: it is a memory only") from error
