"""`IndexedDataset`: any sample of a published dataset by its number, verified; only the leaves it needs are read."""

from __future__ import annotations

import operator
import os
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
from torch.utils.data import Dataset

from ..storage.manifest import Head
from ..storage.session import SourcesArgument
from .access import Access
from .decode import Decode
from .stats import LoaderStats


class IndexedDataset(Dataset[Any]):
    """Map style: `len`, `[i]`, `[a:b]`, and `__getitems__` for torch's samplers, which asks for a whole batch at once.

    The arguments are those of `StreamingDataset`; the order is up to whoever asks. Raises what it raises, and
    `IndexError` outside 0 … len - 1 (negative numbers count from the end). A sample that cannot be built is a
    `SampleError`, always: whoever asks for a number gets that sample, or learns why not.
    """

    def __init__(
        self,
        uri: str,
        *,
        sources: SourcesArgument = None,
        cache: str | os.PathLike[str] | None = None,
        cache_bytes: int | None = None,
        decode: Decode = None,
        partition: str | None = None,
        seq_len: int | None = None,
        prefetch_bytes: int = 64 << 20,
        deadline_s: float | None = None,
        reverify: bool = False,
        allow_net: Sequence[str] = (),
        columns: Sequence[str] | None = None,
        decoded_cache: bool = False,
    ) -> None:
        self._access = Access(
            uri, sources=sources, cache=cache, cache_bytes=cache_bytes, decode=decode, partition=partition,
            seq_len=seq_len, prefetch_bytes=prefetch_bytes, deadline_s=deadline_s, reverify=reverify,
            allow_net=allow_net, columns=columns, decoded_cache=decoded_cache,
        )  # fmt: skip

    def __len__(self) -> int:
        """Samples of the dataset, or of the partition."""
        return self._access.view().samples

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self.__getitems__(range(*index.indices(len(self))))
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Several samples, in the order asked for: what they need is fetched together."""
        size = len(self)
        numbers = [operator.index(index) for index in indices]
        for number in numbers:
            if not -size <= number < size:
                raise IndexError(f"sample {number} of {size}")
        wanted = np.array([number % size for number in numbers], dtype=np.int64)
        return list(self._access.samples(iter([wanted])))

    @property
    def head(self) -> Head:
        """`dataset.json`: counts, columns, partitions."""
        return self._access.head

    def stats(self) -> LoaderStats:
        """What this process has read so far; workers count for themselves, a fetcher for all of them."""
        return self._access.stats()

    def close(self) -> None:
        """End this process's threads and connections. The next read opens them again."""
        self._access.close()
