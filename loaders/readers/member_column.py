"""`MemberColumn`: what a batch gets of one member of its samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from .collated import collated_members
from .tar import MAX_SAMPLE_BYTES

Row = npt.NDArray[np.uint8]


class MemberColumn:
    """Of a batch of so many samples: `values`, or bytes that come row by row, as one tensor while they are as long."""

    def __init__(self, samples: int, handler: Callable[[bytes], Any] | None = None) -> None:
        self.handler, self.values = handler, list[Any]()
        self._samples, self._rows = samples, 0
        self._whole: torch.Tensor | None = None
        self._array: Row | None = None

    def rows(self, length: int) -> Row:
        """uint8 [samples, length]: where the bytes of all samples go, which are as long."""
        # by numpy, which asks for huge pages: in place of 488,000 page faults in 2 GB of batches, 1,200
        self._array = np.empty((self._samples, length), np.uint8)
        self._whole = torch.from_numpy(self._array)
        return self._array

    def row(self, length: int) -> Row:
        """Where the bytes of the next sample go."""
        if not self._rows and self._samples * length <= MAX_SAMPLE_BYTES:  # else what one sample says takes all memory
            self.rows(length)
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

    def taken(self, name: str, keys: Sequence[str]) -> Any:
        """What the batch gets. Raises `SampleError` for values that make no batch."""
        return collated_members(name, self.values, keys) if self._whole is None else self._whole
