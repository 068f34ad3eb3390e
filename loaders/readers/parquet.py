"""`ParquetReader`: rows of a parquet shard. A row group is decoded once, while it is among the last used."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...storage.errors import FormatError
from ...storage.manifest import Shard
from ..errors import SampleError
from ..shard_file import ShardFile
from .reader import Sample

_FOOTER_GUESS = 65536  # most footers fit: one wait instead of two


class RangeFile(io.RawIOBase):
    """A shard as the seekable file that pyarrow reads; every read is of verified bytes."""

    def __init__(self, file: ShardFile) -> None:
        super().__init__()
        self._file, self._at, self._size = file, 0, file.layout.size

    def readable(self) -> bool:
        """See `io.RawIOBase`."""
        return True

    def seekable(self) -> bool:
        """See `io.RawIOBase`."""
        return True

    def tell(self) -> int:
        """See `io.RawIOBase`."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See `io.RawIOBase`."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = min(max(base + offset, 0), self._size)
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """See `io.RawIOBase`."""
        end = self._size if size is None or size < 0 else min(self._at + size, self._size)
        data = bytes(self._file.read(self._at, end)) if end > self._at else b""
        self._at = end
        return data

    def readinto(self, buffer: Any) -> int:
        """See `io.RawIOBase`."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class DecodedRows:
    """Decoded row groups of all shards of a process, least recently used first out, bounded in bytes."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._groups: OrderedDict[tuple[str, int], tuple[dict[str, list[Any]], int]] = OrderedDict()
        self._bytes = 0

    def get(self, path: str, group: int) -> dict[str, list[Any]] | None:
        """A decoded row group: column → values."""
        found = self._groups.get((path, group))
        if found is None:
            return None
        self._groups.move_to_end((path, group))
        return found[0]

    def put(self, path: str, group: int, columns: dict[str, list[Any]], size: int) -> None:
        """Keep one; older ones go when the bound is passed."""
        self._groups[(path, group)] = (columns, size)
        self._bytes += size
        while self._bytes > self.max_bytes and len(self._groups) > 1:
            self._bytes -= self._groups.popitem(last=False)[1][1]


class ParquetReader:
    """A `Reader`."""

    def __init__(self, shard: Shard, file: ShardFile, rows: DecodedRows) -> None:
        self._shard, self._file, self._rows = shard, file, rows
        with self._arrow_errors("footer"):
            file.prefetch(max(shard.bytes - _FOOTER_GUESS, 0), shard.bytes, -1.0)
            self._parquet = pq.ParquetFile(pa.PythonFile(RangeFile(file), mode="r"))
            metadata = self._parquet.metadata
            groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        self._starts = list(accumulate((group.num_rows for group in groups), initial=0))
        if self._starts[-1] != shard.samples:
            raise FormatError(f"{shard.path} has {self._starts[-1]} rows, the manifest says {shard.samples}")
        self._spans = [_span(group, shard.bytes) for group in groups]

    def _group_of(self, index: int) -> int:
        return bisect_right(self._starts, index) - 1

    def prefetch(self, index: int, urgency: float) -> int:
        """See `Reader.prefetch`."""
        group = self._group_of(index)
        if self._rows.get(self._shard.path, group) is not None:
            return 0
        return self._file.prefetch(*self._spans[group], urgency)

    def sample(self, index: int) -> Sample:
        """Column → Python value; the key is `path#row`."""
        group = self._group_of(index)
        columns = self._rows.get(self._shard.path, group)
        if columns is None:
            with self._arrow_errors(f"row group {group}"):
                self._file.read(*self._spans[group])
                table = self._parquet.read_row_group(group, use_threads=False)
                columns = {
                    name: column.to_pylist() for name, column in zip(table.column_names, table.columns, strict=True)
                }
            # Python objects weigh about twice what Arrow holds: 50 bytes a value on top
            size = table.nbytes + 56 * table.num_rows * table.num_columns
            self._rows.put(self._shard.path, group, columns, size)
        row = index - self._starts[group]
        return {**{name: values[row] for name, values in columns.items()}, "__key__": f"{self._shard.path}#{index}"}

    @contextmanager
    def _arrow_errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError, ValueError) as error:
            raise SampleError(f"{self._shard.path}: its {what} cannot be read as parquet: {error}") from error


def _span(group: Any, size: int) -> tuple[int, int]:
    """The bytes of a row group: all its column chunks."""
    starts, ends = [], []
    for number in range(group.num_columns):
        column = group.column(number)
        start = column.data_page_offset
        if column.dictionary_page_offset:  # some writers say 0 for none
            start = min(start, column.dictionary_page_offset)
        starts.append(start)
        ends.append(start + column.total_compressed_size)
    return max(min(starts, default=0), 0), min(max(ends, default=0), size)
