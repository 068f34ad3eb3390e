"""`rescue`: what can be right of a damaged leaf index segment is written anew; the segment is set aside.

Each of its entries is held against the bytes that it names. A digest in which a few bits differ from that of the bytes
was hit itself: it is set right. One that differs in half of them is of bytes that rotted: the entry stays, so that
`check` names the leaf that was there. An entry goes when no leaf can lie where it says.

Whose leaves may go with that is noted in the catalogue before (`indexed = 0`): after a kill the next adoption of such
a file writes them again, and `check` says of those that are right that they are here.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..dag.layout import leaf_count
from ..errors import StoreError
from ..limits import MAX_BLOCK_BYTES
from .catalog import FileRow
from .disk import DiskStore
from .file_leaves import Leaves
from .leaf_segment import Table

_FEW_BITS = 32  # of 256: digests of other bytes differ in so few once in 10^37 times


def rescue(store: DiskStore, path: Path) -> set[int] | None:
    """Mend one segment; the files whose leaves may have been lost with it.

    None, and nothing done, when it is not here any more, or so damaged that no leaf of it can be told.
    """
    table = store.leaves.read_damaged(path)
    if table is None:
        return None
    right = right_leaves(store, table)
    doubted = _touched(store, table)
    store.catalog.doubt_leaves(doubted)
    return doubted if store.leaves.replace(path, right) else None


def _touched(store: DiskStore, table: Table) -> set[int]:
    """Files that the segment names, and files whose leaves do not add up: it may have named them once."""
    files = {int(file) for file in np.unique(table[1]["file"])}
    leaves = Leaves()
    list(leaves.read(store))
    for file, size, leaf_size in store.catalog.rows("SELECT id, size, leaf_size FROM files WHERE indexed"):
        if isinstance(file, int) and isinstance(size, int) and isinstance(leaf_size, int) and file not in files:
            known = len(leaves.of(file).leaves)
            if known != leaf_count(size, leaf_size) if leaf_size > 0 else not known:
                files.add(file)
    return files


def right_leaves(store: DiskStore, table: Table) -> Table:
    """The entries of a segment that can be right; those of files that cannot be read are kept."""
    keys, references = table[0].copy(), table[1]
    kept = np.zeros(len(keys), dtype=bool)
    for file_id, mine in _by_file(references):
        try:
            row = store.catalog.file(file_id)
            fd = os.open(row.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK) if row else -1
        except (OSError, StoreError):  # not mounted, perhaps; whoever serves a leaf hashes it
            kept[mine] = True
            continue
        if row is None:
            continue
        try:
            _of_file(fd, row, keys, references, mine, kept)
        finally:
            os.close(fd)
    return keys[kept], references[kept]


def _by_file(references: npt.NDArray[np.void]) -> Iterator[tuple[int, npt.NDArray[np.intp]]]:
    """Each file and its entries in the order of their offsets."""
    order = np.lexsort((references["offset"], references["file"]))
    files = references["file"][order]
    starts = np.flatnonzero(np.diff(files, prepend=~files[:1]))
    for mine in np.split(order, starts[1:]) if len(order) else ():
        yield int(references[mine[0]]["file"]), mine


def _of_file(
    fd: int,
    row: FileRow,
    keys: npt.NDArray[np.bytes_],
    references: npt.NDArray[np.void],
    mine: npt.NDArray[np.intp],
    kept: npt.NDArray[np.bool_],
) -> None:
    right: set[tuple[int, int]] = set()
    unlike: list[tuple[int, tuple[int, int]]] = []
    for at in mine.tolist():
        place = int(references[at]["offset"]), int(references[at]["length"])
        if not _possible(row, *place):
            continue
        actual = _digest(fd, *place)
        named = keys[at : at + 1].tobytes()
        if actual is not None and (int.from_bytes(actual) ^ int.from_bytes(named)).bit_count() <= _FEW_BITS:
            keys[at : at + 1] = np.frombuffer(actual, dtype="S32")
            kept[at] = True
            right.add(place)
        else:
            unlike.append((at, place))
    for at, place in unlike:
        kept[at] = place not in right  # else it came here by a flipped bit


def _possible(row: FileRow, offset: int, length: int) -> bool:
    size, leaf_size = row.stamp.size, row.leaf_size
    if length > MAX_BLOCK_BYTES or offset + length > size:
        return False
    return not leaf_size or (offset % leaf_size == 0 and length == min(leaf_size, size - offset))


def _digest(fd: int, offset: int, length: int) -> bytes | None:
    try:
        data = os.pread(fd, length, offset)
    except OSError:
        return None
    return hashlib.sha256(data).digest() if len(data) == length else None
