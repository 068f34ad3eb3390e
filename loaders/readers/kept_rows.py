"""`KeptRows`: the row groups of one shard, decoded, as an Arrow IPC file in the cache: mapped, not decoded again.

The file is written once all of the shard is here, by a thread, and by one process for all who share the cache. It takes
about twice what the shard does; where the budget of the cache has no room for it, the shard is read without.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate
from typing import Any

import pyarrow as pa

from ...storage.errors import HoldfastError
from ...storage.manifest import Shard
from ..decoded_files import AbandonedError, DecodedFile, DecodedFiles, finished
from .unfolded import check_unfolded
from .values import Rows

LOG = logging.getLogger("holdfast.cache")


class KeptRows:
    """For one thread. `columns`: those that are kept; another choice of them is another file."""

    def __init__(
        self, shard: Shard, columns: Sequence[str] | None, files: DecodedFiles, pool: ThreadPoolExecutor
    ) -> None:
        chosen = hashlib.sha256(json.dumps(columns and list(columns)).encode()).hexdigest()[:16]
        self._shard, self._files, self._pool, self._name = shard, files, pool, f"{shard.cid}-rows-{chosen}"
        self._job: Future[DecodedFile] | None = None
        self._file: DecodedFile | None = None
        self._batches: pa.RecordBatchFileReader | None = None
        self._ends: list[int] = []
        self._refused = self._closed = False  # refused: not tried again while the shard is open
        self._take(files.get(self._name))

    @property
    def here(self) -> bool:
        """Whether the rows can be had."""
        if self._job is not None and self._job.done():
            job, self._job = self._job, None
            self._refused = job.exception() is not None
            self._take(None if self._refused else job.result())
        return self._file is not None and not self._file.closed

    @property
    def held_bytes(self) -> int:
        """What it keeps in the cache."""
        return self._file.size if self._file is not None and not self._file.closed else 0

    @property
    def job(self) -> Future[DecodedFile] | None:
        """The one that writes the file, while it does."""
        return self._job

    @property
    def wanted(self) -> bool:
        """Whether somebody should call `keep`."""
        return self._job is None and not self.here and not self._refused

    def rows(self, first: int, count: int) -> Rows:
        """So many rows from this one on, out of the map. Raises `ArrowException` or `ValueError` for a rotten file."""
        assert self._batches is not None
        parts, at = [], bisect_right(self._ends, first)
        while count and at < len(self._ends):
            batch = self._batches.get_batch(at)
            start = first - (self._ends[at] - batch.num_rows)
            parts.append(batch.slice(start, count))
            count, first, at = count - parts[-1].num_rows, first + parts[-1].num_rows, at + 1
        if count:
            raise ValueError("rows are missing")
        table = pa.Table.from_batches(parts, self._batches.schema)
        table.validate(full=True)  # nobody hashed it since it was written
        return Rows(table)

    def forget(self) -> None:
        """It is rotten: let it be made again."""
        if self._file is not None:
            self._files.drop(self._name, self._file)
        self._file = self._batches = None

    def keep(self, size: int, tables: Callable[[], Iterator[pa.Table]]) -> None:
        """Write the file, in a thread: the row groups that `tables` decodes, about `size` bytes."""
        self._job = self._pool.submit(self._make, size, tables)

    def _make(self, size: int, tables: Callable[[], Iterator[pa.Table]]) -> DecodedFile:
        try:
            return self._files.make(self._name, max(size, 0), lambda: _ipc(self._while_open(tables())), needed=False)
        except (HoldfastError, pa.ArrowException, ValueError) as error:
            LOG.warning("the decoded rows of %s are not kept: %s", self._shard.path, error)
            raise

    def _while_open(self, tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
        for table in tables:
            if self._closed:
                raise AbandonedError
            yield table

    def close(self) -> None:
        """Give the lease back, and end what is being written. Idempotent."""
        self._closed = True
        for file in (finished(self._job), self._file):
            if file is not None:
                file.close()
        self._job = self._file = self._batches = None

    def _take(self, file: DecodedFile | None) -> None:
        if file is None:
            return
        if self._shard.bytes + file.size > self._files.max_bytes:  # of a run with another budget
            file.close()
            self._refused = True
            return
        try:
            batches = pa.ipc.open_file(pa.BufferReader(pa.py_buffer(file.view(0, file.size))))
            counts = [batches.get_batch(at).num_rows for at in range(batches.num_record_batches)]
        except (pa.ArrowException, OSError, ValueError):
            self._files.drop(self._name, file)
            return
        self._file, self._batches, self._ends = file, batches, list(accumulate(counts))


class _Sink(io.RawIOBase):
    """Takes what Arrow writes, to be passed on piece by piece."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.parts.append(bytes(data))
        return len(self.parts[-1])


def _ipc(tables: Iterator[pa.Table]) -> Iterator[bytes]:
    sink, writer = _Sink(), None
    for table in tables:
        check_unfolded(table, whole=True)
        plain = table.cast(pa.schema([field.with_type(_plain(field.type)) for field in table.schema]))
        if writer is None:
            writer = pa.ipc.new_file(sink, plain.schema)
        writer.write_table(plain.combine_chunks())
        yield from sink.parts
        sink.parts.clear()
    if writer is not None:
        writer.close()
    yield from sink.parts


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type without dictionaries: an IPC file has one each for all its batches, and row groups bring theirs."""
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_map(kind):
        return pa.map_(_plain(kind.key_type), _plain(kind.item_type), kind.keys_sorted)
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(_plain(kind.value_type)), kind.list_size)
    for is_list, make in ((pa.types.is_list, pa.list_), (pa.types.is_large_list, pa.large_list)):
        if is_list(kind):
            return make(kind.value_field.with_type(_plain(kind.value_type)))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_plain(field.type)) for field in kind])
    return kind
