"""Write rows into parquet shards: zstd, row groups of one size, cut where the input says, not the machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from ...storage.blocks.verified_file import disk_error
from .packed import Lookup, Packed
from .rows import RowSource
from .span import Span


class ShardWriter:
    """One parquet file of ours. Its errors are our disk's."""

    def __init__(self, path: Path, rows: RowSource) -> None:
        self.path, self._rows = path, rows
        self._file: BinaryIO | None = None
        self._writer: pq.ParquetWriter | None = None

    def write(self, table: pa.Table) -> None:
        """Append a row group."""
        try:
            if self._writer is None:
                self._file = self.path.open("xb")
                self._writer = pq.ParquetWriter(
                    self._file, self._rows.schema, compression="zstd", compression_level=3, version="2.6",
                    use_dictionary=self._rows.dictionary, write_statistics=self._rows.dictionary,
                )  # fmt: skip
            self._writer.write_table(table, row_group_size=max(1, table.num_rows))
        except OSError as error:
            raise disk_error(error, self.path) from error

    def finish(self) -> Path:
        """Write the footer, durably."""
        assert self._writer is not None
        assert self._file is not None
        try:
            self._writer.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        except OSError as error:
            raise disk_error(error, self.path) from error
        return self.path

    def abandon(self) -> None:
        """Close without caring what the file holds. Idempotent, also after `finish`."""
        with suppress(OSError, pa.ArrowException):
            if self._writer is not None:
                self._writer.close()
        with suppress(OSError):
            if self._file is not None:
                self._file.close()


def pack_rows(
    rows: RowSource,
    spans: Iterable[Span],
    new_file: Callable[[str], Path],
    on_bytes: Callable[[int], None],
    lookup: Lookup = lambda _: None,
) -> Iterator[Packed]:
    """Write a shard for each span, in order; a second thread compresses while this one reads.

    Those that `lookup` knows by their key are not written again, and their rows not parsed.
    """
    found = ((span, lookup(span.key) if span.key is not None else None) for span in spans)
    for is_known, group in groupby(found, key=lambda each: each[1] is not None):
        if not is_known:
            yield from _write(rows, (span for span, _ in group), new_file, on_bytes)
            continue
        for span, packed in group:
            assert packed is not None
            on_bytes(span.raw_bytes)
            yield packed


def _write(
    rows: RowSource, spans: Iterable[Span], new_file: Callable[[str], Path], on_bytes: Callable[[int], None]
) -> Iterator[Packed]:
    shard: ShardWriter | None = None
    current: Span | None = None
    writing: Future[None] | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="parquet") as pool:
        try:
            for span, table, raw_bytes in rows.tables(spans, rows.size.rows_per_group()):
                if writing is not None:
                    writing.result()
                if span is not current:
                    if shard is not None and current is not None:
                        yield Packed(shard.finish(), current.key)
                    shard, current = ShardWriter(new_file(".parquet"), rows), span
                assert shard is not None
                writing = pool.submit(shard.write, table)
                on_bytes(raw_bytes)
            if writing is not None:
                writing.result()
            if shard is not None and current is not None:
                yield Packed(shard.finish(), current.key)
        finally:
            pool.shutdown()
            if shard is not None:
                shard.abandon()
