"""`TokenDataset`: rows of a published stream of tokens, as one array: for trainers that cut their own batches."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from ..storage.errors import ConfigError
from ..storage.session import SourcesArgument
from .indexed import IndexedDataset


class TokenDataset(IndexedDataset):
    """Row i holds the tokens from i · seq_len to (i + 1) · seq_len inclusive: inputs, and targets one further.

    `len` is the number of rows; `[i]` is a sample as `StreamingDataset` gives it, `read` and `read_strided` are arrays.
    What is cached is read out of a map of the file: it is copied once, into int64.
    The arguments are those of `IndexedDataset`. Raises `ConfigError` when the dataset holds no tokens.
    """

    def __init__(
        self,
        uri: str,
        *,
        seq_len: int,
        sources: SourcesArgument = None,
        cache: str | os.PathLike[str] | None = None,
        cache_bytes: int | None = None,
        partition: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(
            uri, seq_len=seq_len, sources=sources, cache=cache, cache_bytes=cache_bytes, partition=partition, **options
        )
        self.seq_len = seq_len

    def read(self, start: int, rows: int) -> npt.NDArray[np.int64]:
        """Rows start … start + rows - 1: int64[rows, seq_len + 1]. Raises `IndexError` where there are none."""
        return self.read_strided(start, 1, rows)

    def read_strided(self, start: int, stride: int, rows: int) -> npt.NDArray[np.int64]:
        """Rows start, start + stride, …: int64[rows, seq_len + 1]. Raises `IndexError` where there are none."""
        size = len(self)
        if rows < 0 or stride < 1:
            raise ConfigError(f"rows={rows}, stride={stride}", hint="expected rows >= 0 and stride >= 1")
        if start < 0 or (rows and start + (rows - 1) * stride >= size):
            raise IndexError(f"rows {start} to {start + (rows - 1) * stride} of {size}")
        windows = self._access.view().windows()
        if stride == 1 and rows:
            windows.prefetch(start, 0.0, rows)
            flat = windows.tokens(start, rows)
            out = np.empty((rows, self.seq_len + 1), dtype=np.int64)
            out[:] = np.lib.stride_tricks.sliding_window_view(flat, self.seq_len + 1)[:: self.seq_len]
            return out
        found = windows.locate(np.arange(start, start + rows * stride, stride, dtype=np.int64))
        windows.prefetch_rows(found, 0.0)
        return windows.rows(found)
