"""A file without a `FileLayout`, block by block from several sources: what comes next is asked for ahead."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from ..blocks.block import Block, inline
from ..blocks.store import BlockStore
from ..cid import CID, RAW
from ..dag.content import ContentWalk, Part
from ..errors import BlockMissingError, HashMismatchError
from ..limits import MAX_BLOCK_BYTES, MIB
from ..sources.source import Place
from .engine import FetchEngine

_AHEAD_BLOCKS = 32
_AHEAD_BYTES = 16 * MIB  # as sizes are claimed; a block that claims less than it has is still at most 2 MiB
_URGENCY = 0.5  # behind directories, before the leaves of files that are asked for far ahead


class Kept(Protocol):
    """Blocks of the file that are here already, and what is to be done with those that come."""

    def find(self, part: Part) -> bytes | None:
        """The verified bytes of a block that is here."""
        ...

    def keep(self, part: Part, block: Block) -> None:
        """A block that was fetched."""
        ...


class Nothing:
    """`Kept` of whom only wants to look."""

    def find(self, part: Part) -> bytes | None:
        """See `Kept.find`."""
        return None

    def keep(self, part: Part, block: Block) -> None:
        """See `Kept.keep`."""


class ContentReader:
    """Reads one file once, in order. Iterate, or `close`.

    `nodes` is looked at first; `path` and `tsize` are what a mirror has to know (bytes of a file that is one raw
    block).
    """

    def __init__(
        self, engine: FetchEngine, nodes: BlockStore, root: CID, cid: CID, path: str, tsize: int, kept: Kept | None
    ) -> None:
        self._engine, self._nodes, self._root = engine, nodes, root
        self._path, self._tsize, self._kept = path, tsize, kept or Nothing()
        self._walk = ContentWalk(cid)
        self._here: dict[CID, bytes] = {}
        self._asked: dict[CID, int] = {}  # handles of the engine
        self._last: Block | None = None

    @property
    def size(self) -> int | None:
        """Bytes of the whole file, as its root says; None before the first block."""
        return self._walk.size

    def __iter__(self) -> Iterator[bytes]:
        """The bytes of the file, in pieces of at most one block.

        Raises what fetching raises, and `FormatError` for a DAG that contradicts itself.
        """
        try:
            while (part := self._walk.next()) is not None:
                self._look_ahead()
                if own := self._walk.take(self._bytes(part)):
                    yield own
        finally:
            self.close()

    def close(self) -> None:
        """Ask for nothing more. Idempotent."""
        for handle in self._asked.values():
            self._engine.close_file(handle)
        self._asked.clear()
        self._here.clear()

    def _look_ahead(self) -> None:
        room = _AHEAD_BYTES
        for part in self._walk.ahead(_AHEAD_BLOCKS):
            room -= part.size or 0
            cid = part.cid
            if cid not in self._here and cid not in self._asked:
                data = self._find(part)
                if data is not None:
                    self._here[cid] = data
                else:
                    self._asked[cid] = self._engine.want_block(cid, self._root, self._place(part), _URGENCY)
            if room <= 0:
                return

    def _place(self, part: Part) -> Place | None:
        size = self._size(part)
        return Place(self._path, part.start, size) if part.cid.codec == RAW and 0 < size <= MAX_BLOCK_BYTES else None

    def _size(self, part: Part) -> int:
        return self._tsize if part.size is None else part.size

    def _find(self, part: Part) -> bytes | None:
        if own := inline(part.cid):
            return own.data
        if self._last is not None and self._last.cid == part.cid:  # a file of zeros is one block many times
            return self._last.data
        if not self._size(part) and part.cid.codec == RAW and part.cid.matches(b""):  # a mirror has no range for it
            return b""
        if (data := self._kept.find(part)) is not None:
            return data
        try:
            return self._nodes.get(part.cid).data
        except (BlockMissingError, HashMismatchError):
            return None

    def _bytes(self, part: Part) -> bytes:
        if part.cid in self._here:
            data = self._here.pop(part.cid)
        else:
            data = self._engine.take_block(self._asked.pop(part.cid)).data
        if not inline(part.cid):
            self._last = Block(part.cid, data)
            self._kept.keep(part, self._last)
        return data
