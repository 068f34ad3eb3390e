"""A shard as the seekable file that Arrow reads: every read is of verified bytes."""

from __future__ import annotations

import io
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from ..shard_file import ShardFile


class _SeekableFile(io.RawIOBase):
    def __init__(self, size: int) -> None:
        super().__init__()
        self._at, self._size = 0, size

    @abstractmethod
    def _bytes(self, start: int, end: int) -> bytes | memoryview:
        """The bytes [start, end), which lie in the file."""

    def readable(self) -> bool:
        """See `io.RawIOBase`."""
        return True

    def seekable(self) -> bool:
        """See `io.RawIOBase`."""
        return True

    def tell(self) -> int:
        """See `io.RawIOBase`."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See `io.RawIOBase`."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = min(max(base + offset, 0), self._size)
        return self._at

    def read(self, size: int | None = -1) -> bytes | memoryview:
        """See `io.RawIOBase`; Arrow takes a view of memory as well, and copies nothing."""
        end = self._size if size is None or size < 0 else min(self._at + size, self._size)
        data = self._bytes(self._at, end) if end > self._at else b""
        self._at = end
        return data

    def readinto(self, buffer: Any) -> int:
        """See `io.RawIOBase`."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class RangeFile(_SeekableFile):
    """Waits for what is not here yet. For the thread that the shard belongs to."""

    def __init__(self, file: ShardFile) -> None:
        super().__init__(file.layout.size)
        self._file = file

    def _bytes(self, start: int, end: int) -> bytes | memoryview:
        return self._file.read(start, end)


class SpanFile(_SeekableFile):
    """Parts of a shard that are here: offset and bytes of each. For any one thread; never waits.

    Raises `ValueError` for a read outside of them: nobody checked those bytes.
    """

    def __init__(self, parts: Sequence[tuple[int, memoryview]], size: int) -> None:
        super().__init__(size)
        self._parts = parts

    def _bytes(self, start: int, end: int) -> bytes | memoryview:
        return self.view(start, end)

    def view(self, start: int, end: int) -> memoryview:
        """The bytes [start, end)."""
        for first, data in self._parts:
            if first <= start and end <= first + len(data):
                return data[start - first : end - first]
        raise ValueError(f"bytes {start} to {end} are none of this part of the file")
