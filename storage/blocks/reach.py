"""What the pins and names of a repository lead to: the blocks and files that a `gc` must leave."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from ..cid import CID, IDENTITY, RAW, SHA2_256_PREFIX
from ..dag.steps import children
from ..errors import BlockMissingError, FileChangedError, FormatError, HashMismatchError
from .catalog import Catalog
from .disk import DiskStore
from .stamp import Stamp


@dataclass(slots=True)
class Reach:
    """Blocks by multihash, files by their id in the catalogue; `missing`: what is wanted and not here, or rotten.

    Leaves of a file that is here as a whole are not listed one by one.
    """

    blocks: set[bytes] = field(default_factory=set)
    files: set[int] = field(default_factory=set)
    missing: list[CID] = field(default_factory=list)


def whole_roots(catalog: Catalog) -> set[CID]:
    """What should be here to the last block: every name, and every pin that is pinned."""
    return _roots(catalog, "SELECT root FROM names UNION SELECT root FROM pins WHERE status = 'pinned'")


def coming_roots(catalog: Catalog) -> set[CID]:
    """What is being fetched, or waits for it."""
    return _roots(catalog, "SELECT root FROM pins WHERE status IN ('queued', 'pinning')")


def _roots(catalog: Catalog, query: str) -> set[CID]:
    try:
        return {CID.from_bytes(root) for (root,) in catalog.rows(query) if isinstance(root, bytes)}
    except FormatError as error:
        raise catalog.damaged("names or pins", error) from error


def reach(store: DiskStore, wanted: Iterable[CID], on_block: Callable[[], None] = lambda: None) -> Reach:
    """Walk from `wanted` through everything that is here.

    Below what is missing or rotten nothing can be told from rubbish. Raises `StoreError` when the disk cannot be read.
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
            places = {ref.file for ref in store.leaves.find_anew(cid.multihash[2:])}
            found.files.update(places)
        else:
            places = set()
        if cid.codec == RAW:
            if not places and not whole and not store.nodes.has(cid):
                found.missing.append(cid)
            continue
        try:
            data = store.get(cid).data
        except (BlockMissingError, FileChangedError, HashMismatchError):
            found.missing.append(cid)
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
