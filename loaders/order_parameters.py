"""`OrderParameters`: the shape of an order; `master_key`: what all of its permutations are derived from. Pure."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, replace

from ..storage.manifest import OrderHints
from .permutation import MAX_SIZE

# of version 2, as in a head: they keep its products and the numbers of its permutations below 2**61
_LIMITS_V2 = {"samples": MAX_SIZE, "run": 1 << 40, "block": 1 << 20, "lanes": 1 << 10, "stretch": MAX_SIZE}


@dataclass(frozen=True, slots=True)
class OrderParameters:
    """Part of the dataset's head, so that all readers agree.

    `samples` in the dataset (0 is allowed), samples per `run`, runs per `block`, `lanes`; the `version` of the rule;
    runs per `stretch`, which version 1 knows nothing of.
    """

    samples: int
    run: int
    block: int
    lanes: int
    version: int
    stretch: int = 1

    def __post_init__(self) -> None:
        if self.version not in (1, 2):
            raise ValueError(f"version of an order: expected 1 or 2, got {self.version}")
        for name, limit in _LIMITS_V2.items():
            value, least = getattr(self, name), 0 if name == "samples" else 1
            most = limit if self.version == 2 else MAX_SIZE
            if not least <= value <= most:
                raise ValueError(f"{name} of an order: expected {least} to 2**{most.bit_length() - 1}, got {value}")
        if self.stretch * self.run > MAX_SIZE and self.version == 2:
            raise ValueError(f"a stretch of an order: expected up to 2**60 samples, got {self.stretch * self.run}")

    @classmethod
    def of(cls, hints: OrderHints, samples: int) -> OrderParameters:
        """Those of so many samples of a dataset, by its head."""
        return cls(samples, hints.run, hints.block, hints.lanes, hints.version, hints.stretch or 1)

    def of_windows(self, windows: int, seq_len: int) -> OrderParameters:
        """Those of windows of so many tokens (docs/order.md, §1)."""
        run = max(1, self.run // seq_len)
        stretch = max(1, self.stretch * self.run // (seq_len * run)) if self.version == 2 else 1
        return replace(self, samples=windows, run=run, stretch=stretch)

    def of_part(self) -> OrderParameters:
        """Those of a partition, which may be too small for the lanes of the whole (docs/order.md, §1)."""
        lanes = self.lanes
        while self.version == 2 and lanes > 1 and self.samples < lanes * self.stretch * self.run:
            lanes //= 2
        return replace(self, lanes=lanes)


def master_key(root: bytes, seed: int, epoch: int, parameters: OrderParameters) -> int:
    """The 64-bit key that all round keys of an epoch are derived from (docs/order.md §2)."""
    p = parameters
    numbers = struct.pack("<6Q", seed, epoch, p.samples, p.run, p.block, p.lanes)
    if p.version == 2:
        numbers += struct.pack("<Q", p.stretch)
    tag = b"holdfast/order/v%d\0" % p.version
    return int.from_bytes(hashlib.sha256(tag + root + numbers).digest()[:8], "little")
