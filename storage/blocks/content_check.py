"""A file on this disk against a DAG for which there is no `FileLayout`: every block hashed, every byte compared."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ..cid import CID, RAW
from ..dag.content import ContentWalk, Part, content
from ..errors import HashMismatchError
from ..limits import MAX_BLOCK_BYTES
from .block import inline


def check_content(path: Path, cid: CID, node: Callable[[CID], bytes]) -> int:
    """The size in bytes of the file at `path`, which is what `cid` says.

    Raw blocks are ranges of the file; `node` returns all others, verified. Raises `HashMismatchError` where the file
    is another, what `node` raises, `FormatError` for a DAG that contradicts itself, and `OSError`.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        walk = ContentWalk(cid)

        def get(part: Part) -> bytes:
            if (own := inline(part.cid)) is not None:
                return own.data
            if part.cid.codec != RAW:
                return node(part.cid)
            data = os.pread(fd, MAX_BLOCK_BYTES + 1 if part.size is None else part.size, part.start)
            if not part.cid.matches(data):
                raise HashMismatchError(f"is wrong at bytes {part.start}-{part.start + len(data) - 1}")
            return data

        at = 0
        for data in content(walk, get):
            if os.pread(fd, len(data), at) != data:
                raise HashMismatchError(f"is wrong at bytes {at}-{at + len(data) - 1}")
            at += len(data)
        size = os.fstat(fd).st_size
        if size != at:
            raise HashMismatchError(f"has {size} bytes, expected {at}")
        return at
    finally:
        os.close(fd)
