"""What a table becomes as Python values, where that does not follow from the bytes that it has in Arrow.

A list of nulls has no bytes for its elements; elements of a list that are values of a dictionary, or parts of a view,
may all be the same long one. A value of a column is built alone, so only what lies in lists can grow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from .bounds import check_group

_ELEMENT_BYTES = 8  # of a Python list
types = pa.types


def check_unfolded(table: pa.Table, *, whole: bool = False) -> None:
    """Raises `ValueError` when the lists of a table would be too large. `whole`: all of its columns at once, without
    their dictionaries.
    """
    size = 0
    for column in table.columns:
        if whole and _folds(column.type, inside=True):
            size += sum(map(_unfolded, column.chunks))
        elif _folds(column.type, inside=False):
            size += sum(map(_largest_part, column.chunks))
        check_group(size)


def _largest_part(array: pa.Array) -> int:
    """Of a column: a value of a dictionary, or of a run, is taken alone."""
    if types.is_dictionary(array.type):
        return _unfolded(array.dictionary)
    if types.is_run_end_encoded(array.type):
        return _unfolded(array.values)
    return _unfolded(array)


_LISTS: tuple[Callable[[pa.DataType], bool], ...] = (
    types.is_list, types.is_large_list, types.is_fixed_size_list, types.is_map, types.is_list_view,
    types.is_large_list_view,
)  # fmt: skip
_FOLDED: tuple[Callable[[pa.DataType], bool], ...] = (
    types.is_null, types.is_dictionary, types.is_run_end_encoded, types.is_union, types.is_list_view,
    types.is_large_list_view, types.is_string_view, types.is_binary_view,
)  # fmt: skip


def _is(kind: pa.DataType, *checks: Callable[[pa.DataType], bool]) -> bool:
    return any(check(kind) for check in checks)


def _folds(kind: pa.DataType, *, inside: bool) -> bool:
    """Whether a type has, in a list or `inside` of one, what takes fewer bytes than its values."""
    if isinstance(kind, pa.BaseExtensionType):
        return _folds(kind.storage_type, inside=inside)
    if inside and (_is(kind, *_FOLDED) or kind == pa.binary(0) or (types.is_struct(kind) and not kind.num_fields)):
        return True
    if types.is_dictionary(kind):
        return _folds(kind.value_type, inside=inside)
    inside = inside or _is(kind, *_LISTS)
    return any(_folds(kind.field(at).type, inside=inside) for at in range(kind.num_fields))


def _unfolded(array: pa.Array) -> int:
    """An upper bound on the bytes of its values."""
    kind, own = array.type, _ELEMENT_BYTES * len(array)
    if isinstance(kind, pa.BaseExtensionType):
        return _unfolded(array.storage)
    if types.is_dictionary(kind):
        return own + _of_dictionary(array)
    if types.is_run_end_encoded(kind):
        return own + len(array) * _unfolded(array.values)
    if types.is_struct(kind):
        return own + sum(_unfolded(array.field(at)) for at in range(kind.num_fields))
    if types.is_union(kind):
        return own + len(array) * sum(_unfolded(array.field(at)) for at in range(kind.num_fields))
    if _is(kind, types.is_list_view, types.is_large_list_view):
        elements = _sum(pc.list_value_length(array))
        plain = not kind.value_type.num_fields and types.is_primitive(kind.value_type)
        return own + elements * (_ELEMENT_BYTES if plain else max(_unfolded(array.values), _ELEMENT_BYTES))
    if types.is_map(kind):
        return own + _unfolded(array.keys) + _unfolded(array.items)
    if _is(kind, types.is_list, types.is_large_list, types.is_fixed_size_list):
        return own + _unfolded(array.values)
    if _is(kind, types.is_string_view, types.is_binary_view):
        return own + _sum(pc.binary_length(array.cast(pa.binary_view())))
    return own + int(array.nbytes)


def _of_dictionary(array: pa.DictionaryArray) -> int:
    values = array.dictionary
    if _is(values.type, types.is_string, types.is_binary, types.is_large_string, types.is_large_binary):
        return _sum(pc.binary_length(values).take(array.indices))
    return len(array) * (_unfolded(values) if not types.is_primitive(values.type) else _ELEMENT_BYTES)


def _sum(numbers: pa.Array) -> int:
    found: Any = pc.sum(numbers.cast(pa.int64())).as_py()
    return int(found or 0)
