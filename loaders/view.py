"""`View`: what is iterated over: so many samples, the parameters of their order, and how to reach each."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import wait
from functools import lru_cache
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from ..storage.errors import ConfigError
from .batches import Columns
from .columns import check_columnar
from .epoch import Epoch
from .readers.open_readers import OpenReaders
from .readers.opener import Opener
from .readers.reader import Members, Reader
from .readers.tar_columns import TarColumns
from .readers.tar_tensors import TensorTarReader
from .readers.token_columns import TokenColumns
from .readers.tokens import TokenWindows
from .runtime import Runtime
from .shard_table import ShardTable
from .stream import Place

if TYPE_CHECKING:
    from .readers.parquet import ParquetReader

_MAX_OPEN = 256  # shards open at once
_OPEN_FACTOR = {"tar.zst": 5, "jsonl.zst": 5}  # a guess until one is open: text is about four times its zstd
_FIRST_LOCATED = 64
_DESCRIPTORS = 6  # of an open shard: lease, data, marks, and what their maps hold


class View:
    """A dataset, or one partition of it, as samples 0 … samples-1."""

    def __init__(
        self,
        runtime: Runtime,
        partition: str | None,
        seq_len: int | None,
        columns: Sequence[str] | None = None,
        *,
        members: Members = "bytes",
        keeps: bool = False,
        sharers: int = 1,
    ) -> None:
        self.runtime = runtime
        dataset = runtime.dataset
        head, part = dataset.head, dataset.partition(partition)
        self._shards = ShardTable(dataset, part)
        check_columnar(columns, head.shard_format)
        large = _OPEN_FACTOR.get(head.shard_format, 1) * self._shards.largest_bytes()
        epoch = Epoch.of(head, part, seq_len)
        self.parameters, self._first, self._windows = epoch.parameters, epoch.first, None
        if head.tokens is not None and seq_len is not None:
            # one more is opened before one goes
            fit = max(1, min(_max_open(), runtime.cache.max_bytes // large - 1))
            open_shard = lru_cache(fit)(runtime.open_shard)
            self._windows = TokenWindows(self._shards, open_shard, head.tokens.dtype, seq_len)
        self._format, self._members, self._located = head.shard_format, members, False
        self._opener = Opener(runtime, head.shard_format, columns, members=members, keeps=keeps)
        # what workers decode may differ from one to the other; shards themselves they read at the same time
        share = sharers if keeps or head.shard_format in _OPEN_FACTOR else 1
        self.reader = OpenReaders(self._open, self._expected, _max_open(), runtime.cache.max_bytes // share, large)

    @property
    def samples(self) -> int:
        """How many there are."""
        return self.parameters.samples

    @property
    def ahead(self) -> int:
        """Of how many shards samples may be asked for ahead."""
        return self.reader.ahead

    def is_open(self, shard: int) -> bool:
        """Whether samples of a shard can be asked for without waiting. Windows open theirs by themselves."""
        return self._windows is not None or self.reader.is_open(shard)

    def columns(self) -> Columns | None:
        """The samples as columns, if their format has any."""
        if self._windows is not None:
            return TokenColumns(self._windows)
        if self._format in ("tar", "tar.zst") and self._members == "uint8":
            tars = cast(Callable[[int], TensorTarReader], self.reader)
            return TarColumns(self._shards, self._first, tars, lambda: self.ahead)
        if self._format != "parquet":
            return None
        from .readers.parquet_columns import ParquetColumns

        reader = cast("Callable[[int], ParquetReader]", self.reader)
        return ParquetColumns(self._shards, self._first, reader, self.reader.is_open)

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

    def shard_path(self, sample: int) -> str:
        """The shard that holds a sample, by the number that samples carry: for messages."""
        if self._windows is not None:
            return "tokens"
        return self._shards.shard(int(self._shards.locate(np.array([sample]))[0][0])).path

    def _open(self, number: int) -> Reader:
        if self._windows is not None:
            return self._windows
        return self._opener.open(self._shards.shard(number))

    def _expected(self, number: int) -> int:
        return 0 if self._windows is not None else self._shards.shard(number).bytes

    def begin(self) -> None:
        """A pass begins: what an abandoned one wanted is forgotten, and so is which shards could not be opened."""
        self.reader.begin()
        self._opener.begin()

    def keep(self, wait_s: float) -> None:
        """Have the decoded rows of shards that are open, and here whole, kept for the next pass. Waits so long."""
        if self._format != "parquet":
            return
        from .readers.parquet import ParquetReader

        jobs = (reader.keeping() for reader in self.reader.open if isinstance(reader, ParquetReader))
        wait([job for job in jobs if job is not None], wait_s)

    def close(self) -> None:
        """Close what is open. Idempotent."""
        self.reader.close()


def _max_open() -> int:
    """How many shards may be open: each takes descriptors."""
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    by_descriptors = _MAX_OPEN if descriptors == resource.RLIM_INFINITY else descriptors // (2 * _DESCRIPTORS)
    return max(1, min(_MAX_OPEN, by_descriptors))
