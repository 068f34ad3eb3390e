"""`Segment`: one sorted array of a `LeafIndex`, a file that is written once and mapped into memory.

Layout (little-endian): `hf-leaf1`, u64 count, then `count` digests of 32 bytes in ascending order, then `count`
references (u32 file id, u32 length in bytes, u64 offset in bytes) in the same order. Equal digests lie side by side:
several locations of one block. It is called RANDOM-DIGEST.leaves, with the sha2-256 of the file as DIGEST, so that
`check` sees every flipped bit; the first ones were called RANDOM.leaves. Look-ups do not hash it: blocks are hashed.
"""

from __future__ import annotations

import bisect
import hashlib
import mmap
import secrets
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import StoreError

MAGIC = b"hf-leaf1"
HEAD = struct.Struct("<8sQ")
REFERENCE_DTYPE = np.dtype([("file", "<u4"), ("length", "<u4"), ("offset", "<u8")])
ENTRY_BYTES = 48  # digest and reference of a leaf
_REFERENCE = struct.Struct("<IIQ")
_PIECE = 1 << 24  # bytes hashed at once

Table = tuple[npt.NDArray[np.bytes_], npt.NDArray[np.void]]


@dataclass(frozen=True, slots=True)
class LeafRef:
    """One location: file id in the catalog, offset and length in bytes."""

    file: int
    offset: int
    length: int


class Segment(Sequence[bytes]):
    """A mapped segment, as the sorted sequence of its digests."""

    def __init__(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
            magic, self._count = HEAD.unpack_from(self._map)
        except FileNotFoundError:  # merged into another one meanwhile
            raise
        except (OSError, ValueError, struct.error):  # unreadable, empty, or shorter than its head
            magic, self._count, self._map = b"", 0, mmap.mmap(-1, 1)
        if magic != MAGIC or len(self._map) != HEAD.size + ENTRY_BYTES * self._count:
            raise StoreError(f"{path} is not a leaf index", hint="publish or pin the dataset again")

    def __len__(self) -> int:
        return int(self._count)

    def __getitem__(self, index: int) -> bytes:  # type: ignore[override]
        start = HEAD.size + 32 * index
        return self._map[start : start + 32]

    def table(self) -> Table:
        """Digests and references as arrays over the mapped file."""
        at = HEAD.size + 32 * self._count
        keys = np.frombuffer(self._map, dtype="S32", count=self._count, offset=HEAD.size)
        return keys, np.frombuffer(self._map, dtype=REFERENCE_DTYPE, count=self._count, offset=at)

    def find(self, digest: bytes) -> Iterator[LeafRef]:
        """Every location of the leaf."""
        index = bisect.bisect_left(self, digest)
        while index < self._count and self[index] == digest:
            at = HEAD.size + 32 * self._count + _REFERENCE.size * index
            file, length, offset = _REFERENCE.unpack_from(self._map, at)
            yield LeafRef(file, offset, length)
            index += 1


def encode(keys: npt.NDArray[np.bytes_], references: npt.NDArray[np.void]) -> tuple[str, bytes]:
    """Name and content of a segment with these digests (S32) and references (`REFERENCE_DTYPE`), in any order."""
    rank = np.lexsort((references["offset"], references["file"], keys))
    body = np.ascontiguousarray(keys[rank]).tobytes() + references[rank].tobytes()
    data = HEAD.pack(MAGIC, len(keys)) + body
    return f"{secrets.token_hex(8)}-{hashlib.sha256(data).hexdigest()}.leaves", data


def is_damaged(path: Path) -> bool:
    """Whether a segment is not what its name says; of a name without a digest nothing is known. Raises `OSError`."""
    _, _, wanted = path.stem.partition("-")
    if not wanted:
        return False
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest() != wanted


def decode_damaged(data: bytes) -> Table | None:
    """Digests and references of a segment whose head may be wrong; None when even its size is."""
    count, rest = divmod(len(data) - HEAD.size, ENTRY_BYTES)
    if rest or count < 0:
        return None
    keys = np.frombuffer(data, dtype="S32", count=count, offset=HEAD.size)
    return keys, np.frombuffer(data, dtype=REFERENCE_DTYPE, count=count, offset=HEAD.size + 32 * count)
