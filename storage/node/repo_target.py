"""`RepoTarget`: a download target inside a repository: pinned files become files of its own, see `room`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..blocks.block import Block
from ..blocks.verified_file import VerifiedFile
from ..sources.source import FileRef
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
