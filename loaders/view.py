"""`View`: what is iterated over: so many samples, the parameters of their order, and how to reach each."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ..storage.errors import ConfigError
from .epoch import Epoch
from .readers.parquet import DecodedRows, ParquetReader
from .readers.reader import Reader
from .readers.tar import TarReader
from .readers.tokens import TokenWindows
from .runtime import Runtime
from .shard_table import ShardTable
from .stream import Place

_DECODED_BYTES = 256 << 20
_MAX_OPEN = 256  # shards open at once
_FIRST_LOCATED = 64
_DESCRIPTORS = 6  # of an open shard: lease, data, marks, and what their maps hold


class View:
    """A dataset, or one partition of it, as samples 0 … samples-1."""

    def __init__(self, runtime: Runtime, partition: str | None, seq_len: int | None) -> None:
        self.runtime = runtime
        dataset = runtime.dataset
        head, part = dataset.head, dataset.partition(partition)
        self._shards = ShardTable(dataset, part)
        self.max_open = _max_open(self._shards.largest_bytes(), runtime.cache.max_bytes)
        epoch = Epoch.of(head, part, seq_len)
        self.parameters, self._first, self._windows = epoch.parameters, epoch.first, None
        if head.tokens is not None and seq_len is not None:
            open_shard = lru_cache(self.max_open)(runtime.open_shard)
            self._windows = TokenWindows(self._shards, open_shard, head.tokens.dtype, seq_len)
        self._format, self._located = head.shard_format, False
        self._rows = DecodedRows(_DECODED_BYTES)
        self.reader = lru_cache(self.max_open)(self._open)

    @property
    def samples(self) -> int:
        """How many there are."""
        return self.parameters.samples

    def windows(self) -> TokenWindows:
        """The windows of a token dataset."""
        if self._windows is None:
            raise ConfigError(f"a dataset of {self._format} shards has no tokens", hint="use IndexedDataset")
        return self._windows

    def locate(self, indices: npt.NDArray[np.int64]) -> Iterator[Place]:
        """Where each sample is. A token window may span shards: all windows have one reader, number 0."""
        if self._windows is not None:
            yield from (Place(index, 0, index) for index in indices.tolist())
            return
        # the first samples wait for the manifest pages of few, not of all
        at, size = 0, len(indices) if self._located else _FIRST_LOCATED
        while at < len(indices):
            part = indices[at : at + size] + self._first
            numbers, offsets = self._shards.locate(part)
            yield from map(Place, part.tolist(), numbers.tolist(), offsets.tolist())
            at, size = at + size, 4 * size
        self._located = True

    def _open(self, number: int) -> Reader:
        if self._windows is not None:
            return self._windows
        shard = self._shards.shard(number)
        if self._format == "tar":
            return TarReader(shard, self.runtime.open_shard(shard), self.runtime.index(shard))
        return ParquetReader(shard, self.runtime.open_shard(shard), self._rows)


def _max_open(largest: int, cache_bytes: int) -> int:
    """How many shards may be open: open ones cannot be evicted, and each takes descriptors."""
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    by_descriptors = _MAX_OPEN if descriptors == resource.RLIM_INFINITY else descriptors // (2 * _DESCRIPTORS)
    return max(1, min(_MAX_OPEN, by_descriptors, cache_bytes // largest - 1))  # one more is opened before one goes
