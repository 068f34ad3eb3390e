"""The order of blocks in a CAR: depth first, parents before children, each block once (`order=dfs; dups=n`).

Specification: ipfs/specs, src/http-gateways/trustless-gateway.md, "dag-scope" and IPIP-0412.
"""

from __future__ import annotations

from typing import Literal, get_args

from ..cid import CID, DAG_PB, IDENTITY
from ..errors import FormatError
from . import dagpb, unixfs
from .steps import Steps, children
from .unixfs import NodeType

Scope = Literal["block", "entity", "all"]
MAX_BLOCKS = 1 << 26  # 61 million leaves of 16 KiB are a terabyte


def dag_order(root: CID, scope: Scope = "all", *, max_blocks: int = MAX_BLOCKS) -> Steps[None]:
    """Yield the CIDs of a DAG in CAR order; send the bytes of each (for a raw block b"" will do).

    `block`: the root alone. `entity`: a whole file; of a directory its own nodes with all HAMT shards,
    without what the entries link to. `all`: everything below. Identity CIDs are followed, not yielded: they
    never appear in a CAR. Work grows with the blocks sent, however often they are linked. Raises
    `FormatError` above `max_blocks`, and `UnsupportedError` when `all` meets a codec whose links are not
    known.
    """
    if scope not in get_args(Scope):
        raise ValueError(f"dag-scope {scope!r}: block, entity or all")
    seen: set[CID] = set()
    stack = [root]
    while stack:
        cid = stack.pop()
        if cid in seen:
            continue
        if len(seen) >= max_blocks:
            raise FormatError(f"the DAG of {root.short()} has more than {max_blocks} blocks")
        seen.add(cid)
        data = cid.digest if cid.hash_code == IDENTITY else (yield cid)
        if scope == "block":
            return
        below = children(cid.codec, data) if scope == "all" else _entity(cid, data)
        stack += [child for child in reversed(below) if child not in seen]


def _entity(cid: CID, data: bytes) -> list[CID]:
    if cid.codec != DAG_PB:
        return []
    node = dagpb.decode(data)
    if node.data is None:
        return []
    kind = unixfs.decode(node.data).type
    if kind in (NodeType.FILE, NodeType.RAW):
        return [link.cid for link in node.links]
    if kind is NodeType.HAMT:  # a link named by its slot alone leads to a sub-shard
        return [link.cid for link in node.links if len(link.name or "") == 2]
    return []
