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
from .bounds import check_group
from .decoded import DecodedRows
from .range_file import RangeFile
from .reader import Sample
from .values import Rows

_FOOTER_GUESS = 65536


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
            self._batches = pa.ipc.open_file(pa.PythonFile(RangeFile(file), mode="r"))
            count = self._batches.num_record_batches
            check_columns(columns, self._batches.schema.names, shard.path)
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
            if self._dictionaries:  # Arrow reads all of them, before the first batch
                check_group(sum(decompressed_bytes(self._bytes, block) for block in self._dictionaries))
                self._dictionaries = []
            check_group(decompressed_bytes(self._bytes, self._blocks[batch]))
            found = self._batches.get_batch(batch)
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
