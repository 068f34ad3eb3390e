"""`ParquetColumns`: batches of rows as columns, taken from decoded row groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np
import torch

from ..batches import Indices, Rows
from ..errors import SampleError
from ..shard_table import ShardTable
from .collated import collated
from .parquet import UNREADABLE, ParquetReader
from .values import Get
from .values import Rows as Table

_MAX_HELD_BYTES = 128 << 20  # of decoded groups, for a batch that has rows of many large ones


class _Plan(NamedTuple):
    """The row groups of a batch, by shard and number, with how many of its rows each has; and of each row of the batch
    which of these groups it is in, and its number there.

    Flat lists: plans of 8,192 samples wait, and what is nested the garbage collector walks through again and again.
    """

    shards: list[int]
    groups: list[int]
    counts: list[int]
    which: list[int]
    numbers: list[int]


class ParquetColumns:
    """A `Columns`. `first`: the number of sample 0 in the dataset; `reader` opens a shard by its number, `is_open` says
    whether it would have to.
    """

    def __init__(
        self,
        shards: ShardTable,
        first: int,
        reader: Callable[[int], ParquetReader],
        is_open: Callable[[int], bool],
    ) -> None:
        self._shards, self._first, self._reader, self._is_open = shards, first, reader, is_open

    def locate(self, batches: Sequence[Indices]) -> Iterable[Rows]:
        """See `Columns.locate`. What is in shards that are open is planned as well, together."""
        samples = np.concatenate(batches) + self._first
        shards, offsets = self._shards.locate(samples)
        bounds = list(accumulate(map(len, batches), initial=0))
        known = all(map(self._is_open, set(shards.tolist())))
        plans = self._plans(shards, offsets, bounds) if known else [None] * len(batches)
        return [
            Rows(samples[begin:end], shards[begin:end], offsets[begin:end], plan)
            for (begin, end), plan in zip(pairwise(bounds), plans, strict=True)
        ]

    def _plan(self, rows: Rows) -> _Plan:
        if rows.plan is None:
            rows.plan = self._plans(rows.shards, rows.offsets, [0, len(rows.shards)])[0]
        plan: _Plan = rows.plan
        return plan

    def _plans(self, shards: Indices, offsets: Indices, bounds: list[int]) -> list[_Plan]:
        """Of batches on end, which begin at `bounds`: a call of numpy's costs as much for 64 rows as for 640."""
        groups, numbers = np.empty_like(shards), np.empty_like(shards)
        for shard in set(shards.tolist()):
            here = np.flatnonzero(shards == shard)
            groups[here], numbers[here] = self._reader(shard).places_of(offsets[here])
        starts = np.array(bounds[:-1], dtype=np.int64)
        batches = np.repeat(np.arange(len(starts)), np.diff(bounds))
        order = np.lexsort((groups, shards, batches))
        shards, groups = shards[order], groups[order]
        is_first = np.ones(len(order), dtype=bool)
        is_first[1:] = (shards[1:] != shards[:-1]) | (groups[1:] != groups[:-1])
        is_first[starts] = True
        firsts = np.flatnonzero(is_first)
        counts = np.diff(firsts, append=len(order))
        cuts = firsts.searchsorted(bounds)
        which = np.empty_like(order)
        which[order] = np.cumsum(is_first) - 1 - cuts[:-1][batches]
        of_groups = [part.tolist() for part in (shards[firsts], groups[firsts], counts)]
        of_rows = [part.tolist() for part in (which, numbers)]
        return [
            _Plan(*(part[low:high] for part in of_groups), *(part[begin:end] for part in of_rows))
            for (low, high), (begin, end) in zip(pairwise(cuts.tolist()), pairwise(bounds), strict=True)
        ]

    def prefetch(self, rows: Rows, urgency: float) -> int:
        """See `Columns.prefetch`."""
        plan, asked, last = self._plan(rows), 0, -1
        for shard, group in zip(plan.shards, plan.groups, strict=True):
            if shard != last:
                reader, last = self._reader(shard), shard
            asked += reader.prefetch_group(group, urgency)
        return asked

    def take(self, rows: Rows) -> dict[str, Any]:
        """Columns as `default_collate` makes them: those of the first sample. `SampleError` where another lacks one."""
        plan, keys = self._plan(rows), self._keys(rows)
        names = self._reader(plan.shards[plan.which[0]]).rows(plan.groups[plan.which[0]]).getters
        columns: dict[str, list[Any]] = {name: [None] * len(keys) for name in names}
        low = 0
        while low < len(plan.groups):
            held = self._held(plan, low)
            _fill(columns, held, low, plan, keys)
            low += len(held)
        batch = {name: collated(values) for name, values in columns.items()}
        return {**batch, "__key__": keys, "__index__": torch.from_numpy(rows.indices)}

    def _held(self, plan: _Plan, low: int) -> list[Table]:
        """Row groups of a batch from number `low` on, decoded: all of them, or as many as may be held at a time."""
        held: list[Table] = []
        size, last = 0, -1
        for at in range(low, len(plan.groups)):
            shard, group = plan.shards[at], plan.groups[at]
            if shard != last:
                reader, last = self._reader(shard), shard
            table = reader.rows(group)
            table.unread -= plan.counts[at]
            if table.unread <= 0:
                reader.spend(group, table)
            held.append(table)
            size += table.bytes
            if size > _MAX_HELD_BYTES:
                break
        return held

    def _keys(self, rows: Rows) -> list[str]:
        shards = rows.shards.tolist()
        paths = {shard: self._shards.shard(shard).path for shard in set(shards)}
        return [f"{paths[shard]}#{row}" for shard, row in zip(shards, rows.offsets.tolist(), strict=True)]


def _fill(columns: dict[str, list[Any]], held: list[Table], low: int, plan: _Plan, keys: list[str]) -> None:
    """Put the values of the rows in these groups, of which the first one is number `low`, at their places."""
    places, which, numbers = range(len(keys)), plan.which, plan.numbers
    if len(held) < len(plan.groups):
        here = range(low, low + len(held))
        some = [place for place in places if which[place] in here]
        which, numbers = [which[place] - low for place in some], [numbers[place] for place in some]
        keys = [keys[place] for place in some]
    else:
        some = None
    for name, values in columns.items():
        getters = [table.getters.get(name, _absent) for table in held]
        try:
            found = [getters[at](number) for at, number in zip(which, numbers, strict=True)]
        except (KeyError, *UNREADABLE):
            raise _blamed(name, getters, which, numbers, keys) from None
        if some is None:
            values[:] = found
        else:
            for place, value in zip(some, found, strict=True):
                values[place] = value


def _absent(_: int) -> Any:
    raise KeyError


def _blamed(name: str, getters: list[Get], which: list[int], numbers: list[int], keys: list[str]) -> SampleError:
    """What is wrong with the first value that cannot be read."""
    for at, number, key in zip(which, numbers, keys, strict=True):
        try:
            getters[at](number)
        except KeyError:
            return SampleError(
                f"{key} has no column {name!r}, which the first sample of its batch has",
                hint="columns= takes those that all shards have",
            )
        except UNREADABLE as error:
            path, _, row = key.rpartition("#")
            return SampleError(f"{path}: its row {row} cannot be read: {error}")
    raise RuntimeError("a value could not be read, and now it can")
