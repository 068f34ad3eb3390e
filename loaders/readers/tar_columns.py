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
from .collated import collated_members
from .tar import MAX_SAMPLE_BYTES
from .tar_tensors import Row, TensorTarReader


class TarColumns:
    """A `Columns`. `first`: the number of sample 0 in the dataset; `reader` opens a shard by its number; of `ahead`
    shards samples may be asked for, before what one is asked for goes with it when it is closed.
    """

    def __init__(
        self, shards: ShardTable, first: int, reader: Callable[[int], TensorTarReader], ahead: Callable[[], int]
    ) -> None:
        self._shards, self._first, self._reader, self._ahead = shards, first, reader, ahead

    def locate(self, batches: Sequence[Indices]) -> Iterable[Rows]:
        """See `Columns.locate`."""
        samples = np.concatenate(batches) + self._first
        shards, offsets = self._shards.locate(samples)
        bounds = accumulate(map(len, batches), initial=0)
        return [Rows(samples[low:high], shards[low:high], offsets[low:high]) for low, high in pairwise(bounds)]

    def prefetch(self, rows: Rows, urgency: float) -> int:
        """See `Columns.prefetch`."""
        asked, shards, ahead = 0, set[int](), self._ahead()
        for shard, at in zip(rows.shards.tolist(), rows.offsets.tolist(), strict=True):
            if shard in shards or len(shards) < ahead:
                shards.add(shard)
                asked += self._reader(shard).prefetch(at, urgency)
        return asked

    def take(self, rows: Rows) -> dict[str, Any]:
        """Extension → uint8 [samples, bytes], a list of uint8 [bytes] where they differ in length, or the values.

        The extensions are those of the first sample. `SampleError` where another lacks one.
        """
        keys: list[str] = []
        columns: dict[str, _Column] = {}
        for shard, at in zip(rows.shards.tolist(), rows.offsets.tolist(), strict=True):
            reader = self._reader(shard)
            members = reader.members(at)
            if not keys:
                columns = {name: _Column(len(rows.shards), handler_of(name)) for name in members.spans}
            for name, column in columns.items():
                span = members.spans.get(name)
                if span is None:
                    raise SampleError(
                        f"{self._shards.shard(shard).path}, sample {members.key!r} has no member {name!r}, which the"
                        " first sample of its batch has",
                        hint="iterate over the dataset itself, or give a collate_fn",
                    )
                if column.handler is None:
                    reader.fill(members, name, column.row(span[1] - span[0]))
                else:
                    column.values.append(reader.value(members, name, column.handler))
            keys.append(members.key)
        batch = {name: column.taken(name, keys) for name, column in columns.items()}
        return {**batch, "__key__": keys, "__index__": torch.from_numpy(rows.indices)}


class _Column:
    """Of a batch of so many samples: `values`, or bytes that come row by row, as one tensor while they are as long."""

    def __init__(self, samples: int, handler: Callable[[bytes], Any] | None = None) -> None:
        self.handler, self.values = handler, list[Any]()
        self._samples, self._rows = samples, 0
        self._whole: torch.Tensor | None = None
        self._array: Row | None = None

    def row(self, length: int) -> Row:
        """Where the bytes of the next sample go."""
        if not self._rows and self._samples * length <= MAX_SAMPLE_BYTES:  # else what one sample says takes all memory
            # by numpy, which asks for huge pages: in place of 488,000 page faults in 2 GB of batches, 1,200
            self._array = np.empty((self._samples, length), np.uint8)
            self._whole = torch.from_numpy(self._array)
        self._rows += 1
        if self._array is not None:
            if length == self._array.shape[1]:
                row: Row = self._array[self._rows - 1]
                return row
            assert self._whole is not None
            self.values = [row.clone() for row in self._whole[: self._rows - 1]]
            self._whole = self._array = None
        self.values.append(torch.empty(length, dtype=torch.uint8))
        apart: Row = self.values[-1].numpy()
        return apart

    def taken(self, name: str, keys: list[str]) -> Any:
        """What the batch gets. Raises `SampleError` for values that make no batch."""
        return collated_members(name, self.values, keys) if self._whole is None else self._whole
