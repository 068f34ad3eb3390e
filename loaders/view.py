"""`View`: what is iterated over: so many samples, the parameters of their order, and how to reach each."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ..storage.errors import ConfigError
from ..storage.manifest import Shard
from ..storage.shards.tokens import window_count
from .order import OrderParameters
from .readers.parquet import DecodedRows, ParquetReader
from .readers.reader import Reader
from .readers.tar import TarReader
from .readers.tokens import TokenWindows
from .runtime import Runtime

_DECODED_BYTES = 256 << 20
_MAX_OPEN = 256  # shards open at once; what is waited for stays open beyond that


class View:
    """A dataset, or one partition of it, as samples 0 … samples-1."""

    def __init__(self, runtime: Runtime, partition: str | None, seq_len: int | None) -> None:
        self.runtime = runtime
        dataset = runtime.dataset
        head, part = dataset.head, dataset.partition(partition)
        self._shards = [shard for shard in dataset.shards(partition) if shard.samples]
        run, self._first, self._windows = head.order.run, part.first_sample, None
        self.samples = part.samples
        if head.shard_format == "tokens":
            if seq_len is None or seq_len < 1:
                raise ConfigError(f"a token dataset needs seq_len (got {seq_len})", hint="pass seq_len=2048, say")
            assert head.tokens is not None
            open_shard = lru_cache(_MAX_OPEN)(runtime.open_shard)
            self._windows = TokenWindows(self._shards, open_shard, head.tokens.dtype, seq_len)
            self._first, self.samples, run = 0, window_count(part.samples, seq_len), max(1, run // seq_len)
        elif seq_len is not None:
            raise ConfigError(f"seq_len is for token datasets; this one is {head.shard_format}")
        self.parameters = OrderParameters(self.samples, run, head.order.block, head.order.lanes)
        self._starts = np.array([shard.first_sample for shard in self._shards], dtype=np.int64)
        self._format = head.shard_format
        self._rows = DecodedRows(_DECODED_BYTES)
        self._reader = lru_cache(_MAX_OPEN)(self._open)

    def locate(self, indices: npt.NDArray[np.int64]) -> Iterator[tuple[int, Reader, int]]:
        """(global index, reader, number in the reader) of each; a shard is opened when its first sample is due."""
        if self._windows is not None:
            yield from ((index, self._windows, index) for index in indices.tolist())
            return
        indices = indices + self._first
        numbers = np.searchsorted(self._starts, indices, side="right") - 1
        places = indices - self._starts[numbers]
        for index, number, place in zip(indices.tolist(), numbers.tolist(), places.tolist(), strict=True):
            yield index, self._reader(number), place

    def _open(self, number: int) -> Reader:
        shard: Shard = self._shards[number]
        if self._format == "tar":
            return TarReader(shard, self.runtime.open_shard(shard), self.runtime.index(shard))
        return ParquetReader(shard, self.runtime.open_shard(shard), self._rows)
