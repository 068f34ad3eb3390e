"""`stream_batches`: batches as columns, in a given order, with the bytes of the next ones already asked for.

A batch is what torch's `default_collate` makes of its samples, without a dict for each of them in between: a row of
text of 2 KB, in batches of 64, costs the thread that iterates 3 µs.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..storage.errors import HoldfastError
from .stream import OPENED_AHEAD
from .until_error import UntilError

_MAX_AHEAD = 8192  # samples; as for `stream`
_MAX_BLOCK = 2048  # samples that are located in one go: numpy's price of a call is shared by so many

Indices = npt.NDArray[np.int64]


@dataclass(slots=True)
class Rows:
    """A batch: the indices of its samples in the dataset, and where each is: shard, and number therein.

    `plan`: what a `Columns` found out when it asked for them, and needs again when it takes them. Numbers alone: there
    may be more shards in a batch than can be open.
    """

    indices: Indices
    shards: Indices
    offsets: Indices
    plan: Any = None


class Columns(Protocol):
    """A dataset whose samples can be read as columns."""

    def locate(self, batches: Sequence[Indices]) -> Iterable[Rows]:
        """Where the samples of some batches are; fails, if at all, before it returns."""

    def prefetch(self, rows: Rows, urgency: float) -> int:
        """Ask for what they need; how many bytes had to be asked for."""

    def take(self, rows: Rows) -> dict[str, Any]:
        """Column → values: a tensor, or a list where torch makes none. Waits."""


def rebatch(parts: Iterator[Indices], size: int, *, drop_last: bool) -> Iterator[Indices]:
    """The same indices in arrays of `size`; a shorter one comes last, if at all."""
    held: list[Indices] = []
    count = 0
    for part in parts:
        held.append(part)
        count += len(part)
        if count >= size:
            whole = np.concatenate(held)
            yield from np.split(whole[: count - count % size], count // size)
            held, count = [whole[count - count % size :]], count % size
    if count and not drop_last:
        yield np.concatenate(held)


def _located(batches: Iterator[Indices], columns: Columns) -> Iterator[Rows]:
    """Each batch, located: in blocks that double, so that the first one waits for the manifest pages of no other."""
    count = 1
    while block := list(islice(batches, count)):
        try:
            found = columns.locate(block)
        except HoldfastError:  # those before the one that fails can be had
            found = chain.from_iterable(columns.locate([batch]) for batch in block)
        yield from found
        count = max(1, min(2 * count, _MAX_BLOCK // len(block[0])))


def stream_batches(
    batches: Iterator[Indices],
    columns: Columns,
    prefetch_bytes: int,
    max_shards: Callable[[], int],
    is_open: Callable[[int], bool],
) -> Iterator[dict[str, Any]]:
    """Yield each batch, in order. The bounds are those of `stream`, but that one batch is always asked for ahead, and
    two that need shards which have to be opened are, for each that is given out.
    """
    upcoming = UntilError(_located(batches, columns))
    queue: deque[tuple[Rows, list[int], int]] = deque()
    shards: Counter[int] = Counter()
    ahead = samples = urgency = 0
    doubtful: Rows | None = None  # what it needs could not even be asked for: nothing behind it is looked at
    limit = 1  # doubles with every batch: the first ones do not wait for all that is asked for behind them
    coming = next(upcoming, None)
    while coming is not None or queue:
        opened = 0
        while coming is not None and len(queue) <= limit and doubtful is None:
            if len(queue) > 1 and (ahead >= prefetch_bytes or samples >= _MAX_AHEAD or len(shards) >= max_shards()):
                break
            touched = list(set(coming.shards.tolist()))  # of 64, a set is ten times as fast as `np.unique`
            waits = any(number not in shards and not is_open(number) for number in touched)
            if len(queue) > 1 and waits and opened >= OPENED_AHEAD:
                break
            rows = coming
            urgency += 1
            opened += waits
            try:
                asked = columns.prefetch(rows, float(urgency))
            except HoldfastError:  # said again when the batch is due: those before it can be had
                asked, doubtful = 0, rows
            ahead += asked
            samples += len(rows.indices)
            shards.update(touched)
            queue.append((rows, touched, asked))
            coming = next(upcoming, None)
        limit = min(2 * limit, _MAX_AHEAD)
        rows, touched, asked = queue.popleft()
        yield columns.take(rows)
        doubtful = None if doubtful is rows else doubtful
        ahead -= asked
        samples -= len(rows.indices)
        for number in touched:
            shards[number] -= 1
            if not shards[number]:
                del shards[number]
    if upcoming.error is not None:
        raise upcoming.error
