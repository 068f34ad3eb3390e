"""Texts: a row a file, with its path. Every file that is UTF-8 is one, whatever it is called, the empty one too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from ...storage.errors import ConfigError
from ..detect import SourceFile
from ..skipped import Skipped
from .packed import START, Position
from .rows import RowCount
from .source import MAX_ROW_BYTES, changed, open_plain

_SCHEMA = pa.schema([("path", pa.string()), ("text", pa.string())])


class TextRows:
    """A `RowSource` of text files. Nothing is normalised: line ends and byte order marks stay as they are."""

    dictionary = False

    def __init__(self, source: Path, files: Sequence[SourceFile]) -> None:
        self.size = RowCount()
        self._source, self._files = source, files
        self._texts: list[SourceFile] = []
        self._others: list[str] = []

    @property
    def schema(self) -> pa.Schema:
        """See `RowSource.schema`."""
        return _SCHEMA

    def see(self, file: SourceFile, skipped: Skipped) -> None:
        """See `RowSource.see`."""
        if file.size > MAX_ROW_BYTES:
            reason = f"a text of more than {MAX_ROW_BYTES >> 20} MiB: make it JSONL, a row a line"
        elif _decoded(self._read(file)) is None:
            reason = "not UTF-8 text"
        else:
            self._texts.append(file)
            self.size.add(file.size)
            return
        self._others.append(file.name)
        skipped.add(file.name, reason)

    def state(self) -> object:
        """See `RowSource.state`: the files that are none."""
        return self._others

    def go_on(self, files: Sequence[SourceFile], state: Any) -> None:
        """See `RowSource.go_on`."""
        others = {str(name) for name in state}
        self._texts, self._others = [file for file in files if file.name not in others], sorted(others)

    def check(self) -> None:
        """See `RowSource.check`."""
        if not self._texts:
            raise ConfigError(
                f"none of {len(self._files)} files in {self._source} is UTF-8 text",
                hint="see the formats that `holdfast publish --help` lists",
            )

    def tables(self, rows: int, start: Position = START) -> Iterator[tuple[pa.Table, int, Position]]:
        """See `RowSource.tables`."""
        for at in range(start.used, len(self._texts), rows):
            files = self._texts[at : at + rows]
            texts: list[str] = []
            for file in files:
                text = _decoded(self._read(file))
                if text is None:
                    raise changed(self._source / file.name)
                texts.append(text)
            names = [file.name for file in files]
            end = at + len(files)
            yield pa.table([names, texts], schema=_SCHEMA), sum(file.size for file in files), Position(0, end, end)

    def _read(self, file: SourceFile) -> bytes:
        path = self._source / file.name
        with open_plain(path) as opened:
            data = opened.read(file.size + 1)
        if len(data) != file.size:
            raise changed(path)
        return data


def _decoded(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None
