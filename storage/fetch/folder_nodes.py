"""`FolderNodes`: the nodes that an earlier `get` left beside the files, before those that a run remembers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..blocks.block import Block, inline
from ..blocks.store import BlockStore
from ..cid import CID
from ..errors import BlockMissingError


class FolderNodes:
    """A `BlockStore` over a folder of blocks named by CID, which it only reads, and another one."""

    def __init__(self, folder: Path, others: BlockStore) -> None:
        self._folder, self._others = folder, others

    def _path(self, cid: CID) -> Path:
        return self._folder / str(cid.v1())

    def get(self, cid: CID) -> Block:
        """See `BlockStore.get`."""
        if own := inline(cid):
            return own
        try:
            return Block.verify(cid, self._path(cid).read_bytes())
        except OSError:
            return self._others.get(cid)

    def has(self, cid: CID) -> bool:
        """See `BlockStore.has`."""
        return self._path(cid).is_file() or self._others.has(cid)

    def put(self, cid: CID, data: bytes) -> Block:
        """See `BlockStore.put`. Goes to the other one: what is kept in the folder is up to who owns it."""
        return self._others.put(cid, data)

    def cids(self) -> Iterator[CID]:
        """See `BlockStore.cids`. Of the other one."""
        return self._others.cids()

    def node(self, cid: CID) -> bytes:
        """The verified bytes of a block in the folder. Raises `BlockMissingError` or `HashMismatchError`."""
        if own := inline(cid):
            return own.data
        try:
            return Block.verify(cid, self._path(cid).read_bytes()).data
        except OSError as error:
            raise BlockMissingError(f"{self._path(cid)} cannot be read: {error.strerror}") from error
