"""The contract of what is packed into parquet.

Rows are read twice: a survey learns the schema, where shards are cut, and names what is no row (see `survey`); `tables`
yields the rows. Both read the files in order, so that the result does not depend on how many threads there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pyarrow as pa

from ...storage.limits import MIB
from ..batches import batches
from ..detect import SourceFile
from ..skipped import Skipped
from .cuts import Cuts, priority
from .source import changed, check_unchanged
from .span import START, Position, Span

R = TypeVar("R")
Row = tuple[R, bytes, int]  # what it is, its bytes in the source, the number of its last line

GROUP_BYTES = MIB  # of a row group before compression: what a reader decodes at once
MAX_GROUP_BYTES = 256 * MIB


class RowCount:
    """How many rows there are, their bytes in the source, and where shards are cut."""

    def __init__(self, shard_size: int) -> None:
        self.rows = self.raw_bytes = 0
        self._cuts: Cuts[Position] = Cuts(shard_size)

    def add(self, raw: bytes, file: int, used: int, raw_bytes: int | None = None) -> None:
        """One more row: what identifies it, the index of its file, and the lines of this before it.

        `raw_bytes`: if it has others than those that identify it.
        """
        size = len(raw) if raw_bytes is None else raw_bytes
        identity = raw.rstrip(b"\r\n")  # the last line of a file may have no end
        self._cuts.add(size, priority(identity), Position(file, used, self.rows))
        self.rows += 1
        self.raw_bytes += size

    def rows_per_group(self) -> int:
        """Rows of a full row group, the same for all: a power of two, so that a few rows more or less, which move the
        average, leave it as it is. About 1 MiB of average rows; `groups` ends those of long ones before 256 MiB.
        """
        average = max(1, self.raw_bytes // max(1, self.rows))
        return _nearest_power(max(1, GROUP_BYTES // average))

    def spans(self, files: int) -> list[Span]:
        """The shards of all `files`, of which this was the last row."""
        self._cuts.finish()
        borders = [(0, START), *self._cuts.found, (self.raw_bytes, Position(files, 0, self.rows))]
        return [Span(a, b, end - begin) for (begin, a), (end, b) in pairwise(borders)]

    def state(self) -> object:
        """All of it as JSON, for `parse`."""
        return [self.rows, self.raw_bytes, self._cuts.state()]

    @classmethod
    def parse(cls, shard_size: int, state: Any) -> RowCount:
        """One with the `state` of another. Raises `ValueError` or `TypeError` for what is none."""
        count = cls(shard_size)
        rows, raw_bytes, cuts = state
        count.rows, count.raw_bytes = int(rows), int(raw_bytes)
        count._cuts = Cuts.parse(shard_size, cuts, Position.parse)
        return count


def _nearest_power(count: int) -> int:
    """Of two; of two equally near ones the larger: their square root between them is the border."""
    low = 1 << (count.bit_length() - 1)
    return low if count * count < 2 * low * low else 2 * low


class RowSource(Protocol):
    """Files that hold rows. A survey comes first: each file once, in order, then `check`."""

    size: RowCount
    dictionary: bool  # whether columns may repeat values often enough for a dictionary

    def see(self, number: int, file: SourceFile, skipped: Skipped) -> None:
        """Read the next file, of this index: adds to `size` and the schema; what is no row goes to `skipped`."""

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

    def shape(self) -> object:
        """All that the bytes of a row's table depend on, beside the row and the schema, as JSON."""

    def tables(self, spans: Iterable[Span], rows: int) -> Iterator[tuple[Span, pa.Table, int]]:
        """The rows of these spans, which ascend: tables of `rows` rows, a span's last may be shorter, and their bytes
        in the source. Raises `FileChangedError` when a file is not what was surveyed.
        """


def groups(rows: Iterable[R], size_of: Callable[[R], int], count: int) -> Iterator[list[R]]:
    """Row groups of `count` rows; of fewer, where these are long, and at the end."""
    return batches(rows, size_of, count=count, max_bytes=MAX_GROUP_BYTES)


def tables_of_lines(
    source: Path,
    files: Sequence[SourceFile],
    read: Callable[[SourceFile, int], Iterator[Row[R]]],
    make: Callable[[list[R], SourceFile], pa.Table],
    spans: Iterable[Span],
    rows: int,
) -> Iterator[tuple[Span, pa.Table, int]]:
    """`RowSource.tables` of files that are read line by line: `read` a file's rows behind a line, `make` a table."""
    at: Position | None = None
    found: Iterator[tuple[int, Row[R]]] = iter(())
    for span in spans:
        if span.start != at:
            found = _rows_from(files, read, span.start)
        last = span.start
        for group in groups(islice(found, span.rows), lambda row: len(row[1][1]), rows):
            (first, _), (file, (_, _, line)) = group[0], group[-1]
            if first < last.file or file >= span.end.file + bool(span.end.used):
                raise changed(source / files[first].name)
            last = Position(file, line, last.rows + len(group))
            yield span, make([row for _, (row, _, _) in group], files[file]), sum(len(raw) for _, (_, raw, _) in group)
        if last.rows != span.end.rows or (span.end.used and last != span.end):
            raise changed(source / files[last.file].name)
        check_unchanged(source, files[last.file])
        at = span.end
    if at is not None and at.file == len(files) and (more := next(found, None)) is not None:
        raise changed(source / files[more[0]].name)


def _rows_from(
    files: Sequence[SourceFile], read: Callable[[SourceFile, int], Iterator[Row[R]]], start: Position
) -> Iterator[tuple[int, Row[R]]]:
    for number in range(start.file, len(files)):
        for row in read(files[number], start.used if number == start.file else 0):
            yield number, row
