"""`RepoTarget`: a download target inside a repository: pinned files become files of its own, see `room`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..blocks.block import Block
from ..blocks.verified_file import VerifiedFile
from ..dag.content import Part
from ..fetch.tree import TreeFile
from ..sources.source import FileRef
from .pin_nodes import PinNodes
from .room import Room, marks_of


class RepoTarget:
    """A `download.Target` for one download. What is complete is surely in the catalogue only after `close`.

    `check` is called before every file, and may end the download by raising.
    """

    def __init__(self, room: Room, check: Callable[[], None] = lambda: None) -> None:
        self._room, self._check = room, check
        self._partial: dict[int, Path] = {}  # of open files, by id

    def keep_node(self, block: Block) -> None:
        """See `Target.keep_node`. `PinNodes` kept it when it came."""

    def has(self, ref: FileRef) -> bool:
        """See `Target.has`."""
        self._check()
        return self._room.has(ref.layout)

    def open(self, ref: FileRef) -> VerifiedFile:
        """See `Target.open`. Raises `QuotaError`."""
        partial = self._room.enter(ref.layout, ref.path or str(ref.layout.cid))
        try:
            file = VerifiedFile(partial, marks_of(partial), ref.layout).open(self._room.lineage)
        except BaseException:
            self._room.leave(partial)
            raise
        self._partial[id(file)] = partial
        return file

    def finish(self, ref: FileRef, file: VerifiedFile) -> None:
        """See `Target.finish`."""
        try:
            file.sync()
        finally:
            file.close()
        self._room.keep(self._partial.pop(id(file)), ref.layout)

    def content_size(self, file: TreeFile, path: str) -> int | None:
        """See `Target.content_size`. Whether it is here shows block by block, as it is read."""
        self._check()
        return None

    def open_content(self, file: TreeFile, path: str) -> BlocksOnly:
        """See `Target.open_content`. Such a file is kept as its blocks: a plain file could not serve them."""
        return BlocksOnly(PinNodes(self._room.store, self._room.budget), self._check)

    def drop(self) -> None:
        """Give up: what is not complete is deleted, which frees our disk."""
        for partial in self._partial.values():
            self._room.drop(partial)
        self._partial.clear()

    def close(self) -> None:
        """Flush what is complete, and let go of what is not. Idempotent."""
        for partial in self._partial.values():
            self._room.leave(partial)
        self._partial.clear()
        self._room.flush()


class BlocksOnly:
    """A `download.ContentSink` that keeps every block of a file, and no file."""

    def __init__(self, nodes: PinNodes, check: Callable[[], None]) -> None:
        self._nodes, self._check = nodes, check

    def find(self, part: Part) -> bytes | None:
        """See `Kept.find`. The tree of a pin looks into the repository by itself."""
        return None

    def keep(self, part: Part, block: Block) -> None:
        """See `Kept.keep`. Raises `QuotaError`."""
        self._check()
        self._nodes.put(block.cid, block.data)  # also one that is here: it may be rotten

    def write(self, data: bytes) -> None:
        """See `ContentSink.write`."""

    def finish(self) -> None:
        """See `ContentSink.finish`."""

    def close(self) -> None:
        """See `ContentSink.close`."""
