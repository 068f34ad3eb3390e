"""`BlockTable`: where each block of a dataset lies in its pieces: 48 bytes a block, sorted by digest, read as they lie.

Docs: docs/formats.md §9.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..cid import CID, SHA2_256_PREFIX
from ..errors import FormatError
from ..limits import MAX_BLOCK_BYTES

ROW = np.dtype([("digest", "u1", (32,)), ("offset", "<u8"), ("length", "<u4"), ("piece", "<u2"), ("codec", "<u2")])
ROW_BYTES = ROW.itemsize


@dataclass(frozen=True, slots=True)
class BlockPlace:
    """`length` bytes of a block (its data alone) at `offset` of the payload of piece number `piece`."""

    piece: int
    offset: int
    length: int


class BlockTable:
    """Rows of `ROW`. A block that lies in several pieces has a row for each; `find` gives the first piece's."""

    def __init__(self, rows: npt.NDArray[np.void]) -> None:
        self.rows = rows
        self._heads: npt.NDArray[np.uint64] | None = None

    @classmethod
    def of(cls, rows: npt.NDArray[np.void]) -> BlockTable:
        """Sort rows that come in any order."""
        keys = np.ascontiguousarray(rows["digest"]).view("V32").ravel()
        by_place = np.lexsort((rows["offset"], rows["piece"]))
        return cls(rows[by_place[np.argsort(keys[by_place], kind="stable")]])

    @classmethod
    def parse(cls, data: bytes | memoryview, sizes: list[int]) -> BlockTable:
        """Check the bytes of somebody else's table against the sizes of the pieces. Raises `FormatError`.

        Whether a block is where it says, shows when it is read and hashed.
        """
        if len(data) % ROW_BYTES:
            raise FormatError(f"a table of {len(data)} bytes: expected a multiple of {ROW_BYTES}")
        rows = np.frombuffer(data, ROW)
        if len(rows):
            if not sizes or int(rows["piece"].max()) >= len(sizes):
                raise FormatError(f"a block in piece {rows['piece'].max()} of {len(sizes)}")
            if int(rows["length"].max()) > MAX_BLOCK_BYTES:
                raise FormatError(f"a block of {rows['length'].max()} bytes (at most {MAX_BLOCK_BYTES})")
            ends = rows["offset"] + rows["length"]
            if (ends < rows["offset"]).any() or (ends > np.array(sizes, dtype=np.uint64)[rows["piece"]]).any():
                raise FormatError("a block lies beyond the end of its piece")
            words = _words(rows)
            before, after = words[:-1], words[1:]
            differs = before != after
            first = differs.argmax(axis=1)[:, None]
            lower = np.take_along_axis(before, first, 1) > np.take_along_axis(after, first, 1)
            if lower.any():
                raise FormatError("the table is not sorted by digest")
        return cls(rows)

    def __len__(self) -> int:
        return len(self.rows)

    def find(self, digest: bytes) -> BlockPlace | None:
        """Where the block with this sha2-256 digest lies, in the first piece that has it."""
        if self._heads is None:
            self._heads = _words(self.rows)[:, 0].astype(np.uint64)
        head = np.uint64(int.from_bytes(digest[:8], "big"))
        low, high = (int(self._heads.searchsorted(head, side)) for side in ("left", "right"))
        for at in range(low, high):
            row = self.rows[at]
            if row["digest"].tobytes() == digest:
                return BlockPlace(int(row["piece"]), int(row["offset"]), int(row["length"]))
        return None

    def of_piece(self, number: int) -> Iterator[tuple[CID, BlockPlace]]:
        """The blocks of a piece, as they follow each other in it."""
        rows = self.rows[self.rows["piece"] == number]
        for row in rows[np.argsort(rows["offset"], kind="stable")]:
            place = BlockPlace(number, int(row["offset"]), int(row["length"]))
            yield CID(1, int(row["codec"]), SHA2_256_PREFIX + row["digest"].tobytes()), place

    def encode(self) -> bytes:
        """The bytes of the table."""
        return self.rows.tobytes()


def _words(rows: npt.NDArray[np.void]) -> npt.NDArray[np.uint64]:
    """The digests as four big-endian numbers each: [rows, 4]."""
    return np.ascontiguousarray(rows["digest"]).view(">u8").reshape(-1, 4)
