"""`Mix`: which dataset gives the sample at a position of a mixture, and the how manieth of its own it is. Pure.

With whole weights w_0, w_1, … of sum S, positions come in rounds of S. A round takes w_i samples of dataset i, in an
order that a permutation of the round says (docs/order.md §3): so the weights are kept exactly in every round, and
position → (dataset, number) is computed in constant time, for any world size.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..storage.errors import ConfigError
from .permutation import permute, round_keys_array

_TAG = b"holdfast/mix/v1\0"
_MAX_ROUND = 1 << 16


@dataclass(frozen=True, slots=True)
class Mix:
    """Weights, at least one of 1 or more; `seed` of the order within the rounds."""

    weights: tuple[int, ...]
    seed: int

    def __post_init__(self) -> None:
        if not self.weights or min(self.weights) < 1 or sum(self.weights) > _MAX_ROUND:
            raise ConfigError(
                f"weights {self.weights}: expected whole numbers of 1 or more, {_MAX_ROUND} in all at most",
                hint="(3, 1) takes three of the first for each of the second",
            )

    def pick(self, positions: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """For each position: the dataset, and which of the samples drawn from that one it is, from 0 on."""
        size = sum(self.weights)
        numbers = positions.astype(np.uint64)
        rounds = numbers // np.uint64(size)
        keys = round_keys_array(self._master(), rounds)
        slots = permute(numbers - rounds * np.uint64(size), size, keys).astype(np.int64)
        ends = np.cumsum(self.weights)
        which = np.searchsorted(ends, slots, side="right")
        weights, firsts = np.array(self.weights)[which], (ends - self.weights)[which]
        return which, rounds.astype(np.int64) * weights + slots - firsts

    def _master(self) -> int:
        numbers = struct.pack(f"<{len(self.weights) + 1}Q", self.seed, *self.weights)
        return int.from_bytes(hashlib.sha256(_TAG + numbers).digest()[:8], "little")
