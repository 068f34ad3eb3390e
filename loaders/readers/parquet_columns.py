"""`ParquetColumns`: batches of rows as columns, taken from decoded row groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from torch.utils.data import default_collate

from ..batches import Indices, Rows
from ..errors import SampleError
from ..shard_table import ShardTable
from .parquet import ParquetReader

_Group = tuple[int, int, Indices]


class ParquetColumns:
    """A `Columns`. `first`: the number of sample 0 in the dataset; `reader` opens a shard by its number."""

    def __init__(self, shards: ShardTable, first: int, reader: Callable[[int], ParquetReader]) -> None:
        self._shards, self._first, self._reader = shards, first, reader

    def locate(self, indices: Indices) -> Rows:
        """See `Columns.locate`."""
        samples = indices + self._first
        return Rows(samples, *self._shards.locate(samples))

    def _groups(self, rows: Rows) -> list[_Group]:
        """The row groups that a batch needs, in the order of their first row: shard, group, and which of its rows."""
        if rows.plan is not None:
            return cast(list[_Group], rows.plan)
        found: list[_Group] = []
        for number in set(rows.shards.tolist()):
            here = np.flatnonzero(rows.shards == number)
            groups = self._reader(number).groups_of(rows.offsets[here])
            found.extend((number, group, here[groups == group]) for group in set(groups.tolist()))
        found.sort(key=lambda each: int(each[2][0]))
        rows.plan = found
        return found

    def prefetch(self, rows: Rows, urgency: float) -> int:
        """See `Columns.prefetch`."""
        groups = self._groups(rows)
        return sum(self._reader(number).prefetch_group(group, urgency) for number, group, _ in groups)

    def take(self, rows: Rows) -> dict[str, Any]:
        """Columns as `default_collate` makes them: those of the first sample. `SampleError` where another lacks one."""
        count = len(rows.indices)
        columns: dict[str, list[Any]] = {}
        keys = [""] * count
        for shard, group, here in self._groups(rows):
            reader = self._reader(shard)
            numbers, places = rows.offsets[here].tolist(), here.tolist()
            for at, number in zip(places, numbers, strict=True):
                keys[at] = reader.key(number)
            found = reader.columns(group, numbers)
            columns = columns or {name: [None] * count for name in found}
            if missing := columns.keys() - found.keys():
                raise SampleError(
                    f"{reader.key(numbers[0])} has no column {min(missing)!r}, which the first sample of its batch has",
                    hint="columns= takes those that all shards have",
                )
            for name, column in columns.items():
                values = found[name]
                for at, value in zip(places, values, strict=True):
                    column[at] = value
        batch = {name: default_collate(values) for name, values in columns.items()}
        return {**batch, "__key__": keys, "__index__": torch.from_numpy(rows.indices)}
