"""Pages of a parquet column chunk, from the headers before them: what decoding them may take. Pure.

A footer says what a chunk holds, and may lie; Arrow goes by the headers of the pages (thrift, compact protocol;
parquet.thrift, `PageHeader`), so they are what a bound can be made of.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import FormatError

_DATA_PAGE, _DICTIONARY_PAGE, _DATA_PAGE_V2 = 0, 2, 3
_TYPE, _UNCOMPRESSED, _COMPRESSED = 1, 2, 3  # fields of a page header, by number; then a struct by the kind of page
_INNER = {_DATA_PAGE: (5, 1, 2), _DATA_PAGE_V2: (8, 1, 4)}  # that struct's field; in it, number of values and encoding
_PLAIN_DICTIONARY, _DELTA_BYTE_ARRAY, _RLE_DICTIONARY = 2, 7, 8  # encodings
_MAX_DEPTH = 8  # of structs and lists in a header: statistics are at 2
_MAX_VARINT_BYTES = 10
# of a field's number Arrow takes 16 bits, of an i32 32: what has more, it reads as something else
_MAX_FIELD = (1 << 15) - 1
_MAX_I32 = (1 << 31) - 1

_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12  # compact protocol
_INTEGERS, _I32 = (4, 5, 6), 5

Fields = dict[int, "int | Fields | None"]


@dataclass(frozen=True, slots=True)
class Pages:
    """Of one chunk. `values`: nulls and elements of lists counted. `bytes`: of all pages, decompressed.

    `longest`: what no value that is stored in pages as it is can exceed. `dictionary`: what none of the dictionary's
    can, 0 if no page refers to one. `prefixed`: whether values share prefixes with those before them, so that each may
    be as long as a page.
    """

    values: int
    bytes: int
    longest: int
    dictionary: int
    prefixed: bool


def read_pages(chunk: memoryview, values: int) -> Pages:
    """The pages of a chunk, up to the one that completes `values`: behind it Arrow reads no further.

    Raises `FormatError` when a header is none, or a page leaves the chunk.
    """
    at = found = total = longest = dictionary = 0
    refers = prefixed = False
    while found < values:
        try:
            header, body = _struct(chunk, at, _MAX_DEPTH)
        except IndexError as error:
            raise FormatError("a page header leaves its column chunk") from error
        packed = _number(header, _COMPRESSED)
        size = max(_number(header, _UNCOMPRESSED), packed)  # of a page that is not compressed, Arrow looks at `packed`
        at = body + packed
        if at > len(chunk):
            raise FormatError(f"a page leaves its column chunk by {at - len(chunk)} bytes")
        total += size
        kind = _number(header, _TYPE)
        if kind == _DICTIONARY_PAGE:
            dictionary = max(dictionary, size)
        elif kind in _INNER:
            field, count, encoding = _INNER[kind]
            inner = header.get(field)
            if not isinstance(inner, dict):
                raise FormatError("a data page does not say what it holds")
            found += _number(inner, count)
            longest = max(longest, size)
            refers = refers or _number(inner, encoding) in (_PLAIN_DICTIONARY, _RLE_DICTIONARY)
            prefixed = prefixed or _number(inner, encoding) == _DELTA_BYTE_ARRAY
    return Pages(found, total, longest, dictionary if refers else 0, prefixed)


def _number(fields: Fields, number: int) -> int:
    value = fields.get(number)
    if not isinstance(value, int) or not 0 <= value <= _MAX_I32:
        raise FormatError(f"a page header has no field {number}, or a bad one")
    return value


def _struct(data: memoryview, at: int, depth: int) -> tuple[Fields, int]:
    """What is i32 or struct of a struct, by its number, and where it ends. What else there is, is None.

    A field that comes twice is refused: Arrow passes over those of another type than it expects, and takes the last.
    """
    if not depth:
        raise FormatError("a page header is nested too deeply")
    fields: Fields = {}
    number = 0
    while True:
        head = data[at]
        at += 1
        kind = head & 0x0F
        if not kind:
            return fields, at
        if head >> 4:
            number += head >> 4
        else:
            number, at = _zigzag(data, at)
        if not 0 < number <= _MAX_FIELD or number in fields:
            raise FormatError(f"a page header has the field {number}, or has it twice")
        fields[number] = None
        if kind == _I32:
            fields[number], at = _zigzag(data, at)
        elif kind == _STRUCT:
            fields[number], at = _struct(data, at, depth - 1)
        elif kind not in (_TRUE, _FALSE):  # their value is their kind
            at = _skip(data, at, kind, depth - 1)


def _skip(data: memoryview, at: int, kind: int, depth: int) -> int:
    if kind in (_TRUE, _FALSE, _BYTE):  # of a list: a byte each
        return at + 1
    if kind in _INTEGERS:
        return _zigzag(data, at)[1]
    if kind == _DOUBLE:
        return at + 8
    if kind == _BINARY:
        length, at = _varint(data, at)
        return at + length
    if kind == _STRUCT:
        return _struct(data, at, depth)[1]
    if kind in (_LIST, _SET) and depth:
        head, at = data[at], at + 1
        count = head >> 4
        if count == 0x0F:
            count, at = _varint(data, at)
        for _ in range(count):
            at = _skip(data, at, head & 0x0F, depth - 1)
            if at > len(data):
                break
        return at
    raise FormatError(f"a page header has a field of the unknown kind {kind}")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = data[at]
    if value < 0x80:  # nearly all are small
        return value, at + 1
    value = 0
    for shift in range(0, 7 * _MAX_VARINT_BYTES, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise FormatError("a page header has a number that does not end")


def _zigzag(data: memoryview, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return value >> 1 ^ -(value & 1), at
