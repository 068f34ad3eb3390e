"""Shards that are one zstd stream: read forward, in bounded memory, by Arrow, which notices an early end (decision 5).

Several frames on end and skippable ones are one stream. A window is at most 128 MiB.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import pyarrow as pa

from ..errors import FormatError
from ..limits import MIB
from .tar import BLOCK


@contextmanager
def decompressed(source: BinaryIO | memoryview) -> Iterator[pa.NativeFile]:
    """What a file or a piece of memory holds, as a stream. Raises `FormatError` for what is no whole zstd stream."""
    raw = pa.BufferReader(pa.py_buffer(source)) if isinstance(source, memoryview) else pa.PythonFile(source, "r")
    try:
        with pa.CompressedInputStream(raw, "zstd") as stream:
            yield stream
    except OSError as error:
        if error.errno is not None:  # the disk's
            raise
        raise FormatError(f"its zstd stream is broken: {str(error).splitlines()[0]}") from error


def pieces(source: memoryview, size: int) -> Iterator[memoryview]:
    """The first `size` bytes of what a zstd stream holds. Whatever follows is not decompressed.

    Raises `FormatError` when there are fewer, or they cannot be decompressed.
    """
    done = 0
    with decompressed(source) as stream:
        while done < size:
            piece = stream.read_buffer(min(MIB, size - done))
            if not piece.size:
                raise FormatError(f"it holds {done} bytes, expected {size}")
            done += piece.size
            yield memoryview(piece)


class Forward:
    """A stream as something that is read by range, if ranges ascend: for the walk over the headers of a tar."""

    def __init__(self, stream: pa.NativeFile) -> None:
        self._stream, self._at = stream, 0

    def read(self, start: int, end: int) -> bytes:
        """The bytes [start, end); a block of zeros where the stream ends just before it.

        Raises `FormatError` when it ends elsewhere.
        """
        if start < self._at:
            raise FormatError(f"byte {start} comes after byte {self._at}")
        while self._at < start:
            self._at += len(self._part(min(MIB, start - self._at)))
        data = b""
        while len(data) < end - start:
            part = self._stream.read(end - start - len(data))
            if not part and not data and end - start == BLOCK:
                return bytes(BLOCK)
            if not part:
                raise FormatError(f"it ends early, at byte {self._at + len(data)}")
            data += part
        self._at = end
        return data

    def _part(self, size: int) -> bytes:
        part: bytes = self._stream.read(size)
        if not part:
            raise FormatError(f"it ends early, at byte {self._at}")
        return part
