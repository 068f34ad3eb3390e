"""Arrow IPC files: where their record batches lie and how many rows each has, from their own metadata. Pure.

A reader of one batch needs the schema, the dictionaries and that batch: what the footer says of a batch, and its
length, stand in the published index, so that nobody reads all of a file to find a row.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import FormatError

MAGIC = b"ARROW1"
_TAIL = struct.Struct("<i6s")  # length of the footer, magic
_BLOCK = struct.Struct("<qi4xq")  # offset, length of the metadata, length of the body
_MAX_FOOTER_BYTES = 64 << 20
_MAX_METADATA_BYTES = 16 << 20
_RECORD_BATCH = 3  # in the union of message headers
_FOOTER_BATCHES, _MESSAGE_KIND, _MESSAGE_HEADER, _BATCH_LENGTH = 3, 1, 2, 0  # fields, by number

Read = Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True)
class BatchTable:
    """Record batches in order. `first_rows`: the number of the first row of each, then of all rows (int64).

    `starts`, `ends`: the bytes of each, metadata and body.
    """

    first_rows: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]

    def encode(self) -> bytes:
        """The index file: for each batch first row, start and end, then the number of rows; u64 little-endian."""
        body = np.stack([self.first_rows[:-1], self.starts, self.ends], axis=1).astype("<u8").tobytes()
        return body + struct.pack("<Q", int(self.first_rows[-1]))

    @classmethod
    def decode(cls, data: bytes, rows: int, size: int) -> BatchTable:
        """Read an index of a file of `size` bytes and so many rows. Raises `FormatError` when it contradicts that."""
        if len(data) % 24 != 8:
            raise FormatError(f"the index has {len(data)} bytes, which is no list of record batches")
        numbers = np.frombuffer(data, dtype="<u8")
        if numbers.max() >= 1 << 62:
            raise FormatError("the index holds a number above 2^62")
        table, total = numbers[:-1].astype(np.int64).reshape(-1, 3), int(numbers[-1])
        first_rows = np.append(table[:, 0], total)
        if total != rows or first_rows[0] != 0 or np.any(np.diff(first_rows) < 0):
            raise FormatError(f"the index does not count {rows} rows in order")
        starts, ends = table[:, 1].copy(), table[:, 2].copy()
        if np.any(starts > ends) or np.any(ends > size):
            raise FormatError(f"the index leaves the {size} bytes of the file")
        return cls(first_rows, starts, ends)


def batch_table(read: Read, size: int) -> BatchTable:
    """The record batches of a file of `size` bytes; `read(start, end)` gives its bytes. Raises `FormatError`."""
    if size < 2 * len(MAGIC) + _TAIL.size or read(0, len(MAGIC)) != MAGIC:
        raise FormatError("it does not begin as an Arrow IPC file does")
    length, magic = _TAIL.unpack(read(size - _TAIL.size, size))
    if magic != MAGIC or not 0 < length <= min(_MAX_FOOTER_BYTES, size - _TAIL.size):
        raise FormatError("it does not end as an Arrow IPC file does")
    footer = read(size - _TAIL.size - length, size - _TAIL.size)
    rows, starts, ends = [0], [], []
    try:
        for offset, metadata, body in _blocks(footer):
            end = offset + metadata + body
            if not (0 <= offset <= end <= size and 8 < metadata <= _MAX_METADATA_BYTES and body >= 0):
                raise FormatError(f"a record batch at byte {offset} leaves the file")
            rows.append(rows[-1] + _rows(read(offset, offset + metadata)))
            starts.append(offset)
            ends.append(end)
    except (struct.error, IndexError) as error:
        raise FormatError("its footer is malformed") from error
    return BatchTable(*(np.array(each, dtype=np.int64) for each in (rows, starts, ends)))


def _blocks(footer: bytes) -> list[tuple[int, int, int]]:
    at = _field(footer, _u32(footer, 0), _FOOTER_BATCHES)
    if at is None:
        return []
    vector = at + _u32(footer, at)
    count, first = _u32(footer, vector), vector + 4
    if count * _BLOCK.size > len(footer) - first:
        raise FormatError(f"its footer says {count} record batches, and has no room for them")
    return [_BLOCK.unpack_from(footer, first + number * _BLOCK.size) for number in range(count)]


def _rows(message: bytes) -> int:
    """Rows of a record batch, by its metadata: with or without the marker that newer writers put before the length."""
    start = 8 if message[:4] == b"\xff\xff\xff\xff" else 4
    data = message[start:]
    root = _u32(data, 0)
    kind, header = _field(data, root, _MESSAGE_KIND), _field(data, root, _MESSAGE_HEADER)
    if kind is None or header is None or data[kind] != _RECORD_BATCH:
        raise FormatError("a record batch is none")
    at = _field(data, header + _u32(data, header), _BATCH_LENGTH)
    rows: int = 0 if at is None else struct.unpack_from("<q", data, at)[0]
    if not 0 <= rows < 1 << 40:
        raise FormatError(f"a record batch of {rows} rows")
    return rows


def _u32(data: bytes, at: int) -> int:
    number: int = struct.unpack_from("<I", data, at)[0]
    return number


def _field(data: bytes, table: int, number: int) -> int | None:
    """Where a field of a flatbuffer table lies; None when it is not there."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    if vtable < 0 or 4 + 2 * number >= struct.unpack_from("<H", data, vtable)[0]:
        return None
    offset = struct.unpack_from("<H", data, vtable + 4 + 2 * number)[0]
    return table + offset if offset else None
