"""`Local`: the blocks of a repository on this machine. Its reads are hashed by the store, and again by the engine."""

from __future__ import annotations

from ..blocks.store import BlockStore
from ..cid import CID
from ..errors import MissingError, StoreError
from .source import FileRef, OnLeaf, Place
from .transfer import Transfer


class Local:
    """A `Source` over a block store."""

    max_rate: int | None = None
    trusted = True

    def __init__(self, store: BlockStore, *, name: str = "(repository)", url: str = "") -> None:
        self.name, self.url, self._store = name, url, store

    def fetch_block(self, cid: CID, root: CID, transfer: Transfer, place: Place | None = None) -> bytes:
        """See `Source.fetch_block`."""
        try:
            data = self._store.get(cid).data
        except StoreError as error:
            raise MissingError(error.message) from error
        transfer.received += len(data)
        return data

    def fetch_leaves(self, file: FileRef, first: int, last: int, transfer: Transfer, on_leaf: OnLeaf) -> None:
        """See `Source.fetch_leaves`."""
        for leaf in range(first, last):
            transfer.check()
            data = self.fetch_block(file.layout.leaf_cid(leaf), file.root, transfer)
            if not on_leaf(leaf, memoryview(data)):
                return

    def close(self) -> None:
        """See `Source.close`."""
