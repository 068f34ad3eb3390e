"""Which sample comes at which position, for every world size alike (docs/order.md).

A pure function of (root, seed, epoch, parameters, position) in constant time and memory. Nothing in a version of it may
change, because resuming and auditing recompute old positions: a new order gets a new version tag.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .order_parameters import OrderParameters, master_key
from .order_v1 import OrderV1
from .order_v2 import OrderV2

CHUNK = 1 << 14  # positions computed at a time: temporaries stay in the CPU's cache, whatever is asked for


class Order:
    """The order of one epoch. `root` is the dataset's binary CIDv1; with `shuffle` off, sample = position.

    Raises `ValueError` for a root that is empty or a CIDv0 (`CID.v1()` converts: one dataset has one order),
    and for a seed or epoch that is not an unsigned 64-bit integer.
    """

    __slots__ = ("_rule", "epoch", "master_key", "parameters", "root", "seed", "shuffle")

    def __init__(self, root: bytes, seed: int, epoch: int, parameters: OrderParameters, shuffle: bool = True) -> None:
        if not root or (len(root) == 34 and root.startswith(b"\x12\x20")):
            raise ValueError(f"root of an order: expected a binary CIDv1, got {root.hex() or 'nothing'}")
        for name, value in (("seed", seed), ("epoch", epoch)):
            if not 0 <= value < 1 << 64:
                raise ValueError(f"{name} of an order: expected 0 to 2**64 - 1, got {value}")
        self.root, self.seed, self.epoch = bytes(root), seed, epoch
        self.parameters, self.shuffle = parameters, shuffle
        self.master_key = master_key(self.root, seed, epoch, parameters)
        self._rule: OrderV1 | OrderV2 = (OrderV1 if parameters.version == 1 else OrderV2)(self.master_key, parameters)

    def __repr__(self) -> str:
        return f"<Order seed={self.seed} epoch={self.epoch} {self.parameters} shuffle={self.shuffle}>"

    def __len__(self) -> int:
        return self.parameters.samples

    def sample_at(self, position: int) -> int:
        """The global index of the sample at `position`. Raises `ValueError` outside 0 … samples - 1."""
        if not 0 <= position < self.parameters.samples:
            raise ValueError(f"position {position} is outside 0 … {self.parameters.samples - 1}")
        return self._rule.sample_at(position) if self.shuffle else position

    def samples_at(self, positions: NDArray[np.integer]) -> NDArray[np.int64]:
        """`sample_at` of each element of a flat array of integers, fast. They may repeat."""
        if positions.ndim != 1 or positions.dtype.kind not in "iu":
            raise TypeError(f"expected a flat array of integers, got {positions.ndim} axes of {positions.dtype}")
        if len(positions) and not 0 <= int(positions.min()) <= int(positions.max()) < self.parameters.samples:
            raise ValueError(f"positions {positions.min()} … {positions.max()} leave 0 … {self.parameters.samples - 1}")
        out = np.empty(len(positions), np.int64)
        for start in range(0, len(positions), CHUNK):
            part = positions[start : start + CHUNK].astype(np.uint64)
            out[start : start + CHUNK] = self._rule.samples_at(part) if self.shuffle else part
        return out
