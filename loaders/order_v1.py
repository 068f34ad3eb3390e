"""Order v1 (docs/order.md, §8): runs over all samples, then blocks of runs, then lanes cut out of the result.

Datasets of holdfast 0.1 are read in it for ever. A block at a border of lanes is read for both, and a leaf between two
runs by two ranks: what v2 was made for.
"""

from __future__ import annotations

import numpy as np

from .order_parameters import OrderParameters
from .permutation import U64, Permutation, permute, round_keys, round_keys_array


class OrderV1:
    """Of one epoch, by its key. Positions have to be below `samples`."""

    __slots__ = ("_edge", "_gap", "_key", "_parameters", "_short_slot", "runs")

    def __init__(self, key: int, parameters: OrderParameters) -> None:
        self._key, self._parameters = key, parameters
        samples, run = parameters.samples, parameters.run
        count = max(1, -(-samples // run))
        self.runs = Permutation(count, round_keys(key, 0))
        # The last run may be short. The slot it lands in shifts the start of every later slot by `_gap`.
        last = samples - (count - 1) * run
        self._gap = run - last
        self._short_slot = self.runs.backward(count - 1)
        self._edge = self._short_slot * run + last  # index of the first sample behind the short run

    @property
    def short_slot(self) -> int:
        """Where the last run, which may be short, stands among the runs."""
        return self._short_slot

    def sample_at(self, position: int) -> int:
        """The sample at a position."""
        base, longer = divmod(self._parameters.samples, self._parameters.lanes)
        row, lane = divmod(position, self._parameters.lanes)
        return self.shuffled(lane * base + min(lane, longer) + row)

    def shuffled(self, index: int) -> int:
        """The sample at `index` of the shuffled sequence, before it is dealt to lanes: σ of docs/order.md."""
        block = self._locate(index)[0] // self._parameters.block
        first = self._start(block * self._parameters.block)
        end = self._start(min(self.runs.size, (block + 1) * self._parameters.block))
        inside = Permutation(end - first, round_keys(self._key, block + 1))
        slot, offset = self._locate(first + inside.forward(index - first))
        return self.runs.forward(slot) * self._parameters.run + offset

    def samples_at(self, positions: U64) -> U64:
        """`sample_at` of each element, all of them below `samples`."""
        base, longer = divmod(self._parameters.samples, self._parameters.lanes)
        rows = positions // np.uint64(self._parameters.lanes)
        lanes = positions - rows * np.uint64(self._parameters.lanes)
        indices = lanes * np.uint64(base) + np.minimum(lanes, np.uint64(longer)) + rows

        runs_in_block = np.uint64(self._parameters.block)
        blocks = self._locate_array(indices)[0] // runs_in_block
        firsts = self._start_array(blocks * runs_in_block)
        ends = self._start_array(np.minimum((blocks + np.uint64(1)) * runs_in_block, np.uint64(self.runs.size)))
        sizes = ends - firsts
        keys = round_keys_array(self._key, blocks + np.uint64(1))
        inside = indices - firsts
        # At most four sizes occur: a whole block, the last one, and either of them with the short run in it.
        for size in np.unique(sizes):
            same = np.flatnonzero(sizes == size)
            inside[same] = permute(inside[same], int(size), keys[:, same])

        slots, offsets = self._locate_array(firsts + inside)
        run_keys = np.array(self.runs.keys, np.uint64)[:, None]
        return permute(slots, self.runs.size, run_keys) * np.uint64(self._parameters.run) + offsets

    def _start(self, slot: int) -> int:
        return slot * self._parameters.run - (self._gap if slot > self._short_slot else 0)

    def _start_array(self, slots: U64) -> U64:
        shift = (slots > np.uint64(self._short_slot)) * np.uint64(self._gap)
        return slots * np.uint64(self._parameters.run) - shift

    def _locate(self, index: int) -> tuple[int, int]:
        """The slot that holds `index`, and the offset in it."""
        return divmod(index + (self._gap if index >= self._edge else 0), self._parameters.run)

    def _locate_array(self, indices: U64) -> tuple[U64, U64]:
        run = np.uint64(self._parameters.run)
        shifted = indices + (indices >= np.uint64(self._edge)) * np.uint64(self._gap)
        slots = shifted // run
        return slots, shifted - slots * run
