"""`Share`: the part of an epoch's positions that one worker of one rank delivers. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

Tail = Literal["exact", "drop", "repeat"]
TAILS: tuple[Tail, ...] = get_args(Tail)


@dataclass(frozen=True, slots=True)
class Share:
    """What is left of an epoch of `samples` positions when all before `start` are delivered, and whose part is which.

    Rank r of `world_size` takes `start` + r, `start` + r + W, …; so any world may go on where another one stopped.
    torch deals whole batches to workers in turn: worker w delivers the rank's batches w, w + `workers`, …

    `tail`: where W does not divide what is left, "exact" gives the first ranks one more than the others, "drop" leaves
    out what does not go round, and "repeat" goes on from position 0 until all ranks have as many.
    """

    samples: int
    rank: int = 0
    world_size: int = 1
    worker: int = 0
    workers: int = 1
    batch_size: int = 1
    start: int = 0
    tail: Tail = "exact"

    @property
    def rank_samples(self) -> int:
        """How many samples the rank still delivers."""
        left = max(self.samples - self.start, 0)
        match self.tail:
            case "drop":
                return left // self.world_size
            case "repeat":
                return -(-left // self.world_size)
            case _:
                return max(0, -(-(left - self.rank) // self.world_size))

    def position_behind(self, delivered: int) -> int:
        """The position before which everything is delivered when each rank has delivered so many of its samples.

        What the tail drops is behind it as soon as there is nothing else: no world that goes on delivers it.
        """
        if self.tail == "drop" and delivered >= self.rank_samples:
            return self.samples
        return min(self.start + delivered * self.world_size, self.samples)

    def positions(self, skip: int = 0, chunk: int = 4096) -> Iterator[npt.NDArray[np.int64]]:
        """The worker's positions in order, without its first `skip`, in arrays of about `chunk`. O(1) to the first."""
        total, size = self.rank_samples, self.batch_size
        if self.workers == 1:
            for first in range(skip, total, chunk):
                yield self._rank_positions(first, min(chunk, total - first))
            return
        batches, inside = divmod(skip, size)
        parts: list[npt.NDArray[np.int64]] = []
        held = 0
        for first in range((self.worker + batches * self.workers) * size, total, self.workers * size):
            count = min(size, total - first)
            parts.append(self._rank_positions(first + inside, max(count - inside, 0)))
            held += count - inside
            inside = 0
            if held >= chunk:
                yield np.concatenate(parts)
                parts, held = [], 0
        if parts:
            yield np.concatenate(parts)

    def _rank_positions(self, first: int, count: int) -> npt.NDArray[np.int64]:
        numbers = np.arange(first, first + count, dtype=np.int64)
        positions = numbers * self.world_size + (self.start + self.rank)
        if self.tail == "repeat" and count and positions[-1] >= self.samples:
            positions %= self.samples
        return positions
