"""`TokenWindows`: windows of tokens over all shards of a partition; a window may span two shards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
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

    def _parts(self, window: int, count: int = 1) -> list[tuple[Shard, int, int]]:
        """The byte ranges that make up so many windows from this one on."""
        first = self._shards.first + window * self._seq_len
        parts = []
        for shard, start, end in self._shards.spans(first, first + count * self._seq_len + 1):
            if shard.bytes != shard.samples * self._width:
                raise FormatError(f"{shard.path}: {shard.bytes} bytes are not {shard.samples} tokens of {self._dtype}")
            parts.append((shard, start * self._width, end * self._width))
        return parts

    def prefetch(self, index: int, urgency: float, count: int = 1) -> int:
        """See `Reader.prefetch`; `index` is a window of the whole stream, `count` how many from it on."""
        return sum(self._open(shard).prefetch(start, end, urgency) for shard, start, end in self._parts(index, count))

    def tokens(self, window: int, count: int) -> npt.NDArray[np.unsignedinteger[Any]]:
        """The tokens of so many windows on end, each boundary once: count · seq_len + 1 of them, in the width of the
        dataset. Of one shard they are not copied: a view of the cache's map. Waits.
        """
        if not count:
            return np.empty(0, dtype=self._dtype)
        found = [
            np.frombuffer(self._open(shard).read(start, end), dtype=self._dtype)
            for shard, start, end in self._parts(window, count)
        ]
        return np.concatenate(found) if len(found) > 1 else found[0]

    def sample(self, index: int) -> Sample:
        """`tokens`: int64[seq_len + 1]; the key is `start:length` in tokens of the stream."""
        key = f"{index * self._seq_len}:{self._seq_len + 1}"
        return {"__key__": key, "tokens": torch.from_numpy(self.tokens(index, 1).astype(np.int64))}
