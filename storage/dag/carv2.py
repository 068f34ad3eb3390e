"""CARv2: a CARv1 in a wrapper that says where it begins and ends, and where an index of it lies.

Specification: ipld.io/specs/transport/car/carv2. An index that we read is skipped: whoever wrote it may be wrong, and
every block is hashed where it lies anyway. We write `MultihashIndexSorted`, after the data.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass

import numpy as np

from ..cid import CID
from ..errors import FormatError
from ..varint import read_uvarint, uvarint

PRAGMA = b"\x0a\xa1gversion\x02"  # the dag-cbor {version: 2}, and its length before it
HEADER_BYTES = 40
MULTIHASH_INDEX_SORTED = 0x0401
_HEADER = struct.Struct("<16sQQQ")  # characteristics, data offset, data size, index offset
_FULLY_INDEXED = b"\x80" + bytes(15)
_COUNT, _CODE, _WIDTH = struct.Struct("<i"), struct.Struct("<Q"), struct.Struct("<IQ")
_OFFSET_BYTES = 8


@dataclass(frozen=True, slots=True)
class Wrapper:
    """Where the CARv1 lies, in bytes from the beginning of the file. `index_offset`: 0 where there is none."""

    data_offset: int
    data_size: int
    index_offset: int = 0

    @property
    def data_end(self) -> int:
        """Behind its last byte."""
        return self.data_offset + self.data_size


FIRST = len(PRAGMA) + HEADER_BYTES  # where the data may begin


def decode_header(data: bytes) -> Wrapper:
    """Read the 40 bytes behind the pragma. Raises `FormatError` for places that contradict each other."""
    _, start, size, index = _HEADER.unpack(data)
    if not any((start, size, index)):
        raise FormatError("the CARv2 was never finished: its header is empty", hint="write it again")
    if start < FIRST or size < 1 or start + size >= 1 << 63:
        raise FormatError(f"CARv2 header: data of {size} bytes at byte {start}")
    if index and index < start + size:
        raise FormatError(f"CARv2 header: the index at byte {index} lies before the end of the data")
    return Wrapper(start, size, index)


def encode_head(data_size: int) -> bytes:
    """Pragma and header of a file whose data follows at once, and whose index follows the data and is complete."""
    return PRAGMA + _HEADER.pack(_FULLY_INDEXED, FIRST, data_size, FIRST + data_size)


class IndexWriter:
    """Collects sections and encodes their index; some 50 bytes a block in memory."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[int, int], tuple[bytearray, array[int]]] = {}

    def add(self, cid: CID, offset: int) -> None:
        """A section that begins (with its length) at `offset` of the CARv1."""
        code, at = read_uvarint(cid.multihash, 0)
        length, at = read_uvarint(cid.multihash, at)
        digests, offsets = self._buckets.setdefault((code, length), (bytearray(), array("Q")))
        digests += cid.multihash[at:]
        offsets.append(offset)

    def encode(self) -> bytes:
        """The index with its codec in front: by hash, by length of the digest, by digest, by offset."""
        codes = sorted({code for code, _ in self._buckets})
        parts = [uvarint(MULTIHASH_INDEX_SORTED), _COUNT.pack(len(codes))]
        for code in codes:
            lengths = sorted(length for other, length in self._buckets if other == code)
            parts += [_CODE.pack(code), _COUNT.pack(len(lengths))]
            for length in lengths:
                digests, offsets = self._buckets[code, length]
                width = length + _OFFSET_BYTES
                rows = np.empty((len(offsets), width), dtype=np.uint8)
                rows[:, :length] = np.frombuffer(digests, dtype=np.uint8).reshape(-1, length)
                rows[:, length:] = np.asarray(offsets, dtype="<u8").view(np.uint8).reshape(-1, _OFFSET_BYTES)
                keys = np.ascontiguousarray(rows[:, :length]).view(f"V{length}").ravel()
                order = np.argsort(keys, kind="stable")
                parts += [_WIDTH.pack(width, rows.size), rows[order].tobytes()]
        return b"".join(parts)
