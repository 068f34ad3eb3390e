"""`ParquetReader`: rows of a parquet shard. A row group is decoded once, while it is among the last used."""

from __future__ import annotations

import re
import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ...storage.errors import FormatError
from ...storage.manifest import Shard
from ...storage.shards.parquet import read_pages
from ..columns import check_columns
from ..errors import SampleError
from ..shard_file import ShardFile
from .bounds import MAX_FOOTER_BYTES, check_group
from .decoded import Decode, DecodedRows
from .group_size import GroupSize, size_of
from .kept_rows import KeptRows
from .range_file import RangeFile, SpanFile
from .reader import Sample
from .values import Rows

_FOOTER_GUESS = 65536  # most footers fit: one wait instead of two
_LOOK_EVERY = 16  # row groups that were read, between looks whether all of the shard is here
_OLD_WRITERS = re.compile(r"parquet-(mr|cpp) version (0|1\.[0-2])\b")
_OLD_PADDING = 100  # bytes that Arrow reads behind a chunk of theirs, for its length was wrong (PARQUET-816)
_TAIL = struct.Struct("<I4s")  # length of the footer, magic

Span = tuple[int, int]
UNREADABLE = (pa.ArrowException, ValueError, OverflowError)  # a text that is not UTF-8; a year 10,000


class ParquetReader:
    """A `Reader`. `columns`: those that samples have; the others are neither fetched nor decoded. None: all.

    `kept`: where decoded rows are kept for the next pass, if they are.
    """

    def __init__(
        self,
        shard: Shard,
        file: ShardFile,
        rows: DecodedRows,
        columns: Sequence[str] | None = None,
        kept: KeptRows | None = None,
    ) -> None:
        self._shard, self._file, self._rows, self._kept = shard, file, rows, kept
        self._path = shard.path
        self._met: set[int] = set()  # row groups that were read
        self._columns = None if columns is None else list(columns)
        with self._errors("footer"):
            file.prefetch(max(shard.bytes - _FOOTER_GUESS, 0), shard.bytes, -1.0)
            _check_footer(file.copy(max(shard.bytes - _TAIL.size, 0), shard.bytes))
            parquet = pq.ParquetFile(pa.PythonFile(RangeFile(file), mode="r"))
            self._metadata = parquet.metadata
            self._padding = _OLD_PADDING if _OLD_WRITERS.match(self._metadata.created_by or "") else 0
            check_columns(columns, parquet.schema_arrow.names, shard.path)
            self._leaves = [parquet.schema.column(at) for at in range(len(parquet.schema))]
            self._numbers = self._chosen()
            groups = [self._metadata.row_group(number) for number in range(self._metadata.num_row_groups)]
            self._starts = list(accumulate((group.num_rows for group in groups), initial=0))
            self._firsts = np.array(self._starts, dtype=np.int64)
            self._spans = [self._spans_of(group) for group in groups]
            # as the footer says; only for what is decoded ahead, which is counted as it is when it has come
            self._sizes = [
                sum(max(chunk.total_uncompressed_size, 0) for chunk in self._chunks(group)) for group in groups
            ]
        self._keys = [(shard.path, group) for group in range(len(groups))]
        if self._starts[-1] != shard.samples:
            raise FormatError(f"{shard.path} has {self._starts[-1]} rows, the manifest says {shard.samples}")

    def _chosen(self) -> list[int]:
        """The numbers of the leaf columns that are read: by the rule that Arrow finds columns by their names."""
        if self._columns is None:
            return list(range(len(self._leaves)))
        wanted = [(name, f"{name}.") for name in self._columns]
        return [
            at
            for at, leaf in enumerate(self._leaves)
            if any(leaf.path == name or leaf.path.startswith(prefix) for name, prefix in wanted)
        ]

    def _chunks(self, group: Any) -> list[Any]:
        """The column chunks of a row group that are read."""
        if group.num_columns != len(self._leaves):
            raise ValueError(f"a row group has {group.num_columns} columns, the schema {len(self._leaves)}")
        return [group.column(at) for at in self._numbers]

    def _spans_of(self, group: Any) -> list[Span]:
        """The bytes of the chunks, those that follow each other as one."""
        spans: list[Span] = []
        for start, end in sorted(_span(chunk, self._padding, self._shard.bytes) for chunk in self._chunks(group)):
            if spans and start <= spans[-1][1]:
                spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
            else:
                spans.append((start, end))
        return spans

    @property
    def held_bytes(self) -> int:
        """See `Reader.held_bytes`."""
        return self._shard.bytes + (self._kept.held_bytes if self._kept is not None else 0)

    def close(self) -> None:
        """See `Reader.close`."""
        self._rows.forget(self._shard.path, views=self._kept is not None)
        if self._kept is not None:
            self._kept.close()  # it looks into the file
        self._file.close()

    def _group_of(self, index: int) -> int:
        return bisect_right(self._starts, index) - 1

    def places_of(self, rows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The row group of each row, and its number therein."""
        groups = self._firsts.searchsorted(rows, side="right") - 1
        return groups, rows - self._firsts[groups]

    def key(self, index: int) -> str:
        """`path#row`."""
        return f"{self._path}#{index}"

    def prefetch(self, index: int, urgency: float) -> int:
        """See `Reader.prefetch`."""
        return self.prefetch_group(self._group_of(index), urgency)

    def prefetch_group(self, group: int, urgency: float) -> int:
        """Ask for the bytes of a row group; how many had to be asked for. What is here already is decoded ahead."""
        key = self._keys[group]
        if self._rows.knows(key) or (self._kept is not None and self._kept.here):
            return 0
        asked = sum(self._file.prefetch(*span, urgency) for span in self._spans[group])
        if not asked:
            self._rows.want(key, self._sizes[group], partial(self._decode_if_here, group))
        return asked

    def _decode_if_here(self, group: int) -> Decode | None:
        if not all(self._file.holds(*span) for span in self._spans[group]):
            return None
        return partial(self._decode, group, self._parts(group))

    def _parts(self, group: int) -> list[tuple[int, memoryview]]:
        return [(start, memoryview(self._file.copy(start, end))) for start, end in self._spans[group]]

    def sample(self, index: int) -> Sample:
        """Column → Python value; the key is `path#row`."""
        group = self._group_of(index)
        try:
            found = self.rows(group).row(index - self._starts[group])
        except UNREADABLE as error:
            raise SampleError(f"{self._shard.path}: its row {index} cannot be read: {error}") from error
        found["__key__"] = self.key(index)
        return found

    def spend(self, group: int, rows: Rows) -> None:
        """See `DecodedRows.spend`."""
        self._rows.spend(self._keys[group], rows)

    def rows(self, group: int) -> Rows:
        """A row group, decoded. Waits; raises `SampleError` for one that cannot be."""
        if self._kept is not None and group not in self._met:
            self._met.add(group)
            self._keep(self._kept)
        return self._rows.get(self._keys[group], self._load, group)

    def _load(self, group: int) -> Rows:
        kept = self._kept
        if kept is not None and kept.here:
            try:
                return kept.rows(self._starts[group], self._starts[group + 1] - self._starts[group])
            except (pa.ArrowException, ValueError):
                kept.forget()
        return self._decode(group, self._parts(group))

    def _keep(self, kept: KeptRows) -> None:
        """Once all of the shard is here, keep what it holds decoded. Looks now and then."""
        count, filled = len(self._met), len(set(self._starts)) - 1  # nobody reads a group without rows
        if count % _LOOK_EVERY == 0 or count >= filled:
            self._keep_now(kept)

    def keeping(self) -> Future[Any] | None:
        """What is being kept for the next pass just now, begun here and now if all of the shard is here."""
        if self._kept is None:
            return None
        self._keep_now(self._kept)
        return self._kept.job

    def _keep_now(self, kept: KeptRows) -> None:
        groups = range(len(self._spans))
        if kept.wanted and all(self._file.holds(*span) for group in groups for span in self._spans[group]):
            # views: as many shards may wait for a thread as are open, and copies of all would take too much
            parts = [[(start, self._file.read(start, end)) for start, end in self._spans[group]] for group in groups]
            kept.keep(sum(self._sizes), lambda: (self._table(group, parts[group]) for group in groups))

    def _decode(self, group: int, parts: list[tuple[int, memoryview]]) -> Rows:
        with self._errors(f"row group {group}"):
            return Rows(self._table(group, parts))

    def _table(self, group: int, parts: list[tuple[int, memoryview]]) -> pa.Table:
        """Any thread may do it: it has a file of its own, and touches nothing of the reader that changes."""
        with self._errors(f"row group {group}"):
            size = self._size(group, parts)
            file = pa.PythonFile(SpanFile(parts, self._shard.bytes), mode="r")
            parquet = pq.ParquetFile(file, metadata=self._metadata, read_dictionary=size.folded)
            if size.batch_rows:
                return self._in_batches(parquet, group, size.batch_rows)
            return parquet.read_row_group(group, columns=self._columns, use_threads=False)

    def _size(self, group: int, parts: list[tuple[int, memoryview]]) -> GroupSize:
        """How the group is to be decoded. Raises `FormatError` or `ValueError` for one that may become too large."""
        about, file = self._metadata.row_group(group), SpanFile(parts, self._shard.bytes)
        chunks = []
        for number, chunk in zip(self._numbers, self._chunks(about), strict=True):
            start, end = _span(chunk, self._padding, self._shard.bytes)
            chunks.append((self._leaves[number], read_pages(file.view(start, end), chunk.num_values)))
        return size_of(chunks)

    def _in_batches(self, parquet: pq.ParquetFile, group: int, rows: int) -> pa.Table:
        """Half as fast again, but it notices what grows too large."""
        batches, size = [], 0
        for batch in parquet.iter_batches(rows, row_groups=[group], columns=self._columns, use_threads=False):
            batches.append(batch)
            size += batch.nbytes
            check_group(size)
        return pa.Table.from_batches(batches, batches[0].schema if batches else parquet.schema_arrow)

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError, ValueError, FormatError) as error:
            raise SampleError(f"{self._shard.path}: its {what} cannot be read as parquet: {error}") from error


def _check_footer(tail: bytes) -> None:
    """Raises `ValueError` for a footer that would be read, and unfolded, into too much memory."""
    if len(tail) == _TAIL.size and (size := _TAIL.unpack(tail)[0]) > MAX_FOOTER_BYTES:
        raise ValueError(f"it has {size} bytes, more than {MAX_FOOTER_BYTES}")


def _span(chunk: Any, padding: int, size: int) -> Span:
    start = chunk.data_page_offset
    if chunk.dictionary_page_offset:  # some writers say 0 for none
        start = min(start, chunk.dictionary_page_offset)
    return max(start, 0), max(min(start + chunk.total_compressed_size + padding, size), 0)
