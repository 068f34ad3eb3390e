"""`BlockTable`: where each block of a dataset lies in its pieces: 48 bytes a block, sorted by digest, read as they lie.

Docs: docs/formats.md §9.
"""

from __future__ import annotations

import os
import weakref
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..cid import CID, DAG_PB, RAW, SHA2_256_PREFIX
from ..errors import FormatError
from ..limits import MAX_BLOCK_BYTES

ROW = np.dtype([("digest", "u1", (32,)), ("offset", "<u8"), ("length", "<u4"), ("piece", "<u2"), ("codec", "<u2")])
ROW_BYTES = ROW.itemsize
_CODECS = (RAW, DAG_PB)
_CHUNK_ROWS = 1 << 16  # that are checked at a time: 6 MiB of numbers


@dataclass(frozen=True, slots=True)
class BlockPlace:
    """`length` bytes of a block (its data alone) at `offset` of the payload of piece number `piece`."""

    piece: int
    offset: int
    length: int


class Rows(Protocol):
    """Rows of `ROW`: an array, or those of a file."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> npt.NDArray[np.void]: ...


class FileRows:
    """The rows of a file, read where they are asked for: not mapped, for whoever looks at a map dies with a file that
    is cut. It is open as long as this lives.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._file)
        size = os.fstat(self._file).st_size
        if size % ROW_BYTES:
            raise FormatError(f"a table of {size} bytes: expected a multiple of {ROW_BYTES}")
        self._count = size // ROW_BYTES

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, part: slice, /) -> npt.NDArray[np.void]:
        start, end, _ = part.indices(self._count)
        size = max(end - start, 0) * ROW_BYTES
        data = os.pread(self._file, size, start * ROW_BYTES)
        while 0 < len(data) < size:  # a read ends at 2 GiB, or at a signal
            more = os.pread(self._file, size - len(data), start * ROW_BYTES + len(data))
            if not more:
                break
            data += more
        if len(data) < size:
            raise FormatError("the table became shorter while it was in use")
        return np.frombuffer(data, ROW)


class BlockTable:
    """A block that lies in several pieces has a row for each."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    @classmethod
    def of(cls, rows: npt.NDArray[np.void]) -> BlockTable:
        """Sort rows that come in any order."""
        keys = np.ascontiguousarray(rows["digest"]).view("V32").ravel()
        by_place = np.lexsort((rows["offset"], rows["piece"]))
        return cls(rows[by_place[np.argsort(keys[by_place], kind="stable")]])

    @classmethod
    def checked(cls, rows: Rows, sizes: list[int]) -> BlockTable:
        """A table of somebody else, held against the sizes of the pieces. Raises `FormatError`.

        Whether a block is where it says, shows when it is read and hashed.
        """
        limits = np.array(sizes, dtype=np.uint64)
        for at in range(0, len(rows), _CHUNK_ROWS):
            _check(rows[max(at - 1, 0) : at + _CHUNK_ROWS], limits)
        return cls(rows)

    @classmethod
    def parse(cls, data: bytes | memoryview, sizes: list[int]) -> BlockTable:
        """See `checked`; of the bytes of a table."""
        if len(data) % ROW_BYTES:
            raise FormatError(f"a table of {len(data)} bytes: expected a multiple of {ROW_BYTES}")
        return cls.checked(np.frombuffer(data, ROW), sizes)

    def __len__(self) -> int:
        return len(self._rows)

    def find(self, digest: bytes) -> Iterator[BlockPlace]:
        """Where the block with this sha2-256 digest lies, in every piece that has it, in their order.

        Raises `FormatError` for a file that was cut meanwhile.
        """
        at = bisect_left(_Digests(self._rows), digest)
        while at < len(self._rows):
            row = self._rows[at : at + 1][0]
            if row["digest"].tobytes() != digest:
                return
            yield BlockPlace(int(row["piece"]), int(row["offset"]), int(row["length"]))
            at += 1

    def of_piece(self, number: int) -> Iterator[tuple[CID, BlockPlace]]:
        """The blocks of a piece, as they follow each other in it."""
        rows = self._rows[:]
        rows = rows[rows["piece"] == number]
        for row in rows[np.argsort(rows["offset"], kind="stable")]:
            place = BlockPlace(number, int(row["offset"]), int(row["length"]))
            yield CID(1, int(row["codec"]), SHA2_256_PREFIX + row["digest"].tobytes()), place

    def encode(self) -> bytes:
        """The bytes of the table."""
        return self._rows[:].tobytes()


class _Digests:
    """The digests of rows as a sequence: a search touches 20 of a million, where they lie."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, at: int) -> bytes:
        return bytes(self._rows[at : at + 1][0]["digest"])


def _check(rows: npt.NDArray[np.void], limits: npt.NDArray[np.uint64]) -> None:
    if int(rows["piece"].max()) >= len(limits):
        raise FormatError(f"a block in piece {rows['piece'].max()} of {len(limits)}")
    if int(rows["length"].max()) > MAX_BLOCK_BYTES:
        raise FormatError(f"a block of {rows['length'].max()} bytes (at most {MAX_BLOCK_BYTES})")
    ends = rows["offset"] + rows["length"]
    if (ends < rows["offset"]).any() or (ends > limits[rows["piece"]]).any():
        raise FormatError("a block lies beyond the end of its piece")
    if not np.isin(rows["codec"], _CODECS).all():
        raise FormatError("a block of another codec than raw and dag-pb")
    if not _sorted(rows):
        raise FormatError("the table is not sorted by digest, piece and offset")


def _sorted(rows: npt.NDArray[np.void]) -> bool:
    """Whether rows are in order, and no two the same. Digests as four big-endian numbers each, then the places."""
    digests = np.ascontiguousarray(rows["digest"]).view(">u8").reshape(-1, 4)
    places = np.stack([rows["piece"].astype(np.uint64), rows["offset"].astype(np.uint64)], axis=1)
    words = np.concatenate([digests.astype(np.uint64), places], axis=1)
    before, after = words[:-1], words[1:]
    differs = before != after
    first = differs.argmax(axis=1)[:, None]
    return bool((np.take_along_axis(before, first, 1) < np.take_along_axis(after, first, 1)).all())
