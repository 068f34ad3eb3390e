"""The contract of what is packed into parquet.

Rows are read twice: a survey learns the schema and names what is no row (see `survey`); `tables` yields the rows. Both
read the files in order, so that the result does not depend on how many threads there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import pyarrow as pa

from ...storage.limits import MIB
from ..detect import SourceFile
from ..skipped import Skipped
from .packed import START, Position

R = TypeVar("R")

GROUP_BYTES = MIB  # of a row group before compression: what a reader decodes at once
MAX_GROUP_BYTES = 256 * MIB


@dataclass(slots=True)
class RowCount:
    """How many rows there are, their bytes in the source, and those of the largest."""

    rows: int = 0
    raw_bytes: int = 0
    largest: int = 0

    def add(self, raw_bytes: int) -> None:
        """One more row."""
        self.rows += 1
        self.raw_bytes += raw_bytes
        self.largest = max(self.largest, raw_bytes)

    def rows_per_group(self) -> int:
        """The same number for all row groups: about 1 MiB of average rows, never above 256 MiB of the largest."""
        average = max(1, self.raw_bytes // max(1, self.rows))
        return max(1, min(GROUP_BYTES // average, MAX_GROUP_BYTES // max(1, self.largest)))


class RowSource(Protocol):
    """Files that hold rows. A survey comes first: each file once, in order, then `check`."""

    size: RowCount
    dictionary: bool  # whether columns may repeat values often enough for a dictionary

    def see(self, file: SourceFile, skipped: Skipped) -> None:
        """Read the next file: adds to `size` and the schema; what is no row goes to `skipped`."""

    def state(self) -> object:
        """What was learned so far, but for `size`, as JSON; small beside the files."""

    def go_on(self, files: Sequence[SourceFile], state: Any) -> None:
        """As if `files`, the first ones, had been seen: what `state` was then.

        Raises `ValueError`, `TypeError` or `KeyError` for what is no state, and is as it was then.
        """

    def check(self) -> None:
        """All files were seen. Raises `ConfigError` when they hold no rows."""

    @property
    def schema(self) -> pa.Schema:
        """The columns of every table."""

    def tables(self, rows: int, start: Position = START) -> Iterator[tuple[pa.Table, int, Position]]:
        """Tables of `rows` rows (the last may be shorter), their bytes in the source, and where in it they end.

        `start`: what such a table ended at; only what follows is read. Raises `FileChangedError` when a file is not
        what was surveyed.
        """


def tables_of_lines(
    files: Sequence[SourceFile],
    read: Callable[[SourceFile, int], Iterator[tuple[R, int, int]]],
    make: Callable[[list[R], SourceFile], pa.Table],
    rows: int,
    start: Position,
) -> Iterator[tuple[pa.Table, int, Position]]:
    """`RowSource.tables` of files that are read line by line: `read` a file's rows behind a line, `make` a table.

    `read` yields the row, its bytes, and the number of its last line.
    """
    batch: list[R] = []
    used, total = 0, start.rows
    position = start
    for index in range(start.file, len(files)):
        file = files[index]
        for row, length, line in read(file, start.used if index == start.file else 0):
            batch.append(row)
            used += length
            position = Position(index, line, total + len(batch))
            if len(batch) == rows:
                yield make(batch, file), used, position
                total += rows
                batch, used = [], 0
    if batch:
        yield make(batch, files[-1]), used, position
