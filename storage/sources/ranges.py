"""A run of leaves out of one HTTP answer: the part that gateways and mirrors share."""

from __future__ import annotations

import re
import threading

from ..dag.layout import FileLayout
from ..errors import OversizeError, TruncatedError, WrongBytesError
from .answer import Answer
from .source import OnLeaf, Place

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class LeafBuffers(threading.local):
    """One reused leaf buffer a thread: fresh memory for every leaf costs page faults."""

    def __init__(self) -> None:
        self._buffer = bytearray(0)

    def view(self, size: int) -> memoryview:
        """`size` bytes, valid until the next call in this thread."""
        if len(self._buffer) < size:
            self._buffer = bytearray(size)
        return memoryview(self._buffer)[:size]


def range_header(layout: FileLayout, first: int, last: int) -> dict[str, str]:
    """The Range header for leaves first … last-1; none for an empty file."""
    start, end = layout.leaf_range(first)[0], layout.leaf_range(last - 1)[1]
    return {"Range": f"bytes={start}-{end - 1}"} if end > start else {}


def read_leaves(
    answer: Answer, layout: FileLayout, first: int, last: int, buffers: LeafBuffers, on_leaf: OnLeaf
) -> None:
    """Check the framing of the answer to `range_header`, then hand on leaf after leaf. Raises as `enter_range` does."""
    enter_range(answer, layout.leaf_range(first)[0], layout.leaf_range(last - 1)[1], layout.size)
    for leaf in range(first, last):
        view = buffers.view(layout.leaf_length(leaf))
        answer.readinto(view)
        if not on_leaf(leaf, view):
            return


def enter_range(answer: Answer, start: int, end: int, size: int) -> None:
    """Check the framing of an answer to a request for bytes start … end-1 of `size`; `start` is what is read next.

    A 200 is all of it (the server ignores Range): what lies before is skipped. Raises `WrongBytesError`,
    `OversizeError`, `TruncatedError` for framing that does not fit.
    """
    expected = size if answer.status == 200 else end - start
    _check_range(answer, start, end)
    if answer.length is not None and answer.length > expected:
        raise OversizeError(f"the answer has {answer.length} bytes, expected {expected}")
    if answer.length is not None and answer.length < expected:
        raise TruncatedError(f"the answer has {answer.length} bytes, expected {expected}")
    if answer.status == 200:
        answer.skip(start)


def read_place(answer: Answer, place: Place) -> bytes:
    """The bytes at `place` out of the answer to a request for them; how long the whole file is, is not known here.

    Raises `WrongBytesError`, `OversizeError`, `TruncatedError` for framing that does not fit.
    """
    _check_range(answer, place.start, place.start + place.size)
    if answer.status == 200:
        answer.skip(place.start)
    elif answer.length is not None and answer.length > place.size:
        raise OversizeError(f"the answer has {answer.length} bytes, expected {place.size}")
    data = bytearray(place.size)
    answer.readinto(memoryview(data))
    return bytes(data)


def _check_range(answer: Answer, start: int, end: int) -> None:
    if answer.status != 206:
        return
    match = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if match is None or int(match[1]) != start:
        raise WrongBytesError(
            f"asked for bytes {start}-{end - 1}, got Content-Range {answer.headers.get('Content-Range')!r}"
        )
