"""`ArrowReader`: rows of an Arrow IPC file. A record batch is a view of the cache's file, not a copy of it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa

from ...storage.errors import FormatError
from ...storage.manifest import Shard
from ...storage.shards.arrow import BatchTable, blocks, decompressed_bytes
from ..columns import check_columns
from ..errors import SampleError
from ..shard_file import ShardFile
from .bounds import check_group, check_groups
from .decoded import DecodedRows
from .range_file import RangeFile
from .reader import Sample
from .values import Rows

_FOOTER_GUESS = 65536
_DICTIONARIES = -1  # where a record batch has its number


class _Opened(Rows):
    """A file with its dictionaries: all of them are in memory as long as it is open, so it is held as rows are."""

    def __init__(self, batches: pa.RecordBatchFileReader, size: int) -> None:
        self.batches, self.bytes = batches, size


class ArrowReader:
    """A `Reader`. `index`: which bytes to fetch for a row; what is read of the file, its own footer says.

    Only verified bytes are read, wherever footer and index point to. Buffers that are compressed are decompressed by
    Arrow when their batch is read, if what they say of themselves is not too large.
    """

    def __init__(
        self, shard: Shard, file: ShardFile, index: bytes, rows: DecodedRows, columns: Sequence[str] | None = None
    ) -> None:
        self._shard, self._file, self._rows = shard, file, rows
        try:
            self._table = BatchTable.decode(index, shard.samples, shard.bytes)
        except FormatError as error:
            raise FormatError(f"{shard.path}: {error.message}") from error
        self._starts: list[int] = self._table.first_rows.tolist()
        with self._errors("footer"):
            file.prefetch(max(shard.bytes - _FOOTER_GUESS, 0), shard.bytes, -1.0)
            self._dictionaries, self._blocks = blocks(self._bytes, shard.bytes)  # which bounds the footer, too
            batches = self._open()
            count = batches.num_record_batches
            check_columns(columns, batches.schema.names, shard.path)
        self._batches = None if self._dictionaries else batches
        if not count == len(self._blocks) == len(self._table.starts):
            raise FormatError(f"{shard.path} has {count} record batches, its index says {len(self._table.starts)}")
        self._columns = columns

    @property
    def held_bytes(self) -> int:
        """See `Reader.held_bytes`."""
        return self._shard.bytes

    def close(self) -> None:
        """See `Reader.close`."""
        self._rows.forget(self._shard.path, views=True)
        self._file.close()

    def _bytes(self, start: int, end: int) -> bytes:
        return self._file.copy(start, end)

    def _open(self) -> pa.RecordBatchFileReader:
        return pa.ipc.open_file(pa.PythonFile(RangeFile(self._file), mode="r"))

    def _with_dictionaries(self, _: int) -> Rows:
        with self._errors("dictionaries"):
            stored = sum(block.end - block.body for block in self._dictionaries)  # Arrow copies those that are deltas
            become = check_groups(decompressed_bytes(self._bytes, block) for block in self._dictionaries)
            return _Opened(self._open(), stored + become)

    def _opened(self) -> pa.RecordBatchFileReader:
        if self._batches is not None:
            return self._batches
        found = self._rows.get((self._shard.path, _DICTIONARIES), self._with_dictionaries, _DICTIONARIES)
        assert isinstance(found, _Opened)
        return found.batches

    def _batch_of(self, index: int) -> int:
        return bisect_right(self._starts, index) - 1

    def prefetch(self, index: int, urgency: float) -> int:
        """See `Reader.prefetch`."""
        batch = self._batch_of(index)
        if self._rows.knows((self._shard.path, batch)):
            return 0
        return self._file.prefetch(int(self._table.starts[batch]), int(self._table.ends[batch]), urgency)

    def sample(self, index: int) -> Sample:
        """Column → Python value; the key is `path#row`."""
        batch = self._batch_of(index)
        rows = self._rows.get((self._shard.path, batch), self._read, batch)
        try:
            found = rows.row(index - self._starts[batch])
        except (pa.ArrowException, ValueError, OverflowError) as error:
            raise SampleError(f"{self._shard.path}: its row {index} cannot be read: {error}") from error
        found["__key__"] = f"{self._shard.path}#{index}"
        return found

    def _read(self, batch: int) -> Rows:
        """Checked whole before a value is taken out: offsets that lie would be read out of bounds."""
        with self._errors(f"record batch {batch}"):
            check_group(decompressed_bytes(self._bytes, self._blocks[batch]))
            found = self._opened().get_batch(batch)  # the first one reads all dictionaries
            expected = self._starts[batch + 1] - self._starts[batch]
            if found.num_rows != expected:
                raise ValueError(f"it has {found.num_rows} rows, the index says {expected}")
            if self._columns is not None:
                found = found.select(list(self._columns))
            found.validate(full=True)
            return Rows(pa.Table.from_batches([found]))

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError, ValueError, FormatError) as error:
            raise SampleError(f"{self._shard.path}: its {what} cannot be read as Arrow: {error}") from error
