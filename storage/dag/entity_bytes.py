"""`EntityBytes`: a range of the bytes of a file, and the least blocks that prove it.

Specification: ipfs/specs, src/http-gateways/trustless-gateway.md, "entity-bytes". Files of any shape are read: raw
and dag-pb leaves, of any sizes, at any depths, data in inner nodes. Where a part lies is what the `blocksizes` of its
parent say; `Tsize` is never looked at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..cid import CID, DAG_PB, IDENTITY, RAW
from ..errors import FormatError
from . import dagpb, unixfs
from .order import MAX_BLOCKS, entity_links, links_order
from .steps import Steps
from .unixfs import NodeType

_FORM = re.compile(r"(-?\d{1,18}):(-?\d{1,18}|\*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class EntityBytes:
    """Bytes `first` to `last`, inclusive; negative ones count from the end. `last` None: to the end."""

    first: int
    last: int | None

    @classmethod
    def parse(cls, text: str) -> EntityBytes:
        """Read `from:to`. Raises `FormatError`, also for a range that ends before it begins whatever the size."""
        match = _FORM.fullmatch(text)
        if match is None:
            raise FormatError(f"entity-bytes={text[:48]!r}: from:to, in whole numbers; to may be *")
        first, last = int(match[1]), None if match[2] == "*" else int(match[2])
        if last is not None and (first < 0) == (last < 0) and last < first:
            raise FormatError(f"entity-bytes={text[:48]!r} ends before it begins")
        return cls(first, last)

    def __str__(self) -> str:
        return f"{self.first}:{'*' if self.last is None else self.last}"

    def within(self, size: int) -> tuple[int, int]:
        """Start and end (exclusive) of what lies inside a file of `size` bytes; (0, 0) when nothing does."""
        start = max(size + self.first, 0) if self.first < 0 else self.first
        last = size - 1 if self.last is None else self.last + size if self.last < 0 else min(self.last, size - 1)
        return (start, last + 1) if start <= last else (0, 0)


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a file: where it begins in the bytes of its parent, and how many it has."""

    cid: CID
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class _Node:
    size: int
    parts: tuple[_Part, ...]


@dataclass(frozen=True, slots=True)
class _Visit:
    """A part of which the bytes [start, end) are wanted, of `size`."""

    cid: CID
    start: int
    end: int
    size: int


def bytes_order(root: CID, wanted: EntityBytes, *, dups: bool = False, max_blocks: int = MAX_BLOCKS) -> Steps[None]:
    """Yield the CIDs of the blocks that prove `wanted` of the file `root`, as `dag_order` does; the root always.

    What is no file is answered as dag-scope=entity. Raises `FormatError` when sizes do not add up, or above
    `max_blocks`.
    """
    data = root.digest if root.hash_code == IDENTITY else (yield root)
    node = _read(root, data)
    if node is None:
        if root.codec == DAG_PB:
            yield from links_order(root, entity_links(root, data), "entity", dups=dups, max_blocks=max_blocks)
        return
    start, end = wanted.within(node.size)
    walk = _Walk(dups)
    stack = walk.wanted_parts(root, node, start, end)
    count = 1
    while stack:
        visit = stack.pop()
        if walk.done(visit):
            continue
        known = walk.partial.get(visit.cid)
        if known is None:
            count += 1
            if count > max_blocks:
                raise FormatError(f"the file {root.short()} has more than {max_blocks} blocks")
            data = visit.cid.digest if visit.cid.hash_code == IDENTITY else (yield visit.cid)
            if visit.cid.codec == RAW:
                walk.whole.add(visit.cid)
                continue
            known = _read(visit.cid, data)
            if known is None or known.size != visit.size:
                raise FormatError(f"{visit.cid.short()} is not the file of {visit.size} bytes that its parent says")
        stack += walk.wanted_parts(visit.cid, known, visit.start, visit.end)


class _Walk:
    """What was sent. Without duplicates a block is sent once, but a part of it may be wanted again, and another one.

    Only the first and the last part of a range are wanted in part, at each level: so few nodes are kept, and a tree
    of shared nodes costs no more than its blocks.
    """

    def __init__(self, dups: bool) -> None:
        self._dups = dups
        self.whole: set[CID] = set()
        self.partial: dict[CID, _Node] = {}

    def done(self, visit: _Visit) -> bool:
        return not self._dups and visit.cid in self.whole

    def wanted_parts(self, cid: CID, node: _Node, start: int, end: int) -> list[_Visit]:
        """The parts that hold bytes of [start, end), the last one first."""
        if not self._dups and start < end:
            if (start, end) == (0, node.size):
                self.whole.add(cid)
            else:
                self.partial[cid] = node
        found = [
            _Visit(part.cid, max(start - part.start, 0), min(end - part.start, part.size), part.size)
            for part in node.parts
            if part.start < end and start < part.start + part.size and part.size
        ]
        return found[::-1]


def _read(cid: CID, data: bytes) -> _Node | None:
    """The parts of a file node; None for what is no file."""
    if cid.codec == RAW:
        return _Node(len(data), ())
    if cid.codec != DAG_PB:
        return None
    node = dagpb.decode(data)
    about = None if node.data is None else unixfs.decode(node.data)
    if about is None or about.type not in (NodeType.FILE, NodeType.RAW):
        return None
    if len(about.blocksizes) != len(node.links):
        raise FormatError(f"{cid.short()} has {len(node.links)} links and {len(about.blocksizes)} block sizes")
    at, parts = len(about.data or b""), []  # data of the node itself comes before its parts
    for link, size in zip(node.links, about.blocksizes, strict=True):
        parts.append(_Part(link.cid, at, size))
        at += size
    return _Node(at, tuple(parts))
