"""`View`: what is iterated over: so many samples, the parameters of their order, and how to reach each."""

from __future__ import annotations

import resource
from collections.abc import Iterator, Sequence
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
from .stream import Place

_DECODED_BYTES = 256 << 20
_MAX_OPEN = 256  # shards open at once
_DESCRIPTORS = 6  # of an open shard: lease, data, marks, and what their maps hold


class View:
    """A dataset, or one partition of it, as samples 0 … samples-1."""

    def __init__(self, runtime: Runtime, partition: str | None, seq_len: int | None) -> None:
        self.runtime = runtime
        dataset = runtime.dataset
        head, part = dataset.head, dataset.partition(partition)
        self._shards = [shard for shard in dataset.shards(partition) if shard.samples]
        self.max_open = _max_open(self._shards, runtime.cache.max_bytes)
        run, self._first, self._windows = head.order.run, part.first_sample, None
        self.samples = part.samples
        if head.shard_format == "tokens":
            if seq_len is None or seq_len < 1:
                raise ConfigError(f"a token dataset needs seq_len (got {seq_len})", hint="pass seq_len=2048, say")
            assert head.tokens is not None
            open_shard = lru_cache(self.max_open)(runtime.open_shard)
            self._windows = TokenWindows(self._shards, open_shard, head.tokens.dtype, seq_len)
            self._first, self.samples, run = 0, window_count(part.samples, seq_len), max(1, run // seq_len)
        elif seq_len is not None:
            raise ConfigError(f"seq_len is for token datasets; this one is {head.shard_format}")
        self.parameters = OrderParameters(self.samples, run, head.order.block, head.order.lanes)
        self._starts = np.array([shard.first_sample for shard in self._shards], dtype=np.int64)
        self._format = head.shard_format
        self._rows = DecodedRows(_DECODED_BYTES)
        self.reader = lru_cache(self.max_open)(self._open)

    def locate(self, indices: npt.NDArray[np.int64]) -> Iterator[Place]:
        """Where each sample is. A token window may span shards: all windows have one reader, number 0."""
        if self._windows is not None:
            yield from (Place(index, 0, index) for index in indices.tolist())
            return
        indices = indices + self._first
        numbers = np.searchsorted(self._starts, indices, side="right") - 1
        yield from map(Place, indices.tolist(), numbers.tolist(), (indices - self._starts[numbers]).tolist())

    def _open(self, number: int) -> Reader:
        if self._windows is not None:
            return self._windows
        shard = self._shards[number]
        if self._format == "tar":
            return TarReader(shard, self.runtime.open_shard(shard), self.runtime.index(shard))
        return ParquetReader(shard, self.runtime.open_shard(shard), self._rows)


def _max_open(shards: Sequence[Shard], cache_bytes: int) -> int:
    """How many shards may be open: open ones cannot be evicted, and each takes descriptors."""
    largest = max((shard.bytes for shard in shards), default=1)
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    by_descriptors = _MAX_OPEN if descriptors == resource.RLIM_INFINITY else descriptors // (2 * _DESCRIPTORS)
    return max(
        1, min(_MAX_OPEN, by_descriptors, cache_bytes // max(largest, 1) - 1)
    )  # one more is opened before one goes
