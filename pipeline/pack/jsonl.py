"""JSON lines: a row a line, each an object; one schema for all files."""

from __future__ import annotations

import json
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
from .types import ColumnType


class JsonlRows:
    """A `RowSource` of .jsonl files, compressed or not. Blank lines are no rows."""

    dictionary = True

    def __init__(self, source: Path, files: Sequence[SourceFile], shard_size: int) -> None:
        self.size = RowCount(shard_size)
        self._source, self._files = source, files
        self._columns = Columns(ColumnType)

    @property
    def schema(self) -> pa.Schema:
        """See `RowSource.schema`: columns in the order in which they first appear."""
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
                    hint="put such keys into one object",
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
                f"none of {len(self._files)} files in {self._source} holds a JSON object on a line",
                hint="write one object a line",
            )
        if not len(self._columns):
            raise ConfigError(f"all objects in {self._source} are empty", hint="check the files")

    def shape(self) -> object:
        """See `RowSource.shape`: a text and what is spelled as JSON are both texts to the schema."""
        return self._columns.state()

    def tables(self, spans: Iterable[Span], rows: int) -> Iterator[tuple[Span, pa.Table, int]]:
        """See `RowSource.tables`."""
        return tables_of_lines(
            self._source, self._files, lambda file, behind: self._rows(file, None, behind), self._table, spans, rows
        )

    def _table(self, rows: list[dict[str, Any]], file: SourceFile) -> pa.Table:
        arrays = []
        try:
            for name, column in self._columns:
                values = [row.get(name) for row in rows]
                if not column.plain():
                    values = [column.fit(value) for value in values]
                arrays.append(pa.array(values, column.arrow()))
            return pa.table(arrays, schema=self.schema)
        except (pa.ArrowException, KeyError, TypeError, OverflowError) as error:
            raise changed(self._source / file.name) from error

    def _rows(self, file: SourceFile, skipped: Skipped | None, behind: int = 0) -> Iterator[Row[dict[str, Any]]]:
        with open_source(self._source, file) as opened:
            for number, line in lines(opened):
                if number <= behind:
                    continue
                row = parse_line(line, first=number == 1)
                if isinstance(row, dict):
                    yield row, line or b"", number
                elif row and skipped is not None:
                    skipped.add(f"{file.name} line {number}", row)


def parse_line(line: bytes | None, *, first: bool) -> dict[str, Any] | str:
    """The object on a line, or why there is none; no reason for a blank line."""
    if line is None:
        return f"longer than {MAX_ROW_BYTES >> 20} MiB"
    if first:
        line = line.removeprefix(b"\xef\xbb\xbf")
    if not line.strip():
        return ""
    try:
        row = _DECODER.decode(line.decode())
        if b"\\u" in line:  # half a surrogate pair is no text
            json.dumps(row, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:  # UnicodeError is a ValueError
        return f"not JSON: {str(error)[:120]}"
    if not isinstance(row, dict):
        return "not a JSON object"
    return row


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)
