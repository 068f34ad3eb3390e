"""Sorted arrays that say in which files a leaf lies: 48 bytes a leaf, mapped into memory, searched by halving.

A *segment* is written once per publish, pin or import, and never changed. Layout (little-endian):
`hf-leaf1`, u64 count, then `count` digests of 32 bytes in ascending order, then `count` references
(u32 file id, u32 length in bytes, u64 offset in bytes) in the same order. Equal digests lie side by side:
several locations of one block.
"""

from __future__ import annotations

import bisect
import mmap
import secrets
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import StoreError
from .atomic import write_atomic
from .stamp import RACY_NS

_MAGIC = b"hf-leaf1"
_HEAD = struct.Struct("<8sQ")
_REFERENCE = struct.Struct("<IIQ")
REFERENCE_DTYPE = np.dtype([("file", "<u4"), ("length", "<u4"), ("offset", "<u8")])


@dataclass(frozen=True, slots=True)
class LeafRef:
    """One location: file id in the catalog, offset and length in bytes."""

    file: int
    offset: int
    length: int


class _Segment(Sequence[bytes]):
    """A mapped segment, as the sorted sequence of its digests."""

    def __init__(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
            magic, self._count = _HEAD.unpack_from(self._map)
        except (OSError, ValueError, struct.error):  # unreadable, empty, or shorter than its head
            magic, self._count, self._map = b"", 0, mmap.mmap(-1, 1)
        if magic != _MAGIC or len(self._map) != _HEAD.size + 48 * self._count:
            raise StoreError(f"{path} is not a leaf index", hint="publish or pin the dataset again")

    def __len__(self) -> int:
        return int(self._count)

    def __getitem__(self, index: int) -> bytes:  # type: ignore[override]
        start = _HEAD.size + 32 * index
        return self._map[start : start + 32]

    def find(self, digest: bytes) -> Iterator[LeafRef]:
        index = bisect.bisect_left(self, digest)
        while index < self._count and self[index] == digest:
            at = _HEAD.size + 32 * self._count + _REFERENCE.size * index
            file, length, offset = _REFERENCE.unpack_from(self._map, at)
            yield LeafRef(file, offset, length)
            index += 1


class LeafIndex:
    """All segments of a repository. Segments that another process adds are seen at the next miss."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._segments: dict[str, _Segment] = {}
        self._seen_mtime_ns = -1
        self._lock = threading.Lock()

    def add(self, digests: bytes, references: npt.NDArray[np.void]) -> None:
        """Write one segment: `digests` (32 bytes each, any order), references (`REFERENCE_DTYPE`) in that order."""
        if not digests:
            return
        keys = np.frombuffer(digests, dtype="S32")
        if len(keys) != len(references):
            raise ValueError(f"{len(keys)} digests but {len(references)} references")
        rank = np.argsort(keys, kind="stable")
        body = np.frombuffer(digests, dtype=np.uint8).reshape(-1, 32)[rank].tobytes() + references[rank].tobytes()
        write_atomic(self.folder / f"{secrets.token_hex(8)}.leaves", _HEAD.pack(_MAGIC, len(keys)) + body)

    def find(self, digest: bytes) -> list[LeafRef]:
        """Every known location of the leaf; empty when there is none."""
        looked_in = self._segments
        if refs := _search(looked_in, digest):
            return refs
        with self._lock:
            self._refresh()
        # another thread may have refreshed since we looked
        return [] if self._segments is looked_in else _search(self._segments, digest)

    def find_anew(self, digest: bytes) -> list[LeafRef]:
        """`find`, after a look at the disk: for when none of the known locations was any good."""
        with self._lock:
            self._refresh()
        return _search(self._segments, digest)

    def _refresh(self) -> None:
        """Look at the folder again if it changed since it was last read."""
        try:
            mtime_ns = self.folder.stat().st_mtime_ns
        except FileNotFoundError:
            return
        if mtime_ns == self._seen_mtime_ns:
            return
        # a segment added within the same tick would leave the folder's time as it is: look again next time
        self._seen_mtime_ns = mtime_ns if mtime_ns < time.time_ns() - RACY_NS else -1
        names = {path.name for path in self.folder.glob("*.leaves")}
        if names != self._segments.keys():
            self._segments = {name: self._segments.get(name) or _Segment(self.folder / name) for name in sorted(names)}


def _search(segments: dict[str, _Segment], digest: bytes) -> list[LeafRef]:
    return [ref for segment in segments.values() for ref in segment.find(digest)]
