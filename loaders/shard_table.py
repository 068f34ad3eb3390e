"""`ShardTable`: which shard holds a sample, in one partition or all. Manifest pages are fetched when needed."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ..storage.dataset import Dataset
from ..storage.manifest import PAGE_SHARDS, Partition, Shard

_MAX_READ = 4096  # shards whose lines were read; some KB each


class ShardTable:
    """Shards by their number in the dataset (`shard`). `first`, `end`: the samples of the partition."""

    def __init__(self, dataset: Dataset, part: Partition) -> None:
        self._dataset = dataset
        self.first, self.end = part.first_sample, part.first_sample + part.samples
        self._pages = np.array(dataset.head.pages, dtype=np.int64)
        self._starts: dict[int, list[int]] = {}  # of the pages that `spans` met
        self.shard = lru_cache(_MAX_READ)(self._shard)

    def _shard(self, number: int) -> Shard:
        return self._dataset.page(number // PAGE_SHARDS)[number % PAGE_SHARDS]

    def locate(self, samples: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """For each sample (int64, numbers in the dataset): the number of its shard, and its own number therein."""
        pages = self._page_of(samples)
        numbers = np.empty_like(samples)
        offsets = np.empty_like(samples)
        for page in set(pages.tolist()):
            here = pages == page
            starts = np.frombuffer(self._dataset.page(page).starts, dtype=np.int64)
            # of shards without samples, which start where the next one does, the last is the one
            within = np.searchsorted(starts[:-1], samples[here], side="right") - 1
            numbers[here] = within + page * PAGE_SHARDS
            offsets[here] = samples[here] - starts[within]
        return numbers, offsets

    def spans(self, first: int, last: int) -> Iterator[tuple[Shard, int, int]]:
        """The shards that hold the samples [first, last), with the samples of each that are among them."""
        while first < last:
            page = bisect_right(self._dataset.head.pages, first) - 1
            starts = self._starts.get(page) or self._starts.setdefault(page, self._dataset.page(page).starts.tolist())
            within = bisect_right(starts, first, 0, len(starts) - 1) - 1
            start, end = starts[within], min(starts[within + 1], last)
            yield self.shard(page * PAGE_SHARDS + within), first - start, end - start
            first = end

    def largest_bytes(self) -> int:
        """Bytes of a large shard: the largest of the partition's first page, or the average of all if that is more."""
        head = self._dataset.head
        if not head.shards:
            return 1
        page = self._dataset.page(int(self._page_of(np.array([min(self.first, max(head.samples - 1, 0))]))[0]))
        return max(page.largest, head.bytes // head.shards, 1)

    def _page_of(self, samples: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return np.searchsorted(self._pages, samples, side="right") - 1
