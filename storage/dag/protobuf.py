"""The wire format of protobuf, as far as dag-pb and UnixFS use it: strict, bounded by the bytes at hand.

Specification: protobuf.dev/programming-guides/encoding. Varints must be minimal and, but for `int64`, below
2**63.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import FormatError
from ..varint import read_uvarint, uvarint

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_FIXED = {FIXED64: 8, FIXED32: 4}


def varint_field(number: int, value: int) -> bytes:
    """A varint field. A negative `value` is written as an int64: ten bytes."""
    if value < 0:
        low = bytes((value >> shift) & 127 | 128 for shift in range(0, 63, 7))
        return uvarint(number << 3 | VARINT) + low + b"\x01"
    return uvarint(number << 3 | VARINT) + uvarint(value)


def bytes_field(number: int, value: bytes) -> bytes:
    """A length-delimited field."""
    return uvarint(number << 3 | BYTES) + uvarint(len(value)) + value


def fields(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Each field of a message in order: number, wire type, and the integer or the bytes.

    Raises `FormatError` for a group, a field that is cut, or a varint that is not minimal.
    """
    at, end = 0, len(data)
    while at < end:
        key, at = read_uvarint(data, at)
        number, wire = key >> 3, key & 7
        if not 0 < number < 1 << 29:
            raise FormatError(f"a protobuf field has the number {number}")
        if wire == VARINT:
            value, at = read_int64(data, at)
            yield number, wire, value
            continue
        if wire == BYTES:
            length, at = read_uvarint(data, at)
        elif wire in _FIXED:
            length = _FIXED[wire]
        else:
            raise FormatError(f"field {number} has the wire type {wire}")
        if length > end - at:
            raise FormatError(f"field {number} ends early: {length} bytes announced, {end - at} left")
        yield number, wire, data[at : at + length]
        at += length


def read_int64(data: bytes, start: int) -> tuple[int, int]:
    """The signed 64-bit varint at `start` and the offset behind it: ten bytes long where it is negative."""
    ten = data[start : start + 10]
    if len(ten) == 10 and ten[9] == 1 and all(byte > 127 for byte in ten[:9]):
        low = sum((byte & 127) << 7 * i for i, byte in enumerate(ten[:9]))
        return low - (1 << 63), start + 10
    return read_uvarint(data, start)
