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
    `unread`: roots that are here, and whose links nobody can read.

    Leaves of a file that is here as a whole are not listed one by one.
    """

    blocks: set[bytes] = field(default_factory=set)
    files: set[int] = field(default_factory=set)
    missing: list[CID] = field(default_factory=list)
    unread: list[CID] = field(default_factory=list)


_WHOLE = "SELECT root FROM names UNION SELECT root FROM pins WHERE status = 'pinned'"
_COMING = "SELECT root FROM pins WHERE status IN ('queued', 'pinning')"
_ODD = "SELECT status FROM pins WHERE status NOT IN ('queued', 'pinning', 'pinned', 'failed')"


def whole_roots(catalog: Catalog) -> set[CID]:
    """What should be here to the last block: every name, and every pin that is pinned.

    Raises `StoreError` for what makes no sense, a status or a root: it may have been one of these.
    """
    for (status,) in catalog.rows(_ODD):
        raise catalog.damaged("pins", ValueError(f"no pin has the status {status!r}"))
    return _roots(catalog, _WHOLE)


def coming_roots(catalog: Catalog) -> set[CID]:
    """What is being fetched, or waits for it. Raises `StoreError`."""
    return _roots(catalog, _COMING)


def readable_roots(catalog: Catalog) -> set[CID]:
    """`whole_roots` without what makes no sense: for who has said so, and names what else is wrong."""
    found = set()
    for (root,) in catalog.rows(_WHOLE):
        with suppress(FormatError):
            found.add(CID.from_bytes(root if isinstance(root, bytes) else b""))
    return found


def _roots(catalog: Catalog, query: str) -> set[CID]:
    try:
        return {CID.from_bytes(root if isinstance(root, bytes) else b"") for (root,) in catalog.rows(query)}
    except FormatError as error:
        raise catalog.damaged("names or pins", error) from error


def reach(store: DiskStore, wanted: Iterable[CID], on_block: Callable[[], None] = lambda: None) -> Reach:
    """Walk from `wanted` through everything that is here.

    Below what is missing or rotten nothing can be told from rubbish. Raises `StoreError` when the disk cannot be read.
    """
    found = Reach()
    seen: set[tuple[int, bytes]] = set()  # one block may be a node and, elsewhere, a leaf
    stack = list(wanted)
    roots = set(stack)

    def links(cid: CID, data: bytes) -> list[CID]:
        try:
            return children(cid.codec, data)
        except FormatError:  # also a codec that we do not read: the block is kept, and leads nowhere
            if cid in roots:
                found.unread.append(cid)
            return []

    while stack:
        cid = stack.pop()
        if cid.hash_code == IDENTITY:
            stack += links(cid, cid.digest)
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
        below = links(cid, data)
        if any(_is_here(row.path, row.stamp) for row in whole):
            below = [child for child in below if child.codec != RAW]
        stack += below
    return found


def _is_here(path: str | os.PathLike[str], stamp: Stamp) -> bool:
    with suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return Stamp.of(fd) == stamp
        finally:
            os.close(fd)
    return False
