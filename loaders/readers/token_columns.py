"""`TokenColumns`: batches of token windows as one array each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from ..batches import Indices, Rows
from .tokens import TokenWindows


class TokenColumns:
    """A `Columns`."""

    def __init__(self, windows: TokenWindows) -> None:
        self._windows = windows

    def locate(self, batches: Sequence[Indices]) -> Iterable[Rows]:
        """See `Columns.locate`."""
        return list(map(self._windows.locate, batches))

    def prefetch(self, rows: Rows, urgency: float) -> int:
        """See `Columns.prefetch`."""
        return self._windows.prefetch_rows(rows, urgency)

    def take(self, rows: Rows) -> dict[str, Any]:
        """`tokens`: int64[rows, seq_len + 1]; the keys are those of samples."""
        return {
            "__key__": list(map(self._windows.key, rows.indices.tolist())),
            "tokens": torch.from_numpy(self._windows.rows(rows)),
            "__index__": torch.from_numpy(rows.indices),
        }
