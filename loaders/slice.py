"""`Slice`: the part of an epoch's positions that one worker of one rank delivers. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .order import rank_positions


@dataclass(frozen=True, slots=True)
class Slice:
    """Rank `rank` of `world_size` takes positions p with p mod world_size == rank; torch deals its batches to the
    workers round robin, so worker w delivers batches w, w + workers, …
    """

    samples: int
    rank: int = 0
    world_size: int = 1
    worker: int = 0
    workers: int = 1
    batch_size: int = 1

    @property
    def rank_samples(self) -> int:
        """How many samples the rank has in the epoch."""
        return max(0, -(-(self.samples - self.rank) // self.world_size))

    def positions(self, chunk: int = 4096) -> Iterator[npt.NDArray[np.int64]]:
        """The worker's positions in order, in arrays of about `chunk`."""
        total, size = self.rank_samples, self.batch_size
        if self.workers == 1:
            for start in range(0, total, chunk):
                yield rank_positions(self.samples, self.rank, self.world_size, start, min(chunk, total - start))
            return
        parts: list[npt.NDArray[np.int64]] = []
        held = 0
        for start in range(self.worker * size, total, self.workers * size):
            count = min(size, total - start)
            parts.append(rank_positions(self.samples, self.rank, self.world_size, start, count))
            held += count
            if held >= chunk:
                yield np.concatenate(parts)
                parts, held = [], 0
        if parts:
            yield np.concatenate(parts)
