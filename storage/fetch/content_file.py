"""`ContentFile`: a file without a `FileLayout` on its way into a folder: in one partial file, in place.

What an earlier try left is used again: raw blocks are ranges of the partial file, and hashed; others are nodes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ..blocks.block import Block
from ..blocks.verified_file import disk_error
from ..cid import CID, RAW
from ..dag.content import Part
from ..errors import BlockMissingError, HashMismatchError
from ..limits import MAX_BLOCK_BYTES

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class ContentFile:
    """A `download.ContentSink`. `node`: the verified bytes of a block beside the files; `keep_node` puts one there."""

    def __init__(
        self, path: Path, partial: Path, node: Callable[[CID], bytes], keep_node: Callable[[Block], None]
    ) -> None:
        self._path, self._partial, self._node, self._keep_node = path, partial, node, keep_node
        self._at = 0
        try:
            partial.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(partial, _FLAGS, 0o644)
        except OSError as error:
            raise disk_error(error, partial) from error

    def find(self, part: Part) -> bytes | None:
        """See `Kept.find`."""
        if part.cid.codec != RAW:
            try:
                return self._node(part.cid)
            except (BlockMissingError, HashMismatchError):
                return None
        size = MAX_BLOCK_BYTES if part.size is None else min(part.size, MAX_BLOCK_BYTES)
        try:
            data = os.pread(self._fd, size, part.start)
        except OSError as error:
            raise disk_error(error, self._partial) from error
        return data if data and part.cid.matches(data) else None

    def keep(self, part: Part, block: Block) -> None:
        """See `Kept.keep`. Raw blocks are ranges of the file: `write` keeps them."""
        self._keep_node(block)

    def write(self, data: bytes) -> None:
        """See `ContentSink.write`."""
        try:
            if os.pread(self._fd, len(data), self._at) != data:
                done = 0
                while done < len(data):
                    done += os.pwrite(self._fd, memoryview(data)[done:], self._at + done)
        except OSError as error:
            raise disk_error(error, self._partial) from error
        self._at += len(data)

    def finish(self) -> None:
        """See `ContentSink.finish`."""
        try:
            os.ftruncate(self._fd, self._at)
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._partial.replace(self._path)
        except OSError as error:
            raise disk_error(error, self._path) from error

    def close(self) -> None:
        """See `ContentSink.close`."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
