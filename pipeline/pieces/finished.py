"""`Finished`: the pieces that a pack has behind it, kept until all are made: one that was killed goes on after them."""

from __future__ import annotations

import hashlib
import logging
import shutil
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...storage.blocks.atomic import write_atomic
from ...storage.cid import CID
from ...storage.errors import FormatError, HashMismatchError, StoreError
from ...storage.pieces.block_table import ROW
from ...storage.pieces.piece import Piece

LOG = logging.getLogger(__name__)
_VERSION = b"holdfast/packing/v1\0"
_HEAD = struct.Struct("<32sQQ")  # sha256 of all behind it; bytes of the payload, bytes of the layer
_MAX_AGE_S = 30 * 86_400  # of what was begun and not finished

Rows = npt.NDArray[np.void]


class Finished:
    """Of one root, packed one way (`sizes`), below `folder`. What another version of us grouped otherwise shows when
    its blocks are not those that come.
    """

    def __init__(self, folder: Path, root: CID, sizes: Sequence[int]) -> None:
        name = hashlib.sha256(_VERSION + bytes(root) + struct.pack(f"<{len(sizes)}Q", *sizes)).hexdigest()[:32]
        self._all, self._folder = folder, folder / name
        self._takes, self._reads = True, True

    def read(self) -> Iterator[tuple[Piece, Rows]]:
        """Those from the first on, with their rows, up to one that is not there or is damaged."""
        number = 0
        while self._reads:
            try:
                yield _parsed((self._folder / f"{number:05d}").read_bytes())
            except (OSError, ValueError, struct.error, FormatError, HashMismatchError):
                return
            number += 1

    def keep(self, number: int, piece: Piece, rows: Rows) -> None:
        """Durable when it returns. A disk that takes nothing is no reason not to pack."""
        if not self._takes:
            return
        rest = struct.pack("<QQ", piece.cid.size, len(piece.layer)) + piece.layer + rows.tobytes()
        try:
            write_atomic(self._folder / f"{number:05d}", hashlib.sha256(rest).digest() + rest)
        except StoreError as error:
            self._takes = False
            LOG.warning("a pack that is killed now starts over: %s", error.message)

    def clear(self) -> None:
        """All are made, or these are of no use: not read again, even where they cannot be removed. What others began a
        month ago and did not finish goes, too.
        """
        self._reads = False
        with suppress(OSError):
            shutil.rmtree(self._folder)
        with suppress(OSError):
            for path in self._all.iterdir():
                if path.stat().st_mtime < time.time() - _MAX_AGE_S:
                    shutil.rmtree(path)
            self._all.rmdir()


class OtherBlocksError(Exception):
    """What was finished before is not how this dataset is packed now."""


class Behind:
    """The blocks that an earlier pack had put into pieces, in their order: they are not read again."""

    def __init__(self, rows: Sequence[Rows]) -> None:
        self._digests = (row.tobytes() for part in rows for row in part["digest"])
        self._next = next(self._digests, None)

    def has(self, cid: CID) -> bool:
        """Whether this block, which comes next, is one of them. Raises `OtherBlocksError` for one that cannot be."""
        if self._next is None:
            return False
        if self._next != cid.digest:
            raise OtherBlocksError
        self._next = next(self._digests, None)
        return True

    def end(self) -> None:
        """No more blocks come. Raises `OtherBlocksError` if they were to."""
        if self._next is not None:
            raise OtherBlocksError


def _parsed(data: bytes) -> tuple[Piece, Rows]:
    digest, size, layer_bytes = _HEAD.unpack_from(data)
    if hashlib.sha256(memoryview(data)[32:]).digest() != digest:
        raise FormatError("a finished piece is damaged")
    rows = np.frombuffer(data, ROW, offset=_HEAD.size + layer_bytes)
    return Piece.of(data[_HEAD.size : _HEAD.size + layer_bytes], size), rows
