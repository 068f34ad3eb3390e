"""`FileLayout`: which leaf holds which bytes of a file, and the digest of each."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from ..cid import CID

DIGEST_BYTES = 32
EMPTY_DIGEST = hashlib.sha256(b"").digest()


@dataclass(frozen=True, slots=True)
class FileLayout:
    """Where each leaf of a file lies: constant leaf_size but for the last.

    `digests` holds the sha2-256 digest of each leaf, 32 bytes a leaf. An empty file has one empty leaf. A
    file of one leaf has that raw leaf itself as `cid`, and its own size (at least 1) as `leaf_size`,
    whatever the option it was built with, so that a layout read from a DAG equals the one that built it.
    """

    cid: CID
    size: int
    leaf_size: int
    digests: bytes

    def __post_init__(self) -> None:
        if self.size < 0 or self.leaf_size < 1:
            raise ValueError(f"a file of {self.size} bytes in leaves of {self.leaf_size}")
        expected = leaf_count(self.size, self.leaf_size) * DIGEST_BYTES
        if len(self.digests) != expected:
            raise ValueError(f"{len(self.digests)} bytes of digests for {self.size} bytes, expected {expected}")

    @property
    def leaves(self) -> int:
        """How many leaves there are; at least one."""
        return len(self.digests) // DIGEST_BYTES

    def leaf_digest(self, index: int) -> bytes:
        """The sha2-256 digest of a leaf."""
        start = self._index(index) * DIGEST_BYTES
        return self.digests[start : start + DIGEST_BYTES]

    def leaf_cid(self, index: int) -> CID:
        """The CID of a leaf: v1, raw."""
        return CID.raw(self.leaf_digest(index))

    def leaf_range(self, index: int) -> tuple[int, int]:
        """Start and end (exclusive) of a leaf in the file."""
        start = self._index(index) * self.leaf_size
        return start, min(start + self.leaf_size, self.size)

    def leaf_length(self, index: int) -> int:
        """How many bytes a leaf has."""
        start, end = self.leaf_range(index)
        return end - start

    def leaves_of(self, start: int, end: int) -> range:
        """The leaves that hold the bytes `start` to `end` (exclusive); none for no bytes."""
        if not 0 <= start <= end <= self.size:
            raise ValueError(f"bytes {start} to {end} of a file of {self.size}")
        if start == end:
            return range(0)
        return range(start // self.leaf_size, (end - 1) // self.leaf_size + 1)

    def _index(self, index: int) -> int:
        if not 0 <= index < self.leaves:
            raise IndexError(f"leaf {index} of {self.leaves}")
        return index


def leaf_count(size: int, leaf_size: int) -> int:
    """How many leaves a file of `size` bytes has."""
    return max(1, -(-size // leaf_size))
