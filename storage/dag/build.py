"""Build the DAG of a file or a directory from its parts: profile `unixfs-v1-2025` (IPIP-0499).

CIDv1, sha2-256, raw leaves, balanced trees of width 1024, basic directories up to 256 KiB and HAMTs above. No
modes, no times. Blocks come bottom-up: each after those it links to, the root last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..blocks.block import Block
from ..cid import CID, DAG_PB, SHA2_256_PREFIX
from ..errors import FormatError
from ..limits import MAX_BLOCK_BYTES
from ..varint import uvarint
from . import dagpb, hamt, unixfs
from .dagpb import PBLink, PBNode
from .layout import DIGEST_BYTES, FileLayout
from .names import name_bytes, split_path
from .protobuf import bytes_field, varint_field
from .unixfs import NodeType, UnixFSNode

WIDTH = 1024
MAX_BASIC_DIRECTORY_BYTES = 262_144  # of the serialised block; a HAMT above it, not at it
RAW_LINK = b"\x01\x55" + SHA2_256_PREFIX  # what precedes the digest in the CID of a leaf


@dataclass(frozen=True, slots=True)
class Entry:
    """A link target. `tsize`: bytes of its own block and of all below it, as the Tsize of dag-pb."""

    cid: CID
    tsize: int


def build_file(size: int, leaf_size: int, digests: bytes) -> tuple[FileLayout, Entry, list[Block]]:
    """The DAG of a file from the sha2-256 digests of its leaves (32 bytes each, concatenated).

    The blocks are the inner nodes, without leaves: none for a file of at most one leaf, whose raw leaf is
    the file. Raises `ValueError` unless there are as many digests as the size asks for.
    """
    if not 0 < leaf_size <= MAX_BLOCK_BYTES:
        raise ValueError(f"leaves of {leaf_size} bytes (1 to {MAX_BLOCK_BYTES})")
    if len(digests) == DIGEST_BYTES and size <= leaf_size:
        cid = CID.raw(digests)
        return FileLayout(cid, size, max(size, 1), digests), Entry(cid, size), []
    draft = FileLayout(CID.raw(digests[:DIGEST_BYTES]), size, leaf_size, digests)
    blocks: list[Block] = []
    level: list[tuple[Entry, int]] = []  # entry, bytes of the file below it
    for first in range(0, draft.leaves, WIDTH):
        count = min(WIDTH, draft.leaves - first)
        last = draft.leaf_length(first + count - 1)
        part = digests[first * DIGEST_BYTES : (first + count) * DIGEST_BYTES]
        block = Block.encode(DAG_PB, leaf_node(part, leaf_size, last))
        below = (count - 1) * leaf_size + last
        blocks.append(block)
        level.append((Entry(block.cid, len(block.data) + below), below))
    while len(level) > 1:
        level = [_inner(level[at : at + WIDTH], blocks) for at in range(0, len(level), WIDTH)]
    entry = level[0][0]
    return FileLayout(entry.cid, size, leaf_size, digests), entry, blocks


def leaf_node(digests: bytes, leaf_size: int, last: int) -> bytes:
    """The block over a run of leaves, all of `leaf_size` but the last: joined, for there may be millions."""
    cids = [digests[at : at + DIGEST_BYTES] for at in range(0, len(digests), DIGEST_BYTES)]
    head, tail = _around_digest(leaf_size)
    last_head, last_tail = _around_digest(last)
    links = [(tail + head).join([head + cids[0], *cids[1:-1]]) + tail] if len(cids) > 1 else []
    sizes = varint_field(4, leaf_size) * (len(cids) - 1) + varint_field(4, last)
    total = (len(cids) - 1) * leaf_size + last
    data = varint_field(1, NodeType.FILE) + varint_field(3, total) + sizes
    return b"".join([*links, last_head, cids[-1], last_tail, bytes_field(1, data)])


def _around_digest(leaf_size: int) -> tuple[bytes, bytes]:
    """The bytes of a link to a raw leaf before and behind its digest; the name is there and empty."""
    cid = bytes_field(1, RAW_LINK + bytes(DIGEST_BYTES))
    tail = bytes_field(2, b"") + varint_field(3, leaf_size)
    return b"\x12" + uvarint(len(cid) + len(tail)) + cid[:-DIGEST_BYTES], tail


def _inner(children: list[tuple[Entry, int]], blocks: list[Block]) -> tuple[Entry, int]:
    sizes = tuple(below for _, below in children)
    about = UnixFSNode(NodeType.FILE, filesize=sum(sizes), blocksizes=sizes)
    links = tuple(PBLink(entry.cid, "", entry.tsize) for entry, _ in children)
    block = Block.encode(DAG_PB, dagpb.encode(PBNode(links, unixfs.encode(about))))
    blocks.append(block)
    return Entry(block.cid, len(block.data) + sum(entry.tsize for entry, _ in children)), sum(sizes)


def build_directory(entries: Mapping[str, Entry]) -> tuple[Entry, list[Block]]:
    """A directory of `entries`, sorted bytewise: one block, or a HAMT when that block would pass 256 KiB.

    Raises `FormatError` for names that `name_bytes` refuses.
    """
    links = tuple(PBLink(entries[name].cid, name, entries[name].tsize) for name in sorted(entries, key=name_bytes))
    data = dagpb.encode(PBNode(links, unixfs.encode(UnixFSNode(NodeType.DIRECTORY))))
    if len(data) > MAX_BASIC_DIRECTORY_BYTES:
        root, blocks = hamt.build(links)
        return Entry(root.cid, root.tsize or 0), blocks
    block = Block.encode(DAG_PB, data)
    return Entry(block.cid, len(data) + sum(entry.tsize for entry in entries.values())), [block]


@dataclass(slots=True)
class _Folder:
    parent: _Folder | None
    name: str
    entries: dict[str, Entry] = field(default_factory=dict)
    folders: dict[str, _Folder] = field(default_factory=dict)


def build_tree(files: Mapping[str, Entry]) -> tuple[Entry, list[Block]]:
    """Nested directories from relative POSIX paths ("a/b/c") to entries. No paths: the empty directory.

    Raises `FormatError` for a path with a bad segment, or one that is both a file and a directory.
    """
    root = _Folder(None, "")
    order = [root]  # parents before their children
    for path, entry in files.items():
        *parents, name = split_path(path)
        folder = root
        for segment in parents:
            if segment not in folder.folders:
                below = folder.folders[segment] = _Folder(folder, segment)
                order.append(below)
            folder = folder.folders[segment]
        folder.entries[name] = entry
    blocks: list[Block] = []
    entry = Entry(CID.raw(bytes(DIGEST_BYTES)), 0)
    for folder in reversed(order):
        entry, made = build_directory(folder.entries)
        blocks += made
        if folder.parent is not None:
            if folder.name in folder.parent.entries:
                raise FormatError(f"{folder.name!r} is a file and a directory")
            folder.parent.entries[folder.name] = entry
    return entry, blocks
