"""The bytes of any UnixFS file, block by block, in order: leaves of any kind, size and hash, in trees of any shape.

Specification: ipfs/specs, src/unixfs.md, "File". `files` reads what byte ranges can serve, and reads it faster; this
reads the rest: leaves that are dag-pb, inner nodes that hold bytes, parts of different sizes, inline parts.

Pure: a `ContentWalk` says which blocks it needs next and is handed their verified bytes. What nodes claim about
sizes must be so, or it is a `FormatError`; work and memory are bounded whatever they claim.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from ..cid import CID, DAG_PB, RAW
from ..errors import FormatError, UnsupportedError
from ..limits import MAX_DAG_DEPTH
from . import dagpb, unixfs
from .steps import Steps, codec_name, load_node
from .unixfs import NodeType

MAX_PARTS = 1 << 23  # links read for one file: 2 TiB in parts of 256 KiB. Shared subtrees could ask for any number
MAX_PENDING = 1 << 18  # links held at once, some 60 MB; a balanced tree of width 8192 and depth 4 holds 32,768


@dataclass(frozen=True, slots=True)
class Part:
    """A block of a file: where the bytes below it begin in the file, and how many its parent says they are."""

    cid: CID
    start: int
    size: int | None  # None: the root, of which nobody has said anything yet
    depth: int = 0


class ContentWalk:
    """A cursor over the bytes `start` to `end` (exclusive; None: to the end) of the file `cid`.

    Subtrees outside of that range are not visited.
    """

    def __init__(self, cid: CID, start: int = 0, end: int | None = None, *, max_parts: int = MAX_PARTS) -> None:
        self.cid, self._start, self._end, self._max_parts = cid, start, end, max_parts
        self.size: int | None = None  # of the whole file; known once the root was taken
        self._stack = [Part(cid, 0, None)]
        self._parts = 1

    def next(self) -> Part | None:
        """The block that `take` wants now; None at the end."""
        return self._stack[-1] if self._stack else None

    def ahead(self, count: int) -> Iterator[Part]:
        """The next blocks in order, as far as they are known: `next` and what may be fetched meanwhile."""
        return islice(reversed(self._stack), count)

    def take(self, data: bytes) -> bytes:
        """Hand over the verified bytes of `next`; returns the bytes of the file that it holds itself (may be none).

        Raises `FormatError` for sizes that do not add up or a bound that is passed, `UnsupportedError` for a block
        that is no part of a file.
        """
        part = self._stack.pop()
        cid = part.cid
        own, links, sizes = _open(cid, data)
        total = len(own) + sum(sizes)
        if part.size is None:
            self.size = total
        elif part.size != total:
            raise FormatError(f"{cid.short()} has {total} bytes; its parent says {part.size}")
        self._push(part, len(own), links, sizes)
        end = total + part.start if self._end is None else self._end
        return own[max(self._start - part.start, 0) : max(end - part.start, 0)]

    def _push(self, part: Part, own: int, links: tuple[CID, ...], sizes: tuple[int, ...]) -> None:
        self._parts += len(links)
        if self._parts > self._max_parts:
            raise FormatError(f"the file {self.cid.short()} has more than {self._max_parts} parts")
        if links and part.depth + 1 >= MAX_DAG_DEPTH:
            raise FormatError(f"the file {self.cid.short()} has more than {MAX_DAG_DEPTH} levels")
        whole = self._start == 0 and self._end is None
        below = []
        at = part.start + own
        for cid, size in zip(links, sizes, strict=True):
            if whole or (at + size > self._start and (self._end is None or at < self._end)):
                below.append(Part(cid, at, size, part.depth + 1))
            at += size
        self._stack.extend(reversed(below))
        if len(self._stack) > MAX_PENDING:
            raise FormatError(f"the nodes of the file {self.cid.short()} have too many links")


def _open(cid: CID, data: bytes) -> tuple[bytes, tuple[CID, ...], tuple[int, ...]]:
    """The bytes, links and sizes of a block of a file. `filesize` may be left out where there are no links."""
    if cid.codec == RAW:
        return data, (), ()
    if cid.codec != DAG_PB:
        raise UnsupportedError(f"{cid.short()} is {codec_name(cid.codec)}, not a part of a file")
    node = dagpb.decode(data)
    if node.data is None:
        raise UnsupportedError(f"{cid.short()} is a dag-pb node without UnixFS data")
    about = unixfs.decode(node.data)
    if about.type not in (NodeType.FILE, NodeType.RAW):
        raise UnsupportedError(f"{cid.short()} is a UnixFS {about.type.name.lower()}, not a part of a file")
    own = about.data or b""
    if len(about.blocksizes) != len(node.links):
        raise FormatError(f"{cid.short()} has {len(node.links)} links and {len(about.blocksizes)} block sizes")
    total = len(own) + sum(about.blocksizes)
    if about.filesize != total and (node.links or about.filesize is not None):
        raise FormatError(f"{cid.short()} says {about.filesize} bytes, its parts have {total}")
    return own, tuple(link.cid for link in node.links), about.blocksizes


def content(walk: ContentWalk, get: Callable[[Part], bytes]) -> Iterator[bytes]:
    """Drive a walk to its end; `get` returns the verified bytes of a block. Yields the bytes of the file in order."""
    while (part := walk.next()) is not None:
        if own := walk.take(get(part)):
            yield own


def link_target(cid: CID) -> Steps[str]:
    """Where a symlink points, for messages: whatever its maker wrote. `UnsupportedError` for what is no symlink."""
    _, about = yield from load_node(cid)
    if about.type is not NodeType.SYMLINK:
        raise UnsupportedError(f"{cid.short()} is a UnixFS {about.type.name.lower()}, not a symlink")
    return (about.data or b"").decode(errors="replace")
