"""`ParquetColumns`: batches of rows as columns, taken from decoded row groups."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch.utils.data import default_collate

from ..batches import Indices, Rows
from ..errors import SampleError
from ..shard_table import ShardTable
from .parquet import ParquetReader


class _Plan(NamedTuple):
    """The rows of a batch by their row groups: of each group its shard, its number, and where its rows begin; of each
    row, in that order, its place in the batch and its number in the shard.

    Flat lists: plans of 8,192 samples wait, and what is nested the garbage collector walks through again and again.
    """

    shards: list[int]
    groups: list[int]
    begins: list[int]
    places: list[int]
    numbers: list[int]


class ParquetColumns:
    """A `Columns`. `first`: the number of sample 0 in the dataset; `reader` opens a shard by its number."""

    def __init__(self, shards: ShardTable, first: int, reader: Callable[[int], ParquetReader]) -> None:
        self._shards, self._first, self._reader = shards, first, reader

    def locate(self, indices: Indices) -> Rows:
        """See `Columns.locate`."""
        samples = indices + self._first
        return Rows(samples, *self._shards.locate(samples))

    def _plan(self, rows: Rows) -> _Plan:
        if rows.plan is not None:
            return cast(_Plan, rows.plan)
        groups = np.empty_like(rows.shards)
        for number in set(rows.shards.tolist()):
            here = rows.shards == number
            groups[here] = self._reader(number).groups_of(rows.offsets[here])
        order = np.lexsort((groups, rows.shards))
        shards, groups = rows.shards[order], groups[order]
        begins = np.flatnonzero((np.diff(shards, prepend=-1) != 0) | (np.diff(groups, prepend=-1) != 0))
        rows.plan = plan = _Plan(
            shards[begins].tolist(), groups[begins].tolist(), begins.tolist(), order.tolist(),
            rows.offsets[order].tolist(),
        )  # fmt: skip
        return plan

    def prefetch(self, rows: Rows, urgency: float) -> int:
        """See `Columns.prefetch`."""
        plan, asked = self._plan(rows), 0
        for shard, group in zip(plan.shards, plan.groups, strict=True):
            asked += self._reader(shard).prefetch_group(group, urgency)
        return asked

    def take(self, rows: Rows) -> dict[str, Any]:
        """Columns as `default_collate` makes them: those of the first sample. `SampleError` where another lacks one."""
        plan = self._plan(rows)
        keys: list[str] = []
        parts: list[dict[str, list[Any]]] = []
        ends = [*plan.begins[1:], len(plan.numbers)]
        for shard, group, begin, end in zip(plan.shards, plan.groups, plan.begins, ends, strict=True):
            reader, numbers = self._reader(shard), plan.numbers[begin:end]
            parts.append(reader.columns(group, numbers))
            keys += reader.keys(numbers)
        names = parts[bisect_right(plan.begins, plan.places.index(0)) - 1].keys()
        for part, begin in zip(parts, plan.begins, strict=True):
            if part.keys() != names and (missing := names - part.keys()):
                raise SampleError(
                    f"{keys[begin]} has no column {min(missing)!r}, which the first sample of its batch has",
                    hint="columns= takes those that all shards have",
                )
        columns = {name: [value for part in parts for value in part[name]] for name in names}
        back = [0] * len(keys)
        for at, place in enumerate(plan.places):
            back[place] = at
        batch = {name: default_collate([values[at] for at in back]) for name, values in columns.items()}
        return {**batch, "__key__": [keys[at] for at in back], "__index__": torch.from_numpy(rows.indices)}
