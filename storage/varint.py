"""Unsigned varints (multiformats/unsigned-varint): minimal, at most nine bytes."""

from __future__ import annotations

from .errors import FormatError

MAX_VARINT_BYTES = 9  # the specification's limit: 63 bits


def uvarint(value: int) -> bytes:
    """The shortest encoding of a non-negative integer below 2**63."""
    if not 0 <= value < 1 << 63:
        raise ValueError(f"{value} does not fit an unsigned varint")
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_uvarint(data: bytes | memoryview, start: int, *, minimal: bool = True) -> tuple[int, int]:
    """The integer at `start` and the offset behind it.

    Raises `FormatError` when it ends early, is longer than nine bytes or (unless `minimal` is off, as protobuf
    allows) not the shortest form.
    """
    value = shift = 0
    for at in range(start, min(start + MAX_VARINT_BYTES, len(data))):
        byte = data[at]
        value |= (byte & 127) << shift
        if byte < 128:
            if minimal and byte == 0 and at > start:
                raise FormatError("a varint is not in its shortest form")
            return value, at + 1
        shift += 7
    if start + MAX_VARINT_BYTES <= len(data):
        raise FormatError(f"a varint is longer than {MAX_VARINT_BYTES} bytes")
    raise FormatError("a varint ends early")
