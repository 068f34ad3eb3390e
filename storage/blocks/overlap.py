"""`overlap`: what a tree shares with another one, so that it need not be sent to who has that one."""

from __future__ import annotations

from collections.abc import Callable

from ..cid import CID, DAG_PB, RAW
from ..dag import walk
from ..errors import UnsupportedError
from .disk import DiskStore, reader

MAX_LEAVES = 1_000_000  # of files that changed: 150 MB of CIDs; what is beyond them is sent again


def overlap(store: DiskStore, old: CID, new: CID) -> frozenset[CID]:
    """CIDs below which both trees are the same: of files and folders, and of leaves of files that are in `old` alone.

    Both must be in the repository: raises `BlockMissingError`, and `FormatError` for what is no tree. Leaves are not
    read.
    """
    get = reader(store)
    before, after = _entries(old, get), _entries(new, get)
    shared, leaves = before & after, MAX_LEAVES  # wholes first
    for cid in sorted(before - after, key=bytes):
        if cid.codec == RAW:
            continue
        try:
            layout = walk.run(walk.file_layout(cid), get)
        except UnsupportedError:  # a folder, or a file of another shape
            continue
        if (leaves := leaves - layout.leaves) < 0:
            break
        shared.update(layout.leaf_cid(leaf) for leaf in range(layout.leaves))
    return frozenset(shared)


def _entries(root: CID, get: Callable[[CID], bytes]) -> set[CID]:
    """Every file and folder of a tree, each once."""
    found, stack = {root}, [root]
    while stack:
        at = stack.pop()
        if at.codec != DAG_PB or walk.run(walk.resolve(at, []), get).kind != "directory":
            continue
        below = {entry.cid for entry in walk.run(walk.list_directory(at), get)} - found
        found |= below
        stack.extend(below)
    return found
