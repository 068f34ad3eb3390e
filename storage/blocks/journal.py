"""`Journal`: how far work had come that takes long and may be killed; in the catalogue, a short text for a key.

An entry is durable when `write` returns: whatever it says of files is made durable before. It is never needed, only
useful: whoever does not find or understand it starts over. Its digest is beside it, so that nobody goes on with a
flipped bit. A `gc` drops what nobody wrote since the oldest lease.
"""

from __future__ import annotations

import hashlib
import time

from .catalog import Catalog

_DIGITS = 64


class Journal:
    """The entries of one repository."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def read(self, key: bytes) -> str | None:
        """What was last written; None when there is nothing, or something else."""
        for (state,) in self._catalog.rows("SELECT CAST(state AS BLOB) FROM journal WHERE key = ?", (key,)):
            text = state[_DIGITS:].decode(errors="replace") if isinstance(state, bytes) else ""
            if state == _signed(text).encode():
                return text
        return None

    def write(self, key: bytes, state: str) -> None:
        """Put it in place of what was written before."""
        with self._catalog.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO journal VALUES (?, ?, ?)", (key, _signed(state), time.time_ns()))

    def drop(self, key: bytes) -> None:
        """Nobody will go on with it."""
        with self._catalog.transaction() as connection:
            connection.execute("DELETE FROM journal WHERE key = ?", (key,))

    def expire(self, limit_ns: int) -> None:
        """Drop entries from before this time."""
        with self._catalog.transaction() as connection:
            connection.execute("DELETE FROM journal WHERE used_ns < ?", (limit_ns,))


def _signed(state: str) -> str:
    return hashlib.sha256(state.encode()).hexdigest() + state
