"""`ParquetColumns`: batches of rows as columns, taken from decoded row groups."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, chain, pairwise
from typing import Any, NamedTuple

import numpy as np
import torch

from ..batches import Indices, Rows
from ..errors import SampleError
from ..shard_table import ShardTable
from .collated import collated
from .parquet import ParquetReader


class _Plan(NamedTuple):
    """The rows of a batch by their row groups: of each group its shard, its number, and where its rows begin; of each
    row, in that order, its number in the group; and at which place of that order each row of the batch is.

    Flat lists: plans of 8,192 samples wait, and what is nested the garbage collector walks through again and again.
    """

    shards: list[int]
    groups: list[int]
    begins: list[int]
    numbers: list[int]
    places: list[int]


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
        places = np.empty_like(order)
        places[order] = np.arange(len(order))
        flat = [
            part.tolist()
            for part in (
                shards[firsts], groups[firsts], firsts - starts[batches[firsts]], numbers[order],
                places - starts[batches],
            )
        ]  # fmt: skip
        cuts = firsts.searchsorted(bounds).tolist()
        return [
            _Plan(*(part[low:high] for part in flat[:3]), *(part[begin:end] for part in flat[3:]))
            for (low, high), (begin, end) in zip(pairwise(cuts), pairwise(bounds), strict=True)
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
        plan, last = self._plan(rows), -1
        parts: list[dict[str, list[Any]]] = []
        ends = [*plan.begins[1:], len(plan.numbers)]
        for shard, group, begin, end in zip(plan.shards, plan.groups, plan.begins, ends, strict=True):
            if shard != last:
                reader, last = self._reader(shard), shard
            parts.append(reader.columns(group, plan.numbers[begin:end]))
        keys = self._keys(rows)
        names = parts[bisect_right(plan.begins, plan.places[0]) - 1].keys()
        for part, begin in zip(parts, plan.begins, strict=True):
            if part.keys() != names and (missing := names - part.keys()):
                raise SampleError(
                    f"{keys[plan.places.index(begin)]} has no column {min(missing)!r}, which the first sample of its"
                    " batch has",
                    hint="columns= takes those that all shards have",
                )
        batch = {}
        for name in names:
            values = list(chain.from_iterable([part[name] for part in parts]))
            batch[name] = collated([values[at] for at in plan.places])
        return {**batch, "__key__": keys, "__index__": torch.from_numpy(rows.indices)}

    def _keys(self, rows: Rows) -> list[str]:
        shards = rows.shards.tolist()
        paths = {shard: self._shards.shard(shard).path for shard in set(shards)}
        return [f"{paths[shard]}#{row}" for shard, row in zip(shards, rows.offsets.tolist(), strict=True)]
