"""CSV: a header, then a row a record; types inferred over all rows of all files."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from ...storage.errors import ConfigError
from ..detect import SourceFile
from ..skipped import Skipped
from .columns import MAX_COLUMNS, Columns
from .rows import Row, RowCount, tables_of_lines
from .source import MAX_ROW_BYTES, changed, lines, open_source
from .span import Span

_INT = re.compile(r"0|-?[1-9][0-9]{0,17}")  # no leading zeros: they would be lost
_FLOAT = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")
_BOOL = frozenset(("true", "false", "True", "False"))

_ARROW = {"": pa.string(), "text": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}

Cells = dict[str, str]


class _Column:
    """Which types still fit. Empty cells fit every type; in a text column they stay empty texts."""

    def __init__(self) -> None:
        self.kind = ""

    def see(self, cell: str) -> None:
        if not cell or self.kind == "text":
            return
        if self.kind in ("", "int") and _INT.fullmatch(cell):
            self.kind = "int"
        elif self.kind in ("", "int", "float") and _FLOAT.fullmatch(cell):
            self.kind = "float"
        elif self.kind in ("", "bool") and cell in _BOOL:
            self.kind = "bool"
        else:
            self.kind = "text"

    def arrow(self) -> pa.DataType:
        return _ARROW[self.kind]

    def state(self) -> str:
        return self.kind

    @classmethod
    def parse(cls, state: Any) -> _Column:
        column = cls()
        _ARROW[state]  # a KeyError for what is none of them
        column.kind = state
        return column

    def array(self, cells: list[str | None]) -> pa.Array:
        if self.kind in ("int", "float", "bool"):
            cells = [cell or None for cell in cells]
        return pa.array(cells, pa.string()).cast(self.arrow())


class CsvRows:
    """A `RowSource` of .csv files with headers, compressed or not. Columns are matched by name."""

    dictionary = True

    def __init__(self, source: Path, files: Sequence[SourceFile], shard_size: int) -> None:
        self.size = RowCount(shard_size)
        self._source, self._files = source, files
        self._columns = Columns(_Column)

    @property
    def schema(self) -> pa.Schema:
        """See `RowSource.schema`."""
        return self._columns.schema

    def see(self, number: int, file: SourceFile, skipped: Skipped) -> None:
        """See `RowSource.see`."""
        used = 0
        for row, raw, line in self._rows(file, skipped):
            self._columns.see(row)
            self.size.add(raw, number, used)
            used = line
        if len(self._columns) > MAX_COLUMNS:
            raise ConfigError(
                f"{self._source / file.name} brings the columns to more than {MAX_COLUMNS}",
                hint="check that it is CSV, with commas",
            )

    def state(self) -> object:
        """See `RowSource.state`."""
        return self._columns.state()

    def go_on(self, files: Sequence[SourceFile], state: Any) -> None:
        """See `RowSource.go_on`."""
        self._columns.go_on(state)

    def check(self) -> None:
        """See `RowSource.check`."""
        if not self.size.rows:
            raise ConfigError(
                f"none of {len(self._files)} files in {self._source} holds a header and a row",
                hint="the first line must name the columns",
            )

    def shape(self) -> object:
        """See `RowSource.shape`."""
        return self._columns.state()

    def tables(self, spans: Iterable[Span], rows: int) -> Iterator[tuple[Span, pa.Table, int]]:
        """See `RowSource.tables`."""
        return tables_of_lines(
            self._source, self._files, lambda file, behind: self._rows(file, None, behind), self._table, spans, rows
        )

    def _table(self, rows: list[Cells], file: SourceFile) -> pa.Table:
        try:
            arrays = [column.array([row.get(name) for row in rows]) for name, column in self._columns]
            return pa.table(arrays, schema=self.schema)
        except pa.ArrowException as error:
            raise changed(self._source / file.name) from error

    def _rows(self, file: SourceFile, skipped: Skipped | None, behind: int = 0) -> Iterator[Row[Cells]]:
        def leave_out(where: str, reason: str) -> None:
            if skipped is not None:
                skipped.add(f"{file.name}{where}", reason)

        with open_source(self._source, file) as opened:
            feed = _Feed(lines(opened))
            records = _records(feed)
            header, reason = next(records, ([], "empty"))
            if not reason and (len(set(header)) < len(header) or not all(header)):
                reason = "two columns of its header have one name, or one has none"
            if reason:
                leave_out("", f"no CSV with a header: {reason}")
                return
            feed.skip(behind)
            for cells, problem in records:
                if not problem and len(cells) != len(header):
                    problem = f"{len(cells)} cells, but the header has {len(header)}"
                if problem:
                    leave_out(f" line {feed.number}", problem)
                else:
                    yield dict(zip(header, cells, strict=True)), b"".join(feed.record), feed.number


class _Feed:
    """The lines of a file as the csv module reads them; remembers what the current record consists of."""

    def __init__(self, source: Iterator[tuple[int, bytes | None]]) -> None:
        self._source = source
        self.number = 0
        self.record: list[bytes] = []  # the lines of the current one
        self.problem = ""

    def skip(self, behind: int) -> None:
        """Read over the lines up to this one, which ended a record."""
        while self.number < behind:
            self.number, _ = next(self._source, (behind, None))  # a file that is shorter now has no more rows

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        self.number, line = next(self._source)
        if line is None:
            self.problem = f"longer than {MAX_ROW_BYTES >> 20} MiB"
            return "\n"
        self.record.append(line)
        try:
            return line.decode("utf-8-sig" if self.number == 1 else "utf-8")
        except UnicodeDecodeError:
            self.problem = "not UTF-8 text"
            return line.decode("utf-8", "replace")


def _records(feed: _Feed) -> Iterator[tuple[list[str], str]]:
    """Each record, and what is wrong with it; blank lines are none."""
    csv.field_size_limit(max(csv.field_size_limit(), MAX_ROW_BYTES))  # the module's own limit is 128 KiB
    reader = csv.reader(feed, strict=True)
    while True:
        feed.record, feed.problem = [], ""
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield [], str(error)
            continue
        if cells or feed.problem:
            yield cells, feed.problem
