"""`Journal`: how far each piece is at each provider, and every message that was signed for one. SQLite.

A message is written down before it is signed and sent, and never a second one for the same piece while the first may
still be used: its nonce is good for one payment, so the same message may be sent again and again. What is on the chain
is read from the chain; this says only what may be under way. No signature is kept: it follows from the message.
"""

from __future__ import annotations

import fcntl
import json
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from ...storage.blocks.verified_file import disk_error
from ...storage.cid import CID
from ...storage.errors import FormatError, StoreError, UnavailableError
from ...storage.memory_database import opened
from ...storage.pieces.piece_cid import PieceCID

_HINT = "signed messages are in it: keep it; if it is lost, wait an hour, and what is on the chain is found again"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS copies (
    place TEXT NOT NULL, provider INTEGER NOT NULL, piece BLOB NOT NULL, state TEXT NOT NULL, message TEXT NOT NULL,
    uploaded_us INTEGER NOT NULL, data_set INTEGER NOT NULL, piece_id INTEGER NOT NULL, since INTEGER NOT NULL,
    PRIMARY KEY (place, provider, piece)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY, place TEXT NOT NULL, provider INTEGER NOT NULL, client_id TEXT NOT NULL,
    nonce TEXT NOT NULL, data_set INTEGER NOT NULL, pieces TEXT NOT NULL, sent TEXT NOT NULL, open INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS seen (place TEXT PRIMARY KEY, block INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS messages_open ON messages (place, provider, open);
"""


class State(StrEnum):
    """How far a piece is at a provider."""

    PACKED = "packed"
    UPLOADED = "uploaded"
    PARKED = "parked"
    COMMITTED = "committed"
    PROVEN = "proven"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class CopyState:
    """One piece at one provider. `uploaded_us`: when, in microseconds since 1970; `data_set`, `piece_id`: on chain;
    `since`: the block at which it was seen there first.
    """

    provider: int
    piece: PieceCID
    state: State
    message: str = ""
    uploaded_us: int = 0
    data_set: int = 0
    piece_id: int = 0
    since: int = 0


@dataclass(frozen=True, slots=True)
class Message:
    """A message to add pieces, to be signed. `data_set` 0: to make one with them. `sent`: its last transaction."""

    id: int
    provider: int
    client_id: int
    nonce: int
    data_set: int
    pieces: tuple[PieceCID, ...]
    sent: str


class Journal:
    """Of one payer at one service (`place`). Safe between processes. Every method raises `StoreError`."""

    def __init__(self, path: Path, place: str) -> None:
        self._path, self._place = path, place

    def note(self, copies: list[CopyState]) -> None:
        """Write rows, in place of those before. Durable when it returns."""
        rows = [
            (
                self._place, one.provider, bytes(one.piece.v2), one.state.value, one.message, one.uploaded_us,
                one.data_set, one.piece_id, one.since,
            )
            for one in copies
        ]  # fmt: skip
        with self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT OR REPLACE INTO copies VALUES (?,?,?,?,?,?,?,?,?)", rows)
            connection.execute("COMMIT")

    def copies(self, provider: int | None = None) -> list[CopyState]:
        """What is noted, of one provider or all."""
        if not self._path.exists():
            return []
        with self._open() as connection:
            rows = connection.execute(
                "SELECT provider, piece, state, message, uploaded_us, data_set, piece_id, since FROM copies"
                " WHERE place = ? AND (? IS NULL OR provider = ?) ORDER BY provider, piece",
                (self._place, provider, provider),
            ).fetchall()
        return [CopyState(row[0], self._piece(row[1]), State(row[2]), *row[3:]) for row in rows]

    def write(self, message: Message) -> Message:
        """A message that is about to be signed, with its id. Raises `UnavailableError` for a piece in an open one."""
        pieces = json.dumps([str(one) for one in message.pieces])
        with self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            taken = {one for other in self._messages(connection, message.provider) for one in other.pieces}
            if not taken.isdisjoint(message.pieces):
                connection.execute("ROLLBACK")
                raise UnavailableError("another process stores the same pieces", hint="say it again when it has ended")
            found = connection.execute(
                "INSERT INTO messages (place, provider, client_id, nonce, data_set, pieces, sent, open)"
                " VALUES (?,?,?,?,?,?,'',1)",
                (
                    self._place, message.provider, hex(message.client_id), hex(message.nonce), message.data_set, pieces,
                ),
            )  # fmt: skip
            number = found.lastrowid
            connection.execute("COMMIT")
        assert number is not None
        return replace(message, id=number)

    def open_messages(self, provider: int) -> list[Message]:
        """Those that may still be used, the oldest first."""
        if not self._path.exists():
            return []
        with self._open() as connection:
            return self._messages(connection, provider)

    def sent(self, message: Message, transaction: str) -> None:
        """The provider named the transaction in which it sent the message."""
        with self._open() as connection:
            connection.execute("UPDATE messages SET sent = ? WHERE id = ?", (transaction, message.id))

    def bind(self, message: Message, data_set: int) -> Message:
        """The data set was made without the pieces: the other half of the message may still be used there."""
        with self._open() as connection:
            connection.execute("UPDATE messages SET data_set = ?, sent = '' WHERE id = ?", (data_set, message.id))
        return replace(message, data_set=data_set, sent="")

    def see(self, block: int) -> int:
        """The newest block that was acted on, this one included."""
        with self._open() as connection:
            connection.execute(
                "INSERT INTO seen VALUES (?, ?) ON CONFLICT (place) DO UPDATE SET block = MAX(block, excluded.block)",
                (self._place, block),
            )
            (newest,) = connection.execute("SELECT block FROM seen WHERE place = ?", (self._place,)).fetchone()
        return int(newest)

    @contextmanager
    def alone(self, provider: int) -> Iterator[None]:
        """Only one process pays a provider at a time. Raises `UnavailableError` while another one does."""
        path = self._path.with_name(f"{self._path.name}.{provider}.lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("wb")
        except OSError as error:
            raise disk_error(error, path) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise UnavailableError(
                    f"another process stores at provider {provider}", hint="say it again when it has ended"
                ) from error
            yield

    def close(self, message: Message) -> None:
        """It was used, or never can be."""
        with self._open() as connection:
            connection.execute("UPDATE messages SET open = 0 WHERE id = ?", (message.id,))

    def _messages(self, connection: sqlite3.Connection, provider: int) -> list[Message]:
        rows = connection.execute(
            "SELECT id, provider, client_id, nonce, data_set, pieces, sent FROM messages"
            " WHERE place = ? AND provider = ? AND open ORDER BY id",
            (self._place, provider),
        ).fetchall()
        try:
            return [
                Message(
                    row[0], row[1], int(row[2], 16), int(row[3], 16), row[4],
                    tuple(PieceCID.parse(one) for one in json.loads(row[5])), row[6],
                )
                for row in rows
            ]  # fmt: skip
        except (ValueError, FormatError) as error:
            raise StoreError(f"{self._path}: a signed message is damaged", hint=_HINT) from error

    def _piece(self, data: bytes) -> PieceCID:
        try:
            return PieceCID.from_v2(CID.from_bytes(data))
        except FormatError as error:
            raise StoreError(f"{self._path}: a row is damaged", hint=_HINT) from error

    def _open(self) -> AbstractContextManager[sqlite3.Connection]:
        return opened(self._path, _SCHEMA, _HINT)
