"""Texts: a row a file, with its path. Every file that is UTF-8 is one, whatever it is called, the empty one too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from ...storage.errors import ConfigError
from ..detect import SourceFile
from ..skipped import Skipped
from .rows import RowCount, groups
from .source import MAX_ROW_BYTES, changed, open_plain
from .span import Span

_SCHEMA = pa.schema([("path", pa.string()), ("text", pa.string())])


class TextRows:
    """A `RowSource` of text files. Nothing is normalised: line ends and byte order marks stay as they are."""

    dictionary = False

    def __init__(self, source: Path, files: Sequence[SourceFile], shard_size: int) -> None:
        self.size = RowCount(shard_size)
        self._source, self._files = source, files
        self._others: dict[str, None] = {}  # in order

    @property
    def schema(self) -> pa.Schema:
        """See `RowSource.schema`."""
        return _SCHEMA

    def see(self, number: int, file: SourceFile, skipped: Skipped) -> None:
        """See `RowSource.see`."""
        if file.size > MAX_ROW_BYTES:
            reason = f"a text of more than {MAX_ROW_BYTES >> 20} MiB: make it JSONL, a row a line"
        elif _decoded(self._read(file)) is None:
            reason = "not UTF-8 text"
        else:
            self.size.add(file.name.encode(), number, 0, file.size)
            return
        self._others[file.name] = None
        skipped.add(file.name, reason)

    def state(self) -> object:
        """See `RowSource.state`: the files that are none."""
        return [*self._others]

    def go_on(self, files: Sequence[SourceFile], state: Any) -> None:
        """See `RowSource.go_on`."""
        self._others = {str(name): None for name in state}

    def check(self) -> None:
        """See `RowSource.check`."""
        if not self.size.rows:
            raise ConfigError(
                f"none of {len(self._files)} files in {self._source} is UTF-8 text",
                hint="see the formats that `holdfast publish --help` lists",
            )

    def shape(self) -> object:
        """See `RowSource.shape`."""
        return None

    def tables(self, spans: Iterable[Span], rows: int) -> Iterator[tuple[Span, pa.Table, int]]:
        """See `RowSource.tables`."""
        for span in spans:
            files = [file for file in self._files[span.start.file : span.end.file] if file.name not in self._others]
            for some in groups(files, lambda file: file.size, rows):
                table = pa.table([[file.name for file in some], [self._text(file) for file in some]], schema=_SCHEMA)
                yield span, table, sum(file.size for file in some)

    def _text(self, file: SourceFile) -> str:
        text = _decoded(self._read(file))
        if text is None:
            raise changed(self._source / file.name)
        return text

    def _read(self, file: SourceFile) -> bytes:
        path = self._source / file.name
        with open_plain(self._source, file) as opened:
            data = opened.read(file.size + 1)
        if len(data) != file.size:
            raise changed(path)
        return data


def _decoded(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None
