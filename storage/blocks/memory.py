"""`MemoryStore`: blocks in a dict: nodes that a command reads, small DAGs under construction, tests."""

from __future__ import annotations

from collections.abc import Iterator

from ..cid import CID, RAW
from ..errors import BlockMissingError
from .block import Block, inline


class MemoryStore:
    """A `BlockStore` without a disk. With `max_bytes` it forgets the oldest blocks beyond so many bytes."""

    def __init__(self, max_bytes: int | None = None) -> None:
        self._blocks: dict[bytes, bytes] = {}
        self._max_bytes, self._bytes = max_bytes, 0

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
            self._bytes += len(data) - len(self._blocks.get(cid.multihash, b""))
            self._blocks[cid.multihash] = data
            while self._max_bytes is not None and self._bytes > self._max_bytes and len(self._blocks) > 1:
                self._bytes -= len(self._blocks.pop(next(iter(self._blocks))))
        return block

    def cids(self) -> Iterator[CID]:
        """See `BlockStore.cids`."""
        return (CID(1, RAW, multihash) for multihash in list(self._blocks))
