"""Bounds on what the rows of a shard may become in memory, whatever the shard says of itself."""

from __future__ import annotations

from collections.abc import Iterable

MAX_GROUP_BYTES = 4 << 30  # of a row group or record batch, decoded, of the columns that are read
MAX_FOOTER_BYTES = 64 << 20  # of a parquet file: 20,000 row groups of 20 columns have about as many
_STEPS = 16  # a group that may become too large is decoded in as many parts, and looked at between them
_MAX_STEP_ROWS = 4096


def fits(size: int) -> bool:
    """Whether a row group, or a record batch, of so many bytes is within its bound."""
    return size <= MAX_GROUP_BYTES


def check_group(size: int) -> None:
    """Raises `ValueError` for one that is not."""
    if not fits(size):
        raise ValueError(f"it would be more than {MAX_GROUP_BYTES >> 20} MiB when decoded: {size} bytes")


def check_groups(sizes: Iterable[int]) -> int:
    """Their sum. As `check_group`, at the first at which it is too large: the others are not asked for."""
    total = 0
    for size in sizes:
        total += size
        check_group(total)
    return total


def step_rows(longest: int) -> int:
    """So many rows of a group are decoded before anybody looks how large they are, if none is longer."""
    return max(1, min(_MAX_STEP_ROWS, MAX_GROUP_BYTES // _STEPS // max(1, longest)))
