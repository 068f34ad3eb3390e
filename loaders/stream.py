"""`stream`: samples in a given order, with the bytes of the next ones already asked for."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from ..storage.errors import HoldfastError
from .errors import SampleError
from .readers.reader import Reader
from .until_error import UntilError

_MAX_AHEAD = 8192  # samples; a bound on planning work and on how far a cold cache runs ahead
_MIN_AHEAD = 2
OPENED_AHEAD = 2  # shards, for each sample that is given out: to open one is to wait, a few round trips long


class Readers(Protocol):
    """The readers of shards by their numbers; `ahead` shards may be asked of before the first one is done with."""

    @property
    def ahead(self) -> int:
        """How many."""

    def is_open(self, number: int) -> bool:
        """Whether one of them is open already."""

    def __call__(self, number: int) -> Reader:
        """One of them, open."""


class Place(NamedTuple):
    """Where a sample is: its global index, its shard's number, its number in the shard."""

    sample: int
    shard: int
    at: int


def stream(
    samples: Iterator[npt.NDArray[np.int64]],
    locate: Callable[[npt.NDArray[np.int64]], Iterator[Place]],
    reader: Readers,
    prefetch_bytes: int,
    skip: Callable[[SampleError], Any] | None = None,
) -> Iterator[Any]:
    """Yield each sample of `samples` (int64 global indices, in arrays), in order.

    Ahead of the consumer lie at most `prefetch_bytes` of bytes that had to be asked for, 8,192 samples, and samples
    of as many shards as `reader` takes, two more for each sample that was given out: none waits until dozens are open
    that only later ones need. It opens a shard by number, or has it open still. What `skip` gives comes in place of a
    sample that cannot be built; without it the error is raised. What keeps those that come from being located is
    raised behind the last one that was.
    """
    upcoming = UntilError(chain.from_iterable(map(locate, samples)))
    queue: deque[tuple[Place, int]] = deque()
    shards: Counter[int] = Counter()
    ahead = urgency = 0
    limit = _MIN_AHEAD  # doubles with every sample: the first ones do not wait for all that is asked for behind them
    doubtful: Place | None = None  # what it needs could not even be asked for: nothing behind it is looked at
    coming = next(upcoming, None)
    while coming is not None or queue:
        opened = 0
        while coming is not None and len(queue) < limit and doubtful is None:
            enough = ahead >= prefetch_bytes and len(queue) >= _MIN_AHEAD
            is_new = coming.shard not in shards
            waits = is_new and not reader.is_open(coming.shard)
            full = is_new and len(shards) >= reader.ahead
            if queue and (enough or full or (waits and opened >= OPENED_AHEAD)):
                break
            urgency += 1
            opened += waits
            try:
                asked = reader(coming.shard).prefetch(coming.at, float(urgency))
            except HoldfastError as error:  # said again when the sample is due: those before it can be had
                asked = 0
                if skip is None or not isinstance(error, SampleError):
                    doubtful = coming
            ahead += asked
            shards[coming.shard] += 1
            queue.append((coming, asked))
            coming = next(upcoming, None)
        limit = min(2 * limit, _MAX_AHEAD)
        place, asked = queue.popleft()
        try:
            sample = reader(place.shard).sample(place.at)
            key, _ = sample.pop("__key__"), sample.pop("__index__", None)  # a shard's own column of that name loses
            sample = {"__key__": key, "__index__": place.sample, **sample}
        except SampleError as error:
            if skip is None:
                raise
            sample = skip(error)
        doubtful = None if doubtful is place else doubtful
        ahead -= asked
        shards[place.shard] -= 1
        if not shards[place.shard]:
            del shards[place.shard]
        yield sample
    if upcoming.error is not None:
        raise upcoming.error
