"""What the pins and names of a repository lead to: the blocks and files that a `gc` must leave."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from ..cid import CID, IDENTITY, RAW, SHA2_256_PREFIX
from ..dag.steps import children
from ..errors import FormatError, HashMismatchError, StoreError
from .catalog import Catalog
from .disk import DiskStore
from .stamp import Stamp


@dataclass(slots=True)
class Reach:
    """Blocks by multihash, files by their id in the catalogue; `missing`: nodes that are wanted and not here.

    Leaves of a file that is here as a whole are not listed one by one.
    """

    blocks: set[bytes] = field(default_factory=set)
    files: set[int] = field(default_factory=set)
    missing: int = 0


def roots(catalog: Catalog) -> set[CID]:
    """What is kept: every name, and every pin that has not failed."""
    rows = catalog.rows("SELECT root FROM names UNION SELECT root FROM pins WHERE status != 'failed'")
    return {CID.from_bytes(root) for (root,) in rows if isinstance(root, bytes)}


def reach(store: DiskStore, wanted: Iterable[CID], on_block: Callable[[], None] = lambda: None) -> Reach:
    """Walk from `wanted` through everything that is here. What is missing or rotten is passed over: nothing below it
    can be told from rubbish by us, and nothing of it is reachable for anybody else.
    """
    found = Reach()
    seen: set[tuple[int, bytes]] = set()  # one block may be a node and, elsewhere, a leaf
    stack = list(wanted)
    while stack:
        cid = stack.pop()
        if cid.hash_code == IDENTITY:
            stack += _links(cid, cid.digest)
            continue
        if (cid.codec, cid.multihash) in seen:
            continue
        seen.add((cid.codec, cid.multihash))
        found.blocks.add(cid.multihash)
        on_block()
        whole = store.catalog.files_of(cid)
        found.files.update(row.id for row in whole)
        if cid.multihash[:2] == SHA2_256_PREFIX:
            found.files.update(ref.file for ref in store.leaves.find_anew(cid.multihash[2:]))
        if cid.codec == RAW:
            continue
        try:
            data = store.get(cid).data
        except (StoreError, HashMismatchError):
            found.missing += 1
            continue
        below = _links(cid, data)
        if any(_is_here(row.path, row.stamp) for row in whole):
            below = [child for child in below if child.codec != RAW]
        stack += below
    return found


def _links(cid: CID, data: bytes) -> list[CID]:
    try:
        return children(cid.codec, data)
    except FormatError:  # also a codec that we do not read: the block is kept, and leads nowhere
        return []


def _is_here(path: str | os.PathLike[str], stamp: Stamp) -> bool:
    with suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return Stamp.of(fd) == stamp
        finally:
            os.close(fd)
    return False
