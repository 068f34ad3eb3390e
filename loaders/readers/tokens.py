"""`TokenWindows`: windows of tokens over all shards of a partition; a window may span two shards."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from ...storage.errors import FormatError
from ...storage.manifest import Shard
from ...storage.shards.tokens import TOKEN_BYTES
from ..shard_file import ShardFile
from ..shard_table import ShardTable
from .reader import Sample


class TokenWindows:
    """Window w holds the tokens [w·seq_len, (w+1)·seq_len] of the stream: seq_len + 1 of them, one shared."""

    def __init__(self, shards: ShardTable, open_shard: Callable[[Shard], ShardFile], dtype: str, seq_len: int) -> None:
        self._shards, self._open, self._seq_len = shards, open_shard, seq_len
        self._dtype, self._width = np.dtype(dtype).newbyteorder("<"), TOKEN_BYTES[dtype]

    def _parts(self, window: int) -> list[tuple[Shard, int, int]]:
        """The byte ranges that make up a window."""
        first = self._shards.first + window * self._seq_len
        parts = []
        for shard, start, end in self._shards.spans(first, first + self._seq_len + 1):
            if shard.bytes != shard.samples * self._width:
                raise FormatError(f"{shard.path}: {shard.bytes} bytes are not {shard.samples} tokens of {self._dtype}")
            parts.append((shard, start * self._width, end * self._width))
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
