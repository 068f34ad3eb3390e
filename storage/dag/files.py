"""Read where the leaves of a file lie from its DAG.

Only what can be served by byte ranges is read here: raw sha2-256 leaves of one size, but for the last. Trees may
have any shape (balanced, trickle). Other files are a `NoLayoutError`, and read by `content`. What sizes claim must
add up; whether a leaf is as long as claimed shows when it is hashed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ..cid import CID, DAG_PB, RAW, SHA2_256_PREFIX
from ..errors import FormatError, UnsupportedError
from ..limits import MAX_BLOCK_BYTES, MAX_DAG_DEPTH, MAX_FILE_NODES
from ..varint import read_uvarint
from . import dagpb, unixfs
from .build import RAW_LINK, leaf_node
from .layout import DIGEST_BYTES, EMPTY_DIGEST, FileLayout
from .steps import Steps, codec_name, load
from .unixfs import NodeType


class NoLayoutError(UnsupportedError):
    """A file whose parts are not ranges of one size, named by sha2-256: `content` reads it, block by block."""


MAX_LEAVES = 1 << 22  # 128 MiB of digests; 4 TiB of 1 MiB leaves. Shared subtrees could ask for any number


@dataclass(frozen=True, slots=True)
class _Run:
    """Consecutive leaves of one size."""

    size: int
    digests: bytes


@dataclass(frozen=True, slots=True)
class _Child:
    cid: CID
    size: int


@dataclass(frozen=True, slots=True)
class _Node:
    size: int
    parts: tuple[_Run | _Child, ...]


def inner_nodes(cid: CID, data: bytes) -> list[CID]:
    """The children of a file's node that must be nodes themselves: a leaf is no larger than a block.

    Raises `FormatError` for a node that is malformed; of what is no node of a file, none.
    """
    if cid.codec != DAG_PB:
        return []
    node = dagpb.decode(data)
    if node.data is None:
        return []
    sizes = unixfs.decode(node.data).blocksizes
    return [link.cid for link, size in zip(node.links, sizes, strict=False) if size > MAX_BLOCK_BYTES]


def raw_layout(cid: CID, size: int) -> FileLayout:
    """The layout of a file that is one raw leaf, when its length is known otherwise.

    The length is not checked against the hash, but for zero: whoever reads the leaf does.
    """
    if size < 0:
        raise ValueError(f"a file of {size} bytes")
    if cid.codec != RAW:
        raise UnsupportedError(f"{cid.short()} is {codec_name(cid.codec)}, not a raw leaf")
    if not _is_leaf(cid):
        raise NoLayoutError(f"the leaf {cid.short()} is not named by sha2-256")
    if size > MAX_BLOCK_BYTES:
        raise FormatError(f"the leaf {cid.short()} would have {size} bytes (at most {MAX_BLOCK_BYTES})")
    digest = cid.digest
    if size == 0 and digest != EMPTY_DIGEST:
        raise NoLayoutError(f"{cid.short()} is not the empty file: nobody says how long it is")
    return FileLayout(cid, size, max(size, 1), digest)


def file_layout(cid: CID, *, max_leaves: int = MAX_LEAVES) -> Steps[FileLayout]:
    """Collect the leaves of a file. Yields each inner node once, and a leaf only when it is the whole file.

    Raises `FormatError` when sizes do not add up or a bound is passed, `NoLayoutError` for other leaves
    than described above, `UnsupportedError` for what is no file.
    """
    if cid.codec == RAW:
        return raw_layout(cid, len((yield from load(cid))))
    if cid.codec != DAG_PB:
        raise UnsupportedError(f"{cid.short()} is {codec_name(cid.codec)}, not a file")
    root = _parse(cid, (yield from load(cid)))
    nodes = {cid: root}
    leaves = _Leaves(cid, max_leaves)
    stack: list[Iterator[_Run | _Child]] = [iter(root.parts)]
    visits = 1
    while stack:
        part = next(stack[-1], None)
        if part is None:
            stack.pop()
        elif isinstance(part, _Run):
            leaves.add(part)
        else:
            visits += 1
            if visits > MAX_FILE_NODES or len(stack) >= MAX_DAG_DEPTH:
                raise FormatError(f"the file {cid.short()} has too many nodes, or more than {MAX_DAG_DEPTH} levels")
            node = nodes.get(part.cid)
            if node is None:
                node = nodes[part.cid] = _parse(part.cid, (yield from load(part.cid)))
            if node.size != part.size:
                raise FormatError(f"{part.cid.short()} has {node.size} bytes; its parent says {part.size}")
            stack.append(iter(node.parts))
    return FileLayout(cid, root.size, leaves.size, b"".join(leaves.digests))


@dataclass(slots=True)
class _Leaves:
    cid: CID
    max_leaves: int
    digests: list[bytes] = field(default_factory=list)
    count: int = 0
    size: int = 0
    ended: bool = False  # a short leaf was seen: it must be the last

    def add(self, run: _Run) -> None:
        count = len(run.digests) // DIGEST_BYTES
        self.count += count
        if self.count > self.max_leaves:
            raise FormatError(f"the file {self.cid.short()} has more than {self.max_leaves} leaves")
        self.size = self.size or run.size
        if self.ended or run.size > self.size or (run.size < self.size and count > 1):
            raise NoLayoutError(f"the leaves of {self.cid.short()} differ in size ({run.size} and {self.size} bytes)")
        self.ended = run.size < self.size
        self.digests.append(run.digests)


def _parse(cid: CID, data: bytes) -> _Node:
    node = _parse_own(data)
    return node if node is not None else _parse_any(cid, data)


def _parse_own(data: bytes) -> _Node | None:
    """A node over leaves exactly as we write it, recognised by writing it again (25 times quicker)."""
    at = 4 + len(RAW_LINK)  # of the digest in a link
    tsize = at + DIGEST_BYTES + 3
    if data[2:at] != b"\x0a\x24" + RAW_LINK or data[1] > 127:
        return None
    stride = 2 + data[1]
    count = 1
    while count * stride < len(data) and data[count * stride] == 0x12:
        count += 1
    try:
        size, _ = read_uvarint(data, tsize)
        last, _ = read_uvarint(data, (count - 1) * stride + tsize)
    except FormatError:
        return None
    spans = range(at, at + count * stride, stride)
    digests = b"".join([data[start : start + DIGEST_BYTES] for start in spans])
    if not 0 < last <= size <= MAX_BLOCK_BYTES or leaf_node(digests, size, last) != data:
        return None
    total = (count - 1) * size + last
    if last == size:
        return _Node(total, (_Run(size, digests),))
    return _Node(total, (_Run(size, digests[:-DIGEST_BYTES]), _Run(last, digests[-DIGEST_BYTES:])))


def _parse_any(cid: CID, data: bytes) -> _Node:
    node = dagpb.decode(data)
    if node.data is None:
        raise UnsupportedError(f"{cid.short()} is a dag-pb node without UnixFS data")
    about = unixfs.decode(node.data)
    if about.type not in (NodeType.FILE, NodeType.RAW):
        raise UnsupportedError(f"{cid.short()} is a UnixFS {about.type.name.lower()}, not a file")
    if about.data or not node.links:
        raise NoLayoutError(f"{cid.short()} holds bytes of the file itself; only raw leaves are read")
    if len(about.blocksizes) != len(node.links):
        raise FormatError(f"{cid.short()} has {len(node.links)} links and {len(about.blocksizes)} block sizes")
    if about.filesize != sum(about.blocksizes):
        raise FormatError(f"{cid.short()} says {about.filesize} bytes, its parts have {sum(about.blocksizes)}")
    parts: list[_Run | _Child] = []
    for link, size in zip(node.links, about.blocksizes, strict=True):
        if size == 0:
            raise NoLayoutError(f"{cid.short()} links to an empty part of a file")
        if link.cid.codec == DAG_PB:
            parts.append(_Child(link.cid, size))
            continue
        if link.cid.codec != RAW:
            raise UnsupportedError(f"{link.cid.short()} is {codec_name(link.cid.codec)}, not a part of a file")
        if not _is_leaf(link.cid):
            raise NoLayoutError(f"the leaf {link.cid.short()} is not named by sha2-256")
        if size > MAX_BLOCK_BYTES:
            raise FormatError(f"the leaf {link.cid.short()} would have {size} bytes (at most {MAX_BLOCK_BYTES})")
        before = parts[-1] if parts else None
        if isinstance(before, _Run) and before.size == size:
            parts[-1] = _Run(size, before.digests + link.cid.digest)
        else:
            parts.append(_Run(size, link.cid.digest))
    return _Node(about.filesize, tuple(parts))


def _is_leaf(cid: CID) -> bool:
    return cid.codec == RAW and len(cid.multihash) == 2 + DIGEST_BYTES and cid.multihash[:2] == SHA2_256_PREFIX
