"""`TarColumns`: batches of samples out of tars, member by member: those of one length are one tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import torch

from ..batches import Indices, Rows
from ..decode import handler_of
from ..errors import SampleError
from ..shard_table import ShardTable
from .alike import Span, Taken, take_alike
from .member_column import MemberColumn
from .tar_tensors import TensorTarReader

_TRIES = 8  # more batches that are read as if their samples were alike and are not, than such that are: then none is


class TarColumns:
    """A `Columns`. `first`: the number of sample 0 in the dataset; `reader` opens a shard by its number; of `ahead`
    shards samples may be asked for, before what one is asked for goes with it when it is closed.
    """

    def __init__(
        self, shards: ShardTable, first: int, reader: Callable[[int], TensorTarReader], ahead: Callable[[], int]
    ) -> None:
        self._shards, self._first, self._reader, self._ahead = shards, first, reader, ahead
        self._tries = _TRIES

    def locate(self, batches: Sequence[Indices]) -> Iterable[Rows]:
        """See `Columns.locate`."""
        samples = np.concatenate(batches) + self._first
        shards, offsets = self._shards.locate(samples)
        bounds = accumulate(map(len, batches), initial=0)
        return [Rows(samples[low:high], shards[low:high], offsets[low:high]) for low, high in pairwise(bounds)]

    def prefetch(self, rows: Rows, urgency: float) -> int:
        """See `Columns.prefetch`."""
        shards = rows.shards.tolist()
        some = list(dict.fromkeys(shards))[: self._ahead()]
        wanted = {shard for shard in some if not self._reader(shard).whole}
        asked = 0
        if wanted:
            for shard, at in zip(shards, rows.offsets.tolist(), strict=True):
                asked += self._reader(shard).prefetch(at, urgency) if shard in wanted else 0
        return asked

    def take(self, rows: Rows) -> dict[str, Any]:
        """Extension → uint8 [samples, bytes], a list of uint8 [bytes] where they differ in length, or the values.

        The extensions are those of the first sample. `SampleError` where another lacks one.
        """
        keys, columns = self._together(rows) or self._one_by_one(rows)
        batch = {name: column.taken(name, keys) for name, column in columns.items()}
        return {**batch, "__key__": keys, "__index__": torch.from_numpy(rows.indices)}

    def _together(self, rows: Rows) -> Taken | None:
        numbers = rows.shards.tolist()
        if not self._tries or len(set(numbers)) > self._ahead():  # one that is opened could close another of the batch
            return None
        readers = {number: self._reader(number) for number in set(numbers)}
        spans = [
            Span(readers[number], *readers[number].span(at))
            for number, at in zip(numbers, rows.offsets.tolist(), strict=True)
        ]
        taken = take_alike(spans, spans[0].reader.members(int(rows.offsets[0])))
        self._tries = min(self._tries + 1, _TRIES) if taken else self._tries - 1
        return taken

    def _one_by_one(self, rows: Rows) -> Taken:
        keys: list[str] = []
        columns: dict[str, MemberColumn] = {}
        for shard, at in zip(rows.shards.tolist(), rows.offsets.tolist(), strict=True):
            reader = self._reader(shard)
            members = reader.members(at)
            if not keys:
                columns = {name: MemberColumn(len(rows.shards), handler_of(name)) for name in members.spans}
            for name, column in columns.items():
                span = members.spans.get(name)
                if span is None:
                    raise SampleError(
                        f"{self._shards.shard(shard).path}, sample {members.key!r} has no member {name!r}, which the"
                        " first sample of its batch has",
                        hint="iterate over the dataset itself, or give a collate_fn",
                    )
                if column.handler is None:
                    reader.fill(members.start + span[0], column.row(span[1] - span[0]).data)
                else:
                    column.values.append(reader.value(members, name, column.handler))
            keys.append(members.key)
        return keys, columns
