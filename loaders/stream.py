"""`stream`: samples in a given order, with the bytes of the next ones already asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain

import numpy as np
import numpy.typing as npt

from .readers.reader import Reader, Sample

_MAX_AHEAD = 8192  # samples; a bound on planning work and on how far a cold cache runs ahead
_MIN_AHEAD = 2


def stream(
    samples: Iterator[npt.NDArray[np.int64]],
    locate: Callable[[npt.NDArray[np.int64]], Iterator[tuple[int, Reader, int]]],
    prefetch_bytes: int,
) -> Iterator[Sample]:
    """Yield each sample of `samples` (int64 global indices, in arrays), in order.

    `locate` gives (global index, reader, index in the reader) for an array, lazily. Ahead of the consumer lie at most
    `prefetch_bytes` of bytes that had to be asked for, and 8,192 samples.
    """
    upcoming = chain.from_iterable(map(locate, samples))
    queue: deque[tuple[int, Reader, int, int]] = deque()
    ahead = 0
    urgency = 0
    while True:
        while len(queue) < _MAX_AHEAD and (ahead < prefetch_bytes or len(queue) < _MIN_AHEAD):
            item = next(upcoming, None)
            if item is None:
                break
            number, reader, index = item
            urgency += 1
            asked = reader.prefetch(index, float(urgency))
            ahead += asked
            queue.append((number, reader, index, asked))
        if not queue:
            return
        number, reader, index, asked = queue.popleft()
        sample = reader.sample(index)
        ahead -= asked
        key, _ = sample.pop("__key__"), sample.pop("__index__", None)  # a shard's own column of that name loses
        yield {"__key__": key, "__index__": number, **sample}
