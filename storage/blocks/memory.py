"""`MemoryStore`: blocks in a dict, for tests and for small DAGs under construction."""

from __future__ import annotations

from collections.abc import Iterator

from ..cid import CID, RAW
from ..errors import BlockMissingError
from .block import Block, inline


class MemoryStore:
    """A `BlockStore` without a disk."""

    def __init__(self) -> None:
        self._blocks: dict[bytes, bytes] = {}

    def get(self, cid: CID) -> Block:
        """See `BlockStore.get`."""
        if own := inline(cid):
            return own
        data = self._blocks.get(cid.multihash)
        if data is None:
            raise BlockMissingError(f"block {cid.short()} is not here")
        return Block.verify(cid, data)

    def has(self, cid: CID) -> bool:
        """See `BlockStore.has`."""
        return cid.multihash in self._blocks or inline(cid) is not None

    def put(self, cid: CID, data: bytes) -> Block:
        """See `BlockStore.put`."""
        block = Block.verify(cid, data)
        if not inline(cid):
            self._blocks[cid.multihash] = data
        return block

    def cids(self) -> Iterator[CID]:
        """See `BlockStore.cids`."""
        return (CID(1, RAW, multihash) for multihash in list(self._blocks))
