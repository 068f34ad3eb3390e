"""`TokenWindows`: windows of tokens over all shards of a partition; a window may span two shards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ...storage.errors import FormatError
from ...storage.manifest import Shard
from ...storage.shards.tokens import TOKEN_BYTES
from ..batches import Indices, Rows
from ..shard_file import ShardFile
from ..shard_table import ShardTable
from .reader import Sample

_REMEMBERED = 1 << 14  # windows: those between being asked for and being read, which are 8,192 at most


class TokenWindows:
    """Window w holds the tokens [w·seq_len, (w+1)·seq_len] of the stream: seq_len + 1 of them, one shared."""

    def __init__(self, shards: ShardTable, open_shard: Callable[[Shard], ShardFile], dtype: str, seq_len: int) -> None:
        self._shards, self._open, self._seq_len = shards, open_shard, seq_len
        self._dtype, self._width = np.dtype(dtype).newbyteorder("<"), TOKEN_BYTES[dtype]
        self._parts = lru_cache(_REMEMBERED)(self._find_parts)

    @property
    def held_bytes(self) -> int:
        """See `Reader.held_bytes`: its shards have a bound of their own."""
        return 0

    def close(self) -> None:
        """See `Reader.close`: its shards are closed with the runtime."""

    def _find_parts(self, window: int, count: int = 1) -> list[tuple[Shard, int, int]]:
        """The byte ranges that make up so many windows from this one on."""
        first = self._shards.first + window * self._seq_len
        parts = []
        for shard, start, end in self._shards.spans(first, first + count * self._seq_len + 1):
            self._check(shard)
            parts.append((shard, start * self._width, end * self._width))
        return parts

    def _check(self, shard: Shard) -> None:
        if shard.bytes != shard.samples * self._width:
            raise FormatError(f"{shard.path}: {shard.bytes} bytes are not {shard.samples} tokens of {self._dtype}")

    def prefetch(self, index: int, urgency: float, count: int = 1) -> int:
        """See `Reader.prefetch`; `index` is a window of the whole stream, `count` how many from it on."""
        return sum(self._open(shard).prefetch(start, end, urgency) for shard, start, end in self._parts(index, count))

    def tokens(self, window: int, count: int) -> npt.NDArray[np.unsignedinteger[Any]]:
        """The tokens of so many windows on end, each boundary once: count · seq_len + 1 of them, in the width of the
        dataset. Of one shard they are not copied: a view of the cache's map. Waits.
        """
        if not count:
            return np.empty(0, dtype=self._dtype)
        parts = self._parts(window, count)
        if len(parts) == 1:
            shard, start, end = parts[0]
            return np.frombuffer(self._open(shard).read(start, end), dtype=self._dtype)
        # copies: a view keeps its shard's map open, and a window may span any number of shards
        data = b"".join(self._open(shard).copy(start, end) for shard, start, end in parts)
        return np.frombuffer(data, dtype=self._dtype)

    def locate(self, windows: Indices) -> Rows:
        """For each window: the number of the shard where it begins, and the token in it."""
        return Rows(windows, *self._shards.locate(windows * self._seq_len + self._shards.first))

    def _inside(self, rows: Rows) -> Iterator[tuple[ShardFile, Indices, list[int]]]:
        """Shards with windows that lie in one of them: which these are, and the leaves that they need."""
        length = self._seq_len + 1
        for number in set(rows.shards.tolist()):
            shard = self._shards.shard(number)
            here = np.flatnonzero((rows.shards == number) & (rows.offsets <= shard.samples - length))
            if len(here):
                self._check(shard)
                file = self._open(shard)
                starts, size = rows.offsets[here] * self._width, file.layout.leaf_size
                steps = np.arange(-(-length * self._width // size) + 1)
                leaves = np.minimum(
                    starts[:, None] // size + steps, ((starts + length * self._width - 1) // size)[:, None]
                )
                yield file, here, sorted(set(leaves.ravel().tolist()))

    def prefetch_rows(self, rows: Rows, urgency: float) -> int:
        """Ask for what these windows need; how many bytes had to be asked for."""
        asked, alone = 0, np.ones(len(rows.indices), dtype=bool)
        for file, here, leaves in self._inside(rows):
            asked += file.prefetch_leaves(leaves, urgency)
            alone[here] = False
        return asked + sum(self.prefetch(window, urgency) for window in rows.indices[alone].tolist())

    def rows(self, rows: Rows) -> npt.NDArray[np.int64]:
        """The tokens of these windows: int64[len(rows), seq_len + 1]. Waits."""
        length = self._seq_len + 1
        out, alone = np.empty((len(rows.indices), length), dtype=np.int64), np.ones(len(rows.indices), dtype=bool)
        for file, here, leaves in self._inside(rows):
            if (data := file.map(leaves)) is not None:
                windows = np.lib.stride_tricks.sliding_window_view(np.frombuffer(data, dtype=self._dtype), length)
                out[here] = windows[rows.offsets[here]]
                alone[here] = False
        for row in np.flatnonzero(alone).tolist():  # over the border of two shards, or held in memory
            out[row] = self.tokens(int(rows.indices[row]), 1)
        return out

    def key(self, window: int) -> str:
        """`start:length` in tokens of the stream."""
        return f"{window * self._seq_len}:{self._seq_len + 1}"

    def sample(self, index: int) -> Sample:
        """`tokens`: int64[seq_len + 1]."""
        return {"__key__": self.key(index), "tokens": torch.from_numpy(self.tokens(index, 1).astype(np.int64))}
