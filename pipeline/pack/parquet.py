"""Write rows into parquet shards: zstd, row groups of one size, cut where the input says, not the machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from ...storage.blocks.verified_file import disk_error
from ...storage.errors import FileChangedError
from .packed import START, Lookup, Packed
from .rows import RowSource


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
    shard_size: int,
    new_file: Callable[[str], Path],
    on_bytes: Callable[[int], None],
    key_of: Callable[[int], bytes | None] = lambda _: None,
    lookup: Lookup = lambda _: None,
) -> Iterator[Packed]:
    """Write the shards, one after the other; a second thread compresses while this one reads.

    A shard is cut before the row group that would take its rows above `shard_size` bytes. Those that `lookup` knows
    by the key of their number are not written again, and their rows not parsed.
    """
    number, at = 0, START
    while (key := key_of(number)) is not None and (known := lookup(key)) is not None:
        yield known
        number, at = number + 1, known.position
    used = 0
    shard: ShardWriter | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="parquet") as pool:
        writing = None
        try:
            for table, raw_bytes, end in rows.tables(rows.size.rows_per_group(), at):
                if writing is not None:
                    writing.result()
                if shard is not None and used + raw_bytes > shard_size:
                    yield Packed(shard.finish(), key_of(number), at)
                    number += 1
                    shard, used = None, 0
                if shard is None:
                    shard = ShardWriter(new_file(".parquet"), rows)
                writing = pool.submit(shard.write, table)
                at = end
                used += raw_bytes
                on_bytes(raw_bytes)
            if writing is not None:
                writing.result()
            if at.rows != rows.size.rows:
                raise FileChangedError(
                    f"the source had {rows.size.rows} rows and now has {at.rows}",
                    hint="publish again when it no longer changes",
                )
            if shard is not None:
                yield Packed(shard.finish(), key_of(number), at)
        finally:
            pool.shutdown()
            if shard is not None:
                shard.abandon()
