"""dag-cbor: the codec of maps and lists that link to blocks.

Specification: ipld/specs, codecs/dag-cbor ("Strictness"). One value has one encoding, so decoding is strict: the
shortest form of every number, 64-bit floats, maps sorted by length of the key and then bytewise, tag 42 alone, and
nothing behind. Bounded in bytes, depth and items, whatever the bytes claim.
"""

from __future__ import annotations

import math
import struct
from typing import TypeAlias

from ..cid import CID
from ..errors import FormatError
from ..limits import MAX_BLOCK_BYTES

Value: TypeAlias = "bool | int | float | str | bytes | CID | list[Value] | dict[str, Value] | None"

MAX_DEPTH = 128  # lists and maps within each other; Python's own stack ends at about 1000 calls
MAX_ITEMS = 1 << 18  # values in one block: an empty list is one byte here and 60 in memory

_UINT, _NEGATIVE, _BYTES, _TEXT, _LIST, _MAP, _TAG, _SIMPLE = range(8)  # major types of CBOR (RFC 8949 §3.1)
_CID_TAG = 42
_BINARY = b"\0"  # multibase: how a CID in dag-cbor begins
_FALSE, _TRUE, _NULL, _FLOAT64 = 0xF4, 0xF5, 0xF6, 0xFB
_SINGLE: dict[int, bool | None] = {_FALSE: False, _TRUE: True, _NULL: None}
_DOUBLE = struct.Struct(">d")


def encode(value: Value) -> bytes:
    """The block of `value`; keys of maps are sorted here.

    Raises `ValueError` or `TypeError` for what has no encoding: integers beyond 64 bits, NaN and infinities, keys
    that are no text, text that is not UTF-8, other types, more than `MAX_DEPTH` levels. The size is not bounded.
    """
    out = bytearray()
    _write(out, value, 0)
    return bytes(out)


def decode(data: bytes | memoryview) -> Value:
    """Read a block. Raises `FormatError` unless `encode` of the result gives the same bytes, and beyond the bounds."""
    if len(data) > MAX_BLOCK_BYTES:
        raise FormatError(f"a dag-cbor block of {len(data)} bytes (at most {MAX_BLOCK_BYTES})")
    reader = _Reader(bytes(data))
    value = reader.value(0)
    if reader.at != len(data):
        raise FormatError(f"dag-cbor: {len(data) - reader.at} bytes follow the value")
    return value


def links(data: bytes | memoryview) -> list[CID]:
    """The links of a block, as often as they occur, in the order of the bytes. Raises as `decode` does."""
    return links_of(decode(data))


def links_of(value: Value) -> list[CID]:
    """The links in a value that `decode` gave, in the order of the bytes; a link is its own."""
    found: list[CID] = []
    stack = [value]
    while stack:
        value = stack.pop()
        if isinstance(value, CID):
            found.append(value)
        elif isinstance(value, list):
            stack += reversed(value)
        elif isinstance(value, dict):
            stack += reversed(value.values())
    return found


class _Reader:
    """A place in a block, and how many values were read before it."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at, self.items = data, 0, 0

    def value(self, depth: int) -> Value:
        self.items += 1
        if self.items > MAX_ITEMS:
            raise FormatError(f"dag-cbor: more than {MAX_ITEMS} values in a block")
        start = self.at
        major, number = self.head()
        if major == _UINT:
            return number
        if major == _NEGATIVE:
            return -1 - number
        if major == _BYTES:
            return self.take(number)
        if major == _TEXT:
            return self.text(number)
        if major == _TAG:
            return self.link(number)
        if major == _SIMPLE:
            return self.simple(start, number)
        if depth >= MAX_DEPTH:
            raise FormatError(f"dag-cbor: more than {MAX_DEPTH} lists and maps within each other")
        if major == _LIST:
            return [self.value(depth + 1) for _ in range(number)]
        return self.map(number, depth + 1)

    def head(self) -> tuple[int, int]:
        """The major type and its number, in its shortest form. Of a float, the bits as a number."""
        data, at = self.data, self.at
        if at >= len(data):
            raise FormatError(f"dag-cbor: the block ends at byte {at}, inside a value")
        major, low = data[at] >> 5, data[at] & 31
        if low < 24:
            self.at = at + 1
            return major, low
        if low > 27:
            raise FormatError(f"dag-cbor: byte 0x{data[at]:02x} at {at}: lengths must be definite")
        size = 1 << low - 24
        self.at = at + 1 + size
        number = int.from_bytes(self.data[at + 1 : self.at], "big")
        if self.at > len(data):
            raise FormatError(f"dag-cbor: the block ends at byte {len(data)}, inside a number")
        if major != _SIMPLE and number < (24 if size == 1 else 1 << 4 * size):
            raise FormatError(f"dag-cbor: the number at byte {at} is not in its shortest form")
        return major, number

    def take(self, length: int) -> bytes:
        start, self.at = self.at, self.at + length
        if self.at > len(self.data):
            raise FormatError(f"dag-cbor: {length} bytes announced at byte {start}, {len(self.data) - start} left")
        return self.data[start : self.at]

    def text(self, length: int) -> str:
        start = self.at
        try:
            return self.take(length).decode()
        except UnicodeDecodeError as error:
            raise FormatError(f"dag-cbor: the text at byte {start} is not UTF-8") from error

    def map(self, pairs: int, depth: int) -> dict[str, Value]:
        found: dict[str, Value] = {}
        last: bytes | None = None
        for _ in range(pairs):
            start = self.at
            major, length = self.head()
            if major != _TEXT:
                raise FormatError(f"dag-cbor: the map key at byte {start} is not text")
            body = self.at
            key = self.text(length)
            raw = self.data[body : self.at]
            if last is not None and (len(raw), raw) <= (len(last), last):
                what = "twice" if raw == last else "out of order"
                raise FormatError(f"dag-cbor: the map key {key[:64]!r} is there {what}")
            last = raw
            found[key] = self.value(depth)
        return found

    def link(self, tag: int) -> CID:
        if tag != _CID_TAG:
            raise FormatError(f"dag-cbor: tag {tag} (only {_CID_TAG}, a CID, is allowed)")
        major, length = self.head()
        if major != _BYTES:
            raise FormatError("dag-cbor: a link is not a byte string")
        body = self.take(length)
        if body[:1] != _BINARY:
            raise FormatError("dag-cbor: a link does not begin with the multibase prefix 0x00")
        return CID.from_bytes(body[1:])

    def simple(self, start: int, number: int) -> bool | float | None:
        kind = self.data[start]
        if kind in _SINGLE:
            return _SINGLE[kind]
        if kind != _FLOAT64:
            raise FormatError(f"dag-cbor: byte 0x{kind:02x} at {start}: neither true, false, null nor a 64-bit float")
        value: float = _DOUBLE.unpack(number.to_bytes(8, "big"))[0]
        if not math.isfinite(value):
            raise FormatError(f"dag-cbor: the float at byte {start} is {value}")
        return value


def _write(out: bytearray, value: Value, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"more than {MAX_DEPTH} lists and maps within each other")
    if value is None:
        out.append(_NULL)
    elif isinstance(value, bool):
        out.append(_TRUE if value else _FALSE)
    elif isinstance(value, int):
        _write_head(out, *((_UINT, value) if value >= 0 else (_NEGATIVE, -1 - value)))
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} has no encoding in dag-cbor")
        out.append(_FLOAT64)
        out += _DOUBLE.pack(value)
    elif isinstance(value, str):
        _write_bytes(out, _TEXT, value.encode())
    elif isinstance(value, bytes):
        _write_bytes(out, _BYTES, value)
    elif isinstance(value, CID):
        _write_head(out, _TAG, _CID_TAG)
        _write_bytes(out, _BYTES, _BINARY + bytes(value))
    elif isinstance(value, list):
        _write_head(out, _LIST, len(value))
        for item in value:
            _write(out, item, depth + 1)
    elif isinstance(value, dict):
        _write_head(out, _MAP, len(value))
        for key, item in sorted(((key.encode(), item) for key, item in value.items()), key=_canonical):
            _write_bytes(out, _TEXT, key)
            _write(out, item, depth + 1)
    else:
        raise TypeError(f"{type(value).__name__} has no encoding in dag-cbor")


def _canonical(pair: tuple[bytes, Value]) -> tuple[int, bytes]:
    return len(pair[0]), pair[0]


def _write_bytes(out: bytearray, major: int, data: bytes) -> None:
    _write_head(out, major, len(data))
    out += data


def _write_head(out: bytearray, major: int, number: int) -> None:
    if number < 24:
        out.append(major << 5 | number)
        return
    for low, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if number < 1 << 8 * size:
            out.append(major << 5 | low)
            out += number.to_bytes(size, "big")
            return
    raise ValueError(f"the integer {number} does not fit 64 bits")
