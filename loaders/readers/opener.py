"""`Opener`: the reader of a shard, by the format of the dataset.

What reads rows is imported when there are some: pyarrow takes 30 MB of every process, and tars and tokens need none.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ...storage.errors import UnsupportedError
from ...storage.manifest import Shard, ShardFormat
from ..runtime import Runtime
from .jsonl import JsonlReader
from .offsets import offsets_of
from .reader import Members, Ranges, Reader
from .tar import TarReader
from .tar_tensors import TensorTarReader

if TYPE_CHECKING:
    from .decoded import DecodedRows

_DECODED_BYTES = 256 << 20
_THREADS = 2  # that decompress shards ahead, or keep decoded rows


class Opener:
    """For one process, and one thread of it."""

    def __init__(
        self,
        runtime: Runtime,
        format_: ShardFormat,
        columns: Sequence[str] | None,
        *,
        members: Members = "bytes",
        keeps: bool = False,
    ) -> None:
        self._runtime, self._format, self._columns, self._members = runtime, format_, columns, members
        self._keeps = keeps
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="decompress")

    @cached_property
    def _rows(self) -> DecodedRows:
        from .decoded import DecodedRows

        return DecodedRows(_DECODED_BYTES)

    def begin(self) -> None:
        """A pass begins: see `DecodedRows.begin`."""
        if "_rows" in self.__dict__:
            self._rows.begin()

    def open(self, shard: Shard) -> Reader:
        """A reader of the shard, which is open and leased while the reader is."""
        runtime = self._runtime
        match self._format:
            case "tar":
                offsets = offsets_of(shard, runtime.index(shard), shard.bytes)
                return self._tar(shard, runtime.open_shard(shard), offsets)
            case "parquet":
                from .kept_rows import KeptRows
                from .parquet import ParquetReader

                kept = KeptRows(shard, self._columns, runtime.decoded, self._pool) if self._keeps else None
                return ParquetReader(shard, runtime.open_shard(shard), self._rows, self._columns, kept)
            case "arrow":
                from .arrow import ArrowReader

                return ArrowReader(shard, runtime.open_shard(shard), runtime.index(shard), self._rows, self._columns)
            case "tar.zst" | "jsonl.zst":
                from ..decompressed import DecompressedShard

                offsets = offsets_of(shard, runtime.index(shard), None)
                size = int(offsets[-1])
                whole = DecompressedShard(shard, size, partial(runtime.open_shard, shard), runtime.decoded, self._pool)
                if self._format == "jsonl.zst":
                    return JsonlReader(shard, whole, offsets, beside=size)
                return self._tar(shard, whole, offsets, beside=size)
            case _:
                raise UnsupportedError(f"{shard.path} is no shard of samples: its format is {self._format}")

    def _tar(self, shard: Shard, file: Ranges, offsets: npt.NDArray[np.uint64], beside: int = 0) -> TarReader:
        if self._members == "uint8":
            return TensorTarReader(shard, file, offsets, beside=beside)
        return TarReader(shard, file, offsets, views=self._members == "memoryview", beside=beside)
