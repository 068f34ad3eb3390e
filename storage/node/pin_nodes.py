"""`PinNodes`: the nodes of a download: read from all of the repository, written within the quota."""

from __future__ import annotations

from collections.abc import Iterator

from ..blocks.block import Block
from ..blocks.disk import DiskStore
from ..cid import CID, IDENTITY
from ..errors import BlockMissingError, HashMismatchError, StoreError
from .budget import Budget


class PinNodes:
    """A `BlockStore` over a repository."""

    def __init__(self, store: DiskStore, budget: Budget) -> None:
        self._store, self._budget = store, budget

    def get(self, cid: CID) -> Block:
        """See `BlockStore.get`. A rotten or changed block counts as absent, so that it is fetched again."""
        try:
            block = self._store.get(cid)
        except (StoreError, HashMismatchError) as error:
            raise BlockMissingError(f"block {cid.short()} is not here") from error
        if block.cid.hash_code != IDENTITY and not self._store.nodes.keep(cid):
            self.put(cid, block.data)  # it lies in a CAR, which may go: a node of our own is ours to keep
        return block

    def has(self, cid: CID) -> bool:
        """See `BlockStore.has`."""
        return self._store.has(cid)

    def put(self, cid: CID, data: bytes) -> Block:
        """See `BlockStore.put`. Raises `QuotaError`."""
        self._budget.add_node(len(data))
        return self._store.put(cid, data)

    def cids(self) -> Iterator[CID]:
        """See `BlockStore.cids`."""
        return self._store.cids()
