"""Order v2 (docs/order.md, §4): stretches shuffled, cut into lanes; in each lane runs shuffled, then blocks of runs.

A lane is made of pieces of the file as long as a stretch, and shares with others no more than the leaves and runs at
their ends: a rank that owns lanes downloads its share.
"""

from __future__ import annotations

import numpy as np

from .order_parameters import OrderParameters
from .permutation import U64, Permutation, permute, permute_each, round_keys, round_keys_array

_ONE = np.uint64(1)


class OrderV2:
    """Of one epoch, by its key. Positions have to be below `samples`."""

    __slots__ = ("_base", "_block", "_blocks", "_key", "_lane_keys", "_longer", "_parameters", "_stretch", "stretches")

    def __init__(self, key: int, parameters: OrderParameters) -> None:
        self._key, self._parameters = key, parameters
        self._base, self._longer = divmod(parameters.samples, parameters.lanes)
        self._block = parameters.block * parameters.run
        longest = self._base + (self._longer > 0)
        self._blocks = -(-longest // self._block) + 1  # more than any lane has
        self._stretch = parameters.stretch * parameters.run
        self._lane_keys = round_keys_array(key, _ONE + np.arange(parameters.lanes, dtype=np.uint64))
        self.stretches = Permutation(max(1, parameters.samples // self._stretch), round_keys(key, 0))

    def sample_at(self, position: int) -> int:
        """The sample at a position."""
        row, lane = divmod(position, self._parameters.lanes)
        return self.sequence(self._start(lane) + self.in_lane(lane, row))

    def _start(self, lane: int) -> int:
        return lane * self._base + min(lane, self._longer)

    def in_lane(self, lane: int, row: int) -> int:
        """Where in its lane the sample lies that comes as number `row` of it: λ of docs/order.md."""
        samples, run = self._base + (lane < self._longer), self._parameters.run
        head = min(samples, -self._start(lane) % run)  # of a run that began in the lane before
        shift = lane * self._parameters.block // self._parameters.lanes * run  # blocks of the lanes begin by turns
        number = (max(row, head) - head + shift) // self._block
        first = head + number * self._block - shift if number else 0
        block = Permutation(
            min(samples, head + (number + 1) * self._block - shift) - first,
            round_keys(self._key, 1 + self._parameters.lanes + lane * self._blocks + number),
        )
        place = first + block.forward(row - first)
        whole = (samples - head) // run
        if not head <= place < head + whole * run:  # the ends of a lane may be parts of runs, and stay where they are
            return place
        slot, offset = divmod(place - head, run)
        return head + Permutation(whole, round_keys(self._key, 1 + lane)).forward(slot) * run + offset

    def sequence(self, index: int) -> int:
        """The sample at `index` of the stretches in their order: τ of docs/order.md."""
        slot, offset = divmod(index, self._stretch)
        whole = slot < self._parameters.samples // self._stretch  # the last one may be short, and stays where it is
        return (self.stretches.forward(slot) if whole else slot) * self._stretch + offset

    def samples_at(self, positions: U64) -> U64:
        """`sample_at` of each element."""
        count = np.uint64(self._parameters.lanes)
        rows = positions // count
        lanes = positions - rows * count
        starts: U64 = lanes * np.uint64(self._base) + np.minimum(lanes, np.uint64(self._longer))
        return self._sequence(starts + self._in_lanes(lanes, rows, starts))

    def _in_lanes(self, lanes: U64, rows: U64, starts: U64) -> U64:
        samples = np.uint64(self._base) + (lanes < np.uint64(self._longer)).astype(np.uint64)
        run, block = np.uint64(self._parameters.run), np.uint64(self._block)
        heads: U64 = np.minimum(samples, (run - starts % run) % run)
        shifts = lanes * np.uint64(self._parameters.block) // np.uint64(self._parameters.lanes) * run
        numbers = (np.maximum(rows, heads) - heads + shifts) // block
        firsts: U64 = np.where(numbers > 0, heads + numbers * block - shifts, np.uint64(0))
        sizes = np.minimum(samples, heads + (numbers + _ONE) * block - shifts) - firsts
        blocks = np.uint64(1 + self._parameters.lanes) + lanes * np.uint64(self._blocks) + numbers
        places = firsts + permute_each(rows - firsts, sizes, round_keys_array(self._key, blocks))
        wholes = (samples - heads) // run
        inside = np.flatnonzero((places >= heads) & (places < heads + wholes * run))
        behind = places[inside] - heads[inside]
        slots = behind // run
        moved = permute_each(slots, wholes[inside], self._lane_keys[:, lanes[inside].astype(np.intp)])
        places[inside] += (moved - slots) * run  # wraps around, and back
        return places

    def _sequence(self, indices: U64) -> U64:
        stretch = np.uint64(self._stretch)
        slots = indices // stretch
        offsets = indices - slots * stretch
        inside = np.flatnonzero(slots < np.uint64(self._parameters.samples // self._stretch))
        keys = np.array(self.stretches.keys, np.uint64)[:, None]
        slots[inside] = permute(slots[inside], self.stretches.size, keys)
        return slots * stretch + offsets
