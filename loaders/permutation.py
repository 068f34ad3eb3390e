"""A keyed permutation of 0 … n-1 that needs no table: a Feistel network with cycle walking.

docs/order.md §3 defines it, on integers of fixed width, so that any language gives the same numbers. It is
here twice: on Python integers, to be read, and on NumPy arrays, to be fast. It shuffles; it keeps no secrets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]

ROUNDS = 6
MAX_SIZE = 1 << 60  # keeps every product and every key counter of the order below 2**64
_MASK = (1 << 64) - 1
_GAMMA, _MUL_1, _MUL_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def mix(value: int) -> int:
    """splitmix64 of one 64-bit integer: a bijection, with every input bit spread over the output."""
    value = (value + _GAMMA) & _MASK
    value = ((value ^ (value >> 30)) * _MUL_1) & _MASK
    value = ((value ^ (value >> 27)) * _MUL_2) & _MASK
    return value ^ (value >> 31)


def round_keys(master: int, number: int) -> tuple[int, ...]:
    """The keys of permutation `number`.

    `mix` is a bijection and the counters 8 * number + i all differ, so all round keys of an order do.
    """
    return tuple(mix(master ^ mix(8 * number + i)) for i in range(ROUNDS))


def half_bits(size: int) -> int:
    """The width of one Feistel half: the least h >= 1 with 4**h >= `size`."""
    return max(1, ((size - 1).bit_length() + 1) // 2)


@dataclass(frozen=True, slots=True)
class Permutation:
    """A permutation of 0 … `size` - 1, fixed by its round keys."""

    size: int
    keys: tuple[int, ...]

    def __post_init__(self) -> None:
        if not 1 <= self.size <= MAX_SIZE:
            raise ValueError(f"a permutation has 1 to 2**60 elements, not {self.size}")

    def forward(self, index: int) -> int:
        """Where `index` goes."""
        return self._walk(index, self._encrypt)

    def backward(self, index: int) -> int:
        """What goes to `index`: the inverse of `forward`."""
        return self._walk(index, self._decrypt)

    def _walk(self, index: int, step: Callable[[int], int]) -> int:
        if not 0 <= index < self.size:
            raise ValueError(f"index {index} is outside 0 … {self.size - 1}")
        if self.size == 1:
            return 0
        # The cycle through `index` comes back to it, so it meets a number below `size` at the latest there.
        while (index := step(index)) >= self.size:
            pass
        return index

    def _encrypt(self, value: int) -> int:
        half = half_bits(self.size)
        mask = (1 << half) - 1
        left, right = value >> half, value & mask
        for key in self.keys:
            left, right = right, left ^ (mix(right ^ key) & mask)
        return left << half | right

    def _decrypt(self, value: int) -> int:
        half = half_bits(self.size)
        mask = (1 << half) - 1
        left, right = value >> half, value & mask
        for key in reversed(self.keys):
            left, right = right ^ (mix(left ^ key) & mask), left
        return left << half | right


def mix_array(values: U64) -> U64:
    """`mix` of each element; uint64 arrays wrap around as the definition wants."""
    values = values + np.uint64(_GAMMA)
    values ^= values >> np.uint64(30)
    values *= np.uint64(_MUL_1)
    values ^= values >> np.uint64(27)
    values *= np.uint64(_MUL_2)
    values ^= values >> np.uint64(31)
    return values


def round_keys_array(master: int, numbers: U64) -> U64:
    """`round_keys` of each element, as an array of shape (ROUNDS, len(numbers))."""
    counters = numbers * np.uint64(8) + np.arange(ROUNDS, dtype=np.uint64)[:, None]
    return mix_array(mix_array(counters) ^ np.uint64(master))


def permute(indices: U64, size: int, keys: U64) -> U64:
    """`Permutation.forward` of each element below `size`; keys of shape (ROUNDS, 1 or len(indices))."""
    if size == 1:
        return np.zeros_like(indices)
    half, mask = np.uint64(half_bits(size)), np.uint64((1 << half_bits(size)) - 1)
    out = np.empty_like(indices)
    where = np.arange(len(indices))
    while len(indices):
        left, right = indices >> half, indices & mask
        for key in keys:
            left, right = right, left ^ (mix_array(right ^ key) & mask)
        indices = left << half | right
        out[where] = indices
        outside = np.flatnonzero(indices >= np.uint64(size))
        indices, where = indices[outside], where[outside]
        if keys.shape[1] > 1:
            keys = keys[:, outside]
    return out


def permute_each(indices: U64, sizes: U64, keys: U64) -> U64:
    """`permute`, each element by a size of its own."""
    size = int(sizes.max(initial=1))
    if not len(sizes) or int(sizes.min()) == size:
        return permute(indices, size, keys)
    found, inverse = np.unique(sizes, return_inverse=True)
    halves = np.array([half_bits(int(one)) for one in found], np.uint64)[inverse]
    masks = (np.uint64(1) << halves) - np.uint64(1)
    out = np.zeros_like(indices)
    where = np.flatnonzero(sizes > np.uint64(1))
    indices = indices[where]
    while len(where):
        half, mask = halves[where], masks[where]
        left, right = indices >> half, indices & mask
        for key in keys[:, where]:
            left, right = right, left ^ (mix_array(right ^ key) & mask)
        indices = left << half | right
        out[where] = indices
        outside = np.flatnonzero(indices >= sizes[where])
        indices, where = indices[outside], where[outside]
    return out
