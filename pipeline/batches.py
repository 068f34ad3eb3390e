"""`batches`: neighbours together, as many as a number and their bytes allow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def batches(items: Iterable[T], size_of: Callable[[T], int], *, count: int, max_bytes: int) -> Iterator[list[T]]:
    """Lists of `count` items, or of fewer where these would have more than `max_bytes`; one that is larger is alone."""
    batch: list[T] = []
    size = 0
    for item in items:
        length = size_of(item)
        if batch and (len(batch) == count or size + length > max_bytes):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += length
    if batch:
        yield batch
