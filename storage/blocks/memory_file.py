"""`MemoryFile`: a small file in memory, filled leaf by leaf; the diskless twin of `VerifiedFile`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from ..dag.layout import FileLayout
from ..errors import HashMismatchError


class MemoryFile:
    """Leaves of one file, each hashed before it is kept."""

    def __init__(self, layout: FileLayout) -> None:
        self.layout = layout
        self._data = bytearray(layout.size)
        self._have = bytearray(layout.leaves)

    def has(self, leaf: int) -> bool:
        """Whether the leaf is here."""
        return bool(self._have[leaf])

    def missing(self, leaves: Iterable[int]) -> list[int]:
        """Those of `leaves` that are not here."""
        return [leaf for leaf in leaves if not self._have[leaf]]

    def write(self, leaf: int, data: bytes | memoryview) -> None:
        """Hash and keep. Raises `HashMismatchError`."""
        start, end = self.layout.leaf_range(leaf)
        if len(data) != end - start or hashlib.sha256(data).digest() != self.layout.leaf_digest(leaf):
            raise HashMismatchError(f"leaf {leaf} of {self.layout.cid.short()} does not hash to its CID")
        self._data[start:end] = data
        self._have[leaf] = 1

    def view(self, start: int, end: int) -> memoryview:
        """The bytes [start, end)."""
        return memoryview(self._data)[start:end]

    def close(self) -> None:
        """Nothing to release; the twin of `VerifiedFile.close`."""

    def content(self) -> bytes:
        """The whole file. Raises `RuntimeError` before it is complete."""
        if not all(self._have):
            raise RuntimeError(f"{self.layout.cid.short()} is not complete")
        return bytes(self._data)
