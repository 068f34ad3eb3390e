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
_BLOCK = np.dtype([("offset", "<i8"), ("metadata", "<i4"), ("padding", "<i4"), ("body", "<i8")])  # two are lengths
_MAX_FOOTER_BYTES = 64 << 20
_MAX_METADATA_BYTES = 16 << 20
_BUFFER = np.dtype([("offset", "<i8"), ("length", "<i8")])
_PREFIX = struct.Struct("<q")  # before a compressed buffer: its length when it is decompressed; -1: it is not
_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3  # in the union of message headers
_FOOTER_DICTIONARIES, _FOOTER_BATCHES = 2, 3  # fields, by number
_MESSAGE_KIND, _MESSAGE_HEADER = 1, 2
_BATCH_LENGTH, _BATCH_BUFFERS, _BATCH_COMPRESSION, _DICTIONARY_DATA = 0, 2, 3, 1
_OLD_COMPRESSION = b"ARROW:experimental_compression"  # in the metadata of messages before 1.0

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


@dataclass(frozen=True, slots=True)
class Block:
    """Where a message lies in the file: its metadata, and its body behind them."""

    start: int
    body: int
    end: int


def blocks(read: Read, size: int) -> tuple[list[Block], list[Block]]:
    """The dictionaries and the record batches of a file of `size` bytes; `read(start, end)` gives its bytes.

    Raises `FormatError` when its footer is malformed, or one of them leaves the file or overlaps another: who reads all
    of them, reads no more than the file.
    """
    if size < 2 * len(MAGIC) + _TAIL.size or read(0, len(MAGIC)) != MAGIC:
        raise FormatError("it does not begin as an Arrow IPC file does")
    length, magic = _TAIL.unpack(read(size - _TAIL.size, size))
    if magic != MAGIC or not 0 < length <= min(_MAX_FOOTER_BYTES, size - _TAIL.size):
        raise FormatError("it does not end as an Arrow IPC file does")
    end = size - _TAIL.size - length
    footer = read(end, size - _TAIL.size)
    try:
        dictionaries, batches = _blocks(footer, _FOOTER_DICTIONARIES, end), _blocks(footer, _FOOTER_BATCHES, end)
    except (struct.error, IndexError) as error:
        raise FormatError("its footer is malformed") from error
    _check_apart(np.concatenate([dictionaries, batches]))
    return [Block(*each) for each in dictionaries.tolist()], [Block(*each) for each in batches.tolist()]


def batch_table(read: Read, size: int) -> BatchTable:
    """The record batches of a file, as `blocks` reads it. Raises `FormatError`."""
    rows, starts, ends = [0], [], []
    for block in blocks(read, size)[1]:
        try:
            rows.append(rows[-1] + _rows(read(block.start, block.body)))
        except (struct.error, IndexError) as error:
            raise FormatError(f"the record batch at byte {block.start} is malformed") from error
        starts.append(block.start)
        ends.append(block.end)
    return BatchTable(*(np.array(each, dtype=np.int64) for each in (rows, starts, ends)))


def decompressed_bytes(read: Read, block: Block) -> int:
    """What the buffers of a record batch or a dictionary take when they are decompressed, as they say themselves; 0 of
    one that is not compressed.

    Raises `FormatError` when it is malformed, or a buffer leaves it.
    """
    message = _message(read(block.start, block.body))
    try:
        batch = _header(message, _RECORD_BATCH, _DICTIONARY_BATCH)
        if message[_kind(message)] == _DICTIONARY_BATCH:
            at = _field(message, batch, _DICTIONARY_DATA)
            if at is None:
                raise FormatError(f"the dictionary at byte {block.start} has no values")
            batch = at + _u32(message, at)
        if _field(message, batch, _BATCH_COMPRESSION) is None and _OLD_COMPRESSION not in message:
            return 0
        total, length = 0, block.end - block.body
        for start, size in _buffers(message, batch).tolist():
            if not 0 <= start <= start + size <= length or 0 < size < _PREFIX.size:
                raise FormatError(f"a buffer of the message at byte {block.start} leaves it")
            if size:
                at = block.body + start
                total += max(_PREFIX.unpack(bytes(read(at, at + _PREFIX.size)))[0], 0)
    except (struct.error, IndexError) as error:
        raise FormatError(f"the message at byte {block.start} is malformed") from error
    return total


def _buffers(message: bytes, batch: int) -> npt.NDArray[np.void]:
    at = _field(message, batch, _BATCH_BUFFERS)
    if at is None:
        return np.empty(0, dtype=_BUFFER)
    vector = at + _u32(message, at)
    count, first = _u32(message, vector), vector + 4
    if count * _BUFFER.itemsize > len(message) - first:
        raise FormatError(f"a message says that it has {count} buffers, and has no room for them")
    return np.frombuffer(message, dtype=_BUFFER, count=count, offset=first)


def _blocks(footer: bytes, field: int, size: int) -> npt.NDArray[np.int64]:
    """Start, body and end of each; `size`: of the file, before its footer."""
    at = _field(footer, _u32(footer, 0), field)
    if at is None:
        return np.empty((0, 3), dtype=np.int64)
    vector = at + _u32(footer, at)
    count, first = _u32(footer, vector), vector + 4
    if count * _BLOCK.itemsize > len(footer) - first:
        raise FormatError(f"its footer says {count} messages, and has no room for them")
    found = np.frombuffer(footer, dtype=_BLOCK, count=count, offset=first)
    start, metadata, length = found["offset"], found["metadata"].astype(np.int64), found["body"]
    inside = (start >= 0) & (start <= size) & (length >= 0) & (length <= size - start - metadata)
    if not np.all(inside & (metadata > _PREFIX.size) & (metadata <= _MAX_METADATA_BYTES)):
        raise FormatError("one of its record batches or dictionaries leaves the file")
    return np.stack([start, start + metadata, start + metadata + length], axis=1)


def _check_apart(found: npt.NDArray[np.int64]) -> None:
    found = found[np.argsort(found[:, 0])]
    if np.any(found[1:, 0] < found[:-1, 2]):
        raise FormatError("its record batches or dictionaries overlap")


def _message(data: bytes) -> bytes:
    """The metadata of a message: with or without the marker that newer writers put before the length."""
    return data[8:] if data[:4] == b"\xff\xff\xff\xff" else data[4:]


def _kind(message: bytes) -> int:
    at = _field(message, _u32(message, 0), _MESSAGE_KIND)
    if at is None:
        raise FormatError("a message does not say what it is")
    return at


def _header(message: bytes, *kinds: int) -> int:
    """Where the header of a message begins, if it is of one of these kinds."""
    at = _field(message, _u32(message, 0), _MESSAGE_HEADER)
    if at is None or message[_kind(message)] not in kinds:
        raise FormatError("a record batch is none")
    return at + _u32(message, at)


def _rows(message: bytes) -> int:
    """Rows of a record batch, by its metadata."""
    data = _message(message)
    at = _field(data, _header(data, _RECORD_BATCH), _BATCH_LENGTH)
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
