"""`GroupSize`: how a row group of parquet is decoded, so that it stays within its bound. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...storage.shards.parquet import Pages
from .bounds import check_group, fits, step_rows

_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}
_LEAST_WIDTH = 16  # a decimal has as many, whatever it is stored in
_LEVELS = 4  # bytes for each value, while it is decoded: where it lies in lists, and whether it is null
_OFFSET = 8  # or the number of a value in a dictionary


@dataclass(frozen=True, slots=True)
class GroupSize:
    """`folded`: columns that are read as dictionaries: each of their long values is held once, not for each row.

    `batch_rows`: so many rows at a time, and a look at what came of them; 0: all at once.
    """

    folded: tuple[str, ...] = ()
    batch_rows: int = 0


def size_of(chunks: Sequence[tuple[Any, Pages]]) -> GroupSize:
    """The chunks of the columns that are read, each with what pyarrow says of its column.

    Raises `ValueError` for what may become too large whichever way it is decoded.
    """
    least = sum(_least(leaf, pages) for leaf, pages in chunks)
    check_group(least)
    if fits(sum(_most(leaf, pages) for leaf, pages in chunks)):
        return GroupSize()
    folded = tuple(leaf.path for leaf, pages in chunks if _is_bytes(leaf) and pages.dictionary)
    prefixed = [(leaf, pages) for leaf, pages in chunks if _is_bytes(leaf) and pages.prefixed]
    if not prefixed:
        return GroupSize(folded)
    for leaf, pages in prefixed:
        if leaf.max_repetition_level:
            # a list is decoded whole: there is no place to look
            check_group(least + pages.values * pages.longest)
    return GroupSize(folded, step_rows(max(pages.longest for _, pages in prefixed)))


def _is_bytes(leaf: Any) -> bool:
    return bool(leaf.physical_type == "BYTE_ARRAY")


def _least(leaf: Any, pages: Pages) -> int:
    """With its dictionary as it is."""
    if _is_bytes(leaf):
        return pages.bytes + pages.values * (_OFFSET + _LEVELS)
    width = _WIDTHS.get(leaf.physical_type) or int(leaf.length)
    return max(pages.longest, pages.dictionary) + pages.values * (max(width, _LEAST_WIDTH) + _LEVELS)


def _most(leaf: Any, pages: Pages) -> int:
    """With each value as long as any can be."""
    shared = max(pages.dictionary, pages.longest if pages.prefixed else 0) if _is_bytes(leaf) else 0
    return _least(leaf, pages) + pages.values * shared
