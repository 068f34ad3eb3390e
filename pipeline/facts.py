"""`Facts`: what a shard says of itself, whoever reads or writes it."""

from __future__ import annotations

import sys
from array import array
from dataclasses import dataclass

from ..storage.blocks.stamp import Stamp
from .skipped import MAX_NAMED

MAX_COLUMNS = 256


@dataclass(frozen=True, slots=True)
class Facts:
    """`stamp`: the file that was read, to be compared with the one that was hashed.

    `index`: where samples start, as docs/formats.md says for each format. `run`: rows of the first row group or record
    batch. `left_out`: members or lines that are no part of a sample, and why; the first of `left_out_count`.
    """

    stamp: Stamp
    samples: int
    columns: dict[str, str]
    index: bytes | None = None
    run: int = 1
    left_out: tuple[tuple[str, str], ...] = ()
    left_out_count: int = 0
    warnings: tuple[str, ...] = ()


class LeftOut:
    """What is no part of a sample of one shard: the first few by name."""

    def __init__(self, shard: str) -> None:
        self._shard, self.count = shard, 0
        self.named: list[tuple[str, str]] = []

    def add(self, name: str, reason: str) -> None:
        """One more."""
        self.count += 1
        if len(self.named) < MAX_NAMED:
            self.named.append((f"{self._shard}: {name}", reason))


def offsets_bytes(offsets: array[int]) -> bytes:
    """u64 little-endian, as an index file holds them."""
    if sys.byteorder == "big":
        offsets.byteswap()
    return offsets.tobytes()
