"""The order of blocks in a CAR: depth first, parents before children (`order=dfs`), with duplicates or without.

Specification: ipfs/specs, src/http-gateways/trustless-gateway.md, "dag-scope", "CAR dups" and IPIP-0412.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from ..cid import CID, DAG_PB, IDENTITY
from ..errors import FormatError
from . import dagpb, hamt, unixfs
from .steps import Steps, children
from .unixfs import NodeType

Scope = Literal["block", "entity", "all"]
MAX_BLOCKS = 1 << 26  # 61 million leaves of 16 KiB are a terabyte


def dag_order(root: CID, scope: Scope = "all", *, dups: bool = False, max_blocks: int = MAX_BLOCKS) -> Steps[None]:
    """Yield the CIDs of a DAG in CAR order; send the bytes of each (for a raw block b"" will do).

    `block`: the root alone. `entity`: a whole file; of a directory its own nodes with all HAMT shards,
    without what the entries link to. `all`: everything below. Identity CIDs are followed, not yielded: they
    never appear in a CAR. With `dups` a block comes as often as the walk meets it, without once: work then grows
    with the blocks sent, however often they are linked. Raises `FormatError` above `max_blocks`, and
    `UnsupportedError` when `all` meets a codec whose links are not known.
    """
    if scope not in get_args(Scope):
        raise ValueError(f"dag-scope {scope!r}: block, entity or all")
    return _walk(root, [root], scope, dups=dups, max_blocks=max_blocks)


def links_order(
    root: CID, links: Sequence[CID], scope: Scope = "all", *, dups: bool = False, max_blocks: int = MAX_BLOCKS
) -> Steps[None]:
    """`dag_order` of what is behind some links of the block `root`, which was sent before."""
    return _walk(root, list(reversed(links)), scope, dups=dups, max_blocks=max_blocks)


def entity_links(cid: CID, data: bytes) -> list[CID]:
    """The links of a block that lead to more of the same entity: parts of a file, shards of a HAMT."""
    if cid.codec != DAG_PB:
        return []
    node = dagpb.decode(data)
    if node.data is None:
        return []
    about = unixfs.decode(node.data)
    if about.type in (NodeType.FILE, NodeType.RAW):
        return [link.cid for link in node.links]
    if about.type is NodeType.HAMT:  # a link named by its slot alone leads to a sub-shard
        width = len(f"{(about.fanout or hamt.FANOUT) - 1:X}")
        return [link.cid for link in node.links if len(link.name or "") == width]
    return []


def _walk(root: CID, stack: list[CID], scope: Scope, *, dups: bool, max_blocks: int) -> Steps[None]:
    seen: set[CID] = set()
    count = 0
    while stack:
        cid = stack.pop()
        if cid in seen:
            continue
        if count >= max_blocks:
            raise FormatError(f"the DAG of {root.short()} has more than {max_blocks} blocks")
        count += 1
        if not dups:
            seen.add(cid)
        data = cid.digest if cid.hash_code == IDENTITY else (yield cid)
        if scope == "block":
            continue
        below = children(cid.codec, data) if scope == "all" else entity_links(cid, data)
        stack += [child for child in reversed(below) if child not in seen]
