"""`rescue`: what is right of a damaged leaf index segment is written anew; the segment is set aside.

Each of its entries is held against the bytes that it names. Those that do not fit are the flipped ones (or of a file
that is gone, or rotten too): the file that lost its leaf is found by whoever compares files with the index then.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress

import numpy as np
import numpy.typing as npt

from ..errors import StoreError
from ..limits import MAX_BLOCK_BYTES
from .disk import DiskStore
from .leaf_segment import Table


def right_leaves(store: DiskStore, table: Table) -> npt.NDArray[np.bool_]:
    """Which entries of a segment are right, as far as can be told: those of files that cannot be read are kept."""
    keys, references = table
    right = np.zeros(len(keys), dtype=bool)
    for file_id in np.unique(references["file"]).tolist():
        mine = np.flatnonzero(references["file"] == file_id)
        try:
            row = store.catalog.file(file_id)
            fd = os.open(row.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK) if row else -1
        except (OSError, StoreError):  # not mounted, perhaps; whoever serves a leaf hashes it
            right[mine] = True
            continue
        if fd < 0:
            continue
        try:
            for at in mine.tolist():
                right[at] = _fits(fd, keys[at : at + 1].tobytes(), references[at])
        finally:
            os.close(fd)
    return right


def _fits(fd: int, digest: bytes, reference: np.void) -> bool:
    offset, length = int(reference["offset"]), int(reference["length"])
    if length > MAX_BLOCK_BYTES or offset >= 1 << 63:
        return False
    with suppress(OSError):
        data = os.pread(fd, length, offset)
        return len(data) == length and hashlib.sha256(data).digest() == digest
    return True
