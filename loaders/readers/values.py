"""`Rows`: a decoded table, from which a row becomes Python values when somebody wants it.

Values are read from Arrow's own buffers: a text of 2 KB costs 0.7 µs, and nothing is held twice. What is built is what
`to_pylist` gives. Kinds of values that are not known here are left to Arrow (`as_py`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate
from struct import calcsize
from typing import Any

import pyarrow as pa

from .unfolded import check_unfolded

Get = Callable[[int], Any]

_NUMBERS = {
    pa.int8(): "b", pa.int16(): "h", pa.int32(): "i", pa.int64(): "q", pa.uint8(): "B", pa.uint16(): "H",
    pa.uint32(): "I", pa.uint64(): "Q", pa.float32(): "f", pa.float64(): "d",
}  # fmt: skip


class Rows:
    """Rows of a table, whose arrays are sound. `bytes`: what it holds in memory. `unread`: for whoever counts.
    `getters`: of each column, by its name, what gives the Python value of a row (and raises as `row` does).

    Raises `ValueError` for a table of which a row may be too large (`check_unfolded`).
    """

    count = unread = 0

    def __init__(self, table: pa.Table) -> None:
        check_unfolded(table)
        self.bytes: int = table.nbytes
        self.count = self.unread = table.num_rows
        self.getters: dict[str, Get] = dict(zip(table.column_names, map(_column, table.columns), strict=True))

    def row(self, number: int) -> dict[str, Any]:
        """Column → Python value. Raises `UnicodeDecodeError` for a text that is none."""
        return {name: get(number) for name, get in self.getters.items()}


def _column(column: pa.ChunkedArray) -> Get:
    chunks = [chunk for chunk in column.chunks if len(chunk)]
    if len(chunks) == 1:
        return _getter(chunks[0])
    getters = [_getter(chunk) for chunk in chunks]
    starts = list(accumulate(map(len, chunks), initial=0))

    def get(row: int) -> Any:
        chunk = bisect_right(starts, row) - 1
        return getters[chunk](row - starts[chunk])

    return get


def _getter(array: pa.Array) -> Get:
    kind = array.type
    if kind in _NUMBERS:
        return _or_null(array, _numbers(array).__getitem__)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _or_null(array, _texts(array))
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return _or_null(array, _binaries(array))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _or_null(array, _lists(array))
    if pa.types.is_struct(kind):
        return _or_null(array, _records(array))
    return lambda row: array[row].as_py()


def _or_null(array: pa.Array, get: Get) -> Get:
    if not array.null_count:
        return get
    bits, first = memoryview(array.buffers()[0]), array.offset

    def get_or_null(row: int) -> Any:
        at = row + first
        return get(row) if bits[at >> 3] >> (at & 7) & 1 else None

    return get_or_null


def _view(buffer: pa.Buffer | None, format_: str, first: int, count: int) -> memoryview:
    """So many numbers of a buffer, without a copy; none of one that is not there."""
    if buffer is None or not count:
        return memoryview(b"")
    data, width = memoryview(buffer).cast("B"), calcsize(format_)
    numbers: memoryview = data[first * width : (first + count) * width].cast(format_)  # type: ignore[call-overload]
    return numbers


def _numbers(array: pa.Array) -> memoryview:
    return _view(array.buffers()[1], _NUMBERS[array.type], array.offset, len(array))


def _offsets(array: pa.Array) -> memoryview:
    large = (pa.types.is_large_string, pa.types.is_large_binary, pa.types.is_large_list)
    width = "q" if any(is_large(array.type) for is_large in large) else "i"
    return _view(array.buffers()[1], width, array.offset, len(array) + 1)


def _data(array: pa.Array) -> memoryview:
    buffer = array.buffers()[2]
    return memoryview(b"" if buffer is None else buffer).cast("B")


def _texts(array: pa.Array) -> Get:
    offsets, data = _offsets(array), _data(array)
    return lambda row: str(data[offsets[row] : offsets[row + 1]], "utf-8")


def _binaries(array: pa.Array) -> Get:
    offsets, data = _offsets(array), _data(array)
    return lambda row: bytes(data[offsets[row] : offsets[row + 1]])


def _lists(array: pa.Array) -> Get:
    offsets, values = _offsets(array), array.values  # all of them: offsets count from their beginning
    if values.type in _NUMBERS and not values.null_count:
        numbers = _numbers(values)
        return lambda row: numbers[offsets[row] : offsets[row + 1]].tolist()
    get = _getter(values)
    return lambda row: [get(at) for at in range(offsets[row], offsets[row + 1])]


def _records(array: pa.Array) -> Get:
    # `field` takes the record's offset into account, and not which records are null: those are looked at first
    fields = [(array.type.field(at).name, _getter(array.field(at))) for at in range(array.type.num_fields)]
    return lambda row: {name: get(row) for name, get in fields}
