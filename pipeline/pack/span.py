"""`Span`: the rows of one shard, by where they lie in the source."""

from __future__ import annotations

from typing import Any, NamedTuple


class Position(NamedTuple):
    """Before a row: index of its file, lines of this that lie before it, rows of all files before it.

    `used` is 0 before the first row of a file, and where a row is a file.
    """

    file: int = 0
    used: int = 0
    rows: int = 0

    @classmethod
    def parse(cls, state: Any) -> Position:
        """What JSON made of one. Raises `ValueError` or `TypeError` for anything else."""
        file, used, rows = state
        return cls(int(file), int(used), int(rows))


START = Position()


class Span(NamedTuple):
    """From `start` up to `end`, `raw_bytes` of rows. `key`: of the shard that they become, if it can be told again."""

    start: Position
    end: Position
    raw_bytes: int
    key: bytes | None = None

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self.end.rows - self.start.rows
