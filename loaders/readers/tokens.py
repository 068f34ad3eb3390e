"""`TokenWindows`: windows of tokens over all shards of a partition; a window may span two shards."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate

import numpy as np
import torch

from ...storage.errors import FormatError
from ...storage.manifest import Shard
from ...storage.shards.tokens import TOKEN_BYTES
from ..shard_file import ShardFile
from .reader import Sample


class TokenWindows:
    """Window w holds the tokens [w·seq_len, (w+1)·seq_len] of the stream: seq_len + 1 of them, one shared."""

    def __init__(
        self, shards: Sequence[Shard], open_shard: Callable[[Shard], ShardFile], dtype: str, seq_len: int
    ) -> None:
        self._shards, self._open, self._seq_len = shards, open_shard, seq_len
        self._dtype, self._width = np.dtype(dtype).newbyteorder("<"), TOKEN_BYTES[dtype]
        for shard in shards:
            if shard.bytes != shard.samples * self._width:
                raise FormatError(f"{shard.path}: {shard.bytes} bytes are not {shard.samples} tokens of {dtype}")
        self._starts = list(accumulate((shard.samples for shard in shards), initial=0))

    def _parts(self, window: int) -> list[tuple[Shard, int, int]]:
        """The byte ranges that make up a window."""
        first, last = window * self._seq_len, (window + 1) * self._seq_len + 1
        parts = []
        number = bisect_right(self._starts, first) - 1
        while first < last:
            shard, start = self._shards[number], self._starts[number]
            end = min(last, start + shard.samples)
            if end > first:
                parts.append((shard, (first - start) * self._width, (end - start) * self._width))
                first = end
            number += 1
        return parts

    def prefetch(self, index: int, urgency: float) -> int:
        """See `Reader.prefetch`; `index` is a window of the whole stream."""
        return sum(self._open(shard).prefetch(start, end, urgency) for shard, start, end in self._parts(index))

    def sample(self, index: int) -> Sample:
        """`tokens`: int64[seq_len + 1]; the key is `start:length` in tokens of the stream."""
        parts = [
            np.frombuffer(self._open(shard).read(start, end), dtype=self._dtype)
            for shard, start, end in self._parts(index)
        ]
        tokens = np.concatenate(parts).astype(np.int64) if len(parts) > 1 else parts[0].astype(np.int64)
        key = f"{index * self._seq_len}:{self._seq_len + 1}"
        return {"__key__": key, "tokens": torch.from_numpy(tokens)}
