"""Order v1: which sample comes at which position, for every world size alike (docs/order.md).

A pure function of (root, seed, epoch, parameters, position) in constant time and memory. Runs of consecutive
samples are shuffled, then the samples inside each block of runs; the result is cut into lanes, and position
p reads lane p mod L. Nothing here may change, because resuming and auditing recompute old positions: a new
order gets a new version tag.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..storage.order_hints import suggest_hints
from .permutation import MAX_SIZE, U64, Permutation, permute, round_keys, round_keys_array

VERSION_TAG = b"holdfast/order/v1\0"
CHUNK = 1 << 14  # positions computed at a time: temporaries stay in the CPU's cache, whatever is asked for


@dataclass(frozen=True, slots=True)
class OrderParameters:
    """The shape of an order: part of the dataset's head, so that all readers agree.

    `samples` in the dataset (0 is allowed), samples per `run`, runs per `block`, and `lanes`.
    """

    samples: int
    run: int
    block: int
    lanes: int

    def __post_init__(self) -> None:
        for name, least in (("samples", 0), ("run", 1), ("block", 1), ("lanes", 1)):
            value = getattr(self, name)
            if not least <= value <= MAX_SIZE:
                raise ValueError(f"{name} of an order: expected {least} to 2**60, got {value}")


class Order:
    """The order of one epoch. `root` is the dataset's binary CIDv1; with `shuffle` off, sample = position.

    Raises `ValueError` for a root that is empty or a CIDv0 (`CID.v1()` converts: one dataset has one order),
    and for a seed or epoch that is not an unsigned 64-bit integer.
    """

    __slots__ = (
        "_edge",
        "_gap",
        "_runs",
        "_short_slot",
        "epoch",
        "master_key",
        "parameters",
        "root",
        "seed",
        "shuffle",
    )

    def __init__(self, root: bytes, seed: int, epoch: int, parameters: OrderParameters, shuffle: bool = True) -> None:
        if not root or (len(root) == 34 and root.startswith(b"\x12\x20")):
            raise ValueError(f"root of an order: expected a binary CIDv1, got {root.hex() or 'nothing'}")
        for name, value in (("seed", seed), ("epoch", epoch)):
            if not 0 <= value < 1 << 64:
                raise ValueError(f"{name} of an order: expected 0 to 2**64 - 1, got {value}")
        self.root, self.seed, self.epoch = bytes(root), seed, epoch
        self.parameters, self.shuffle = parameters, shuffle
        self.master_key = master_key(self.root, seed, epoch, parameters)
        samples, run = parameters.samples, parameters.run
        count = max(1, -(-samples // run))
        self._runs = Permutation(count, round_keys(self.master_key, 0))
        # The last run may be short. The slot it lands in shifts the start of every later slot by `_gap`.
        last = samples - (count - 1) * run
        self._gap = run - last
        self._short_slot = self._runs.backward(count - 1)
        self._edge = self._short_slot * run + last  # index of the first sample behind the short run

    def __repr__(self) -> str:
        return f"<Order seed={self.seed} epoch={self.epoch} {self.parameters} shuffle={self.shuffle}>"

    def __len__(self) -> int:
        return self.parameters.samples

    def sample_at(self, position: int) -> int:
        """The global index of the sample at `position`. Raises `ValueError` outside 0 … samples - 1."""
        if not 0 <= position < self.parameters.samples:
            raise ValueError(f"position {position} is outside 0 … {self.parameters.samples - 1}")
        if not self.shuffle:
            return position
        base, longer = divmod(self.parameters.samples, self.parameters.lanes)
        row, lane = divmod(position, self.parameters.lanes)
        return self.shuffled(lane * base + min(lane, longer) + row)

    def shuffled(self, index: int) -> int:
        """The sample at `index` of the shuffled sequence, before it is dealt to lanes: σ of docs/order.md."""
        if not 0 <= index < self.parameters.samples:
            raise ValueError(f"index {index} is outside 0 … {self.parameters.samples - 1}")
        block = self._locate(index)[0] // self.parameters.block
        first = self._start(block * self.parameters.block)
        end = self._start(min(self._runs.size, (block + 1) * self.parameters.block))
        inside = Permutation(end - first, round_keys(self.master_key, block + 1))
        slot, offset = self._locate(first + inside.forward(index - first))
        return self._runs.forward(slot) * self.parameters.run + offset

    def samples_at(self, positions: NDArray[np.integer]) -> NDArray[np.int64]:
        """`sample_at` of each element of a flat array of integers, fast. They may repeat."""
        if positions.ndim != 1 or positions.dtype.kind not in "iu":
            raise TypeError(f"expected a flat array of integers, got {positions.ndim} axes of {positions.dtype}")
        if len(positions) and not 0 <= int(positions.min()) <= int(positions.max()) < self.parameters.samples:
            raise ValueError(f"positions {positions.min()} … {positions.max()} leave 0 … {self.parameters.samples - 1}")
        out = np.empty(len(positions), np.int64)
        for start in range(0, len(positions), CHUNK):
            part = positions[start : start + CHUNK].astype(np.uint64)
            out[start : start + CHUNK] = self._samples_at(part) if self.shuffle else part
        return out

    def _samples_at(self, positions: U64) -> U64:
        base, longer = divmod(self.parameters.samples, self.parameters.lanes)
        rows = positions // np.uint64(self.parameters.lanes)
        lanes = positions - rows * np.uint64(self.parameters.lanes)
        indices = lanes * np.uint64(base) + np.minimum(lanes, np.uint64(longer)) + rows

        runs_in_block = np.uint64(self.parameters.block)
        blocks = self._locate_array(indices)[0] // runs_in_block
        firsts = self._start_array(blocks * runs_in_block)
        ends = self._start_array(np.minimum((blocks + np.uint64(1)) * runs_in_block, np.uint64(self._runs.size)))
        sizes = ends - firsts
        keys = round_keys_array(self.master_key, blocks + np.uint64(1))
        inside = indices - firsts
        # At most four sizes occur: a whole block, the last one, and either of them with the short run in it.
        for size in np.unique(sizes):
            same = np.flatnonzero(sizes == size)
            inside[same] = permute(inside[same], int(size), keys[:, same])

        slots, offsets = self._locate_array(firsts + inside)
        run_keys = np.array(self._runs.keys, np.uint64)[:, None]
        return permute(slots, self._runs.size, run_keys) * np.uint64(self.parameters.run) + offsets

    def _start(self, slot: int) -> int:
        return slot * self.parameters.run - (self._gap if slot > self._short_slot else 0)

    def _start_array(self, slots: U64) -> U64:
        shift = (slots > np.uint64(self._short_slot)) * np.uint64(self._gap)
        return slots * np.uint64(self.parameters.run) - shift

    def _locate(self, index: int) -> tuple[int, int]:
        """The slot that holds `index`, and the offset in it."""
        return divmod(index + (self._gap if index >= self._edge else 0), self.parameters.run)

    def _locate_array(self, indices: U64) -> tuple[U64, U64]:
        run = np.uint64(self.parameters.run)
        shifted = indices + (indices >= np.uint64(self._edge)) * np.uint64(self._gap)
        slots = shifted // run
        return slots, shifted - slots * run


def master_key(root: bytes, seed: int, epoch: int, parameters: OrderParameters) -> int:
    """The 64-bit key that all round keys of an epoch are derived from (docs/order.md §2)."""
    p = parameters
    numbers = struct.pack("<6Q", seed, epoch, p.samples, p.run, p.block, p.lanes)
    return int.from_bytes(hashlib.sha256(VERSION_TAG + root + numbers).digest()[:8], "little")


def suggest_parameters(samples: int, run: int, sample_bytes: int) -> OrderParameters:
    """Parameters for a dataset whose samples have about `sample_bytes` bytes; see `suggest_hints`."""
    hints = suggest_hints(samples, run, sample_bytes)
    return OrderParameters(samples, hints.run, hints.block, hints.lanes)
