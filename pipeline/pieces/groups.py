"""`groups`: which shards share a piece. Pure. Cut by content: a new version changes only the pieces that it touches."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from ...storage.cid import CID
from ..pack.cuts import Cuts, priority

GROUP_BYTES = 1000 << 20  # of shards: what CARs add (89 bytes a leaf, 0.54 % at 16 KiB) is in the 1.6 % above it


def groups(shards: Iterable[tuple[CID, int]], group_bytes: int = GROUP_BYTES) -> list[list[CID]]:
    """Shards with their bytes, in the order of the manifest; of equal ones the first counts.

    Cut where packed shards are cut between samples (docs/decisions/0007). A group has at most `group_bytes`, or one
    shard.
    """
    unique: dict[CID, int] = {}
    for cid, size in shards:
        unique.setdefault(cid, size)
    cuts = Cuts[int](group_bytes)
    for number, (cid, size) in enumerate(unique.items()):
        cuts.add(size, priority(bytes(cid)), number)
    cuts.finish()
    order = list(unique)
    edges = [0, *(number for _, number in cuts.found), len(order)]
    return [order[start:end] for start, end in pairwise(edges) if end > start]
