"""HAMT directories: a directory too big for one block, spread over shards by the hash of its names.

Specification: ipfs/specs, src/unixfs.md, "HAMT sharded directories". We write fanout 256, so one byte of the 8-byte
murmur3-x64-64 of a name at each level: a tree of shards ends at depth 8. Fanouts of 8 to 256 are read, powers of two:
each level takes so many bits of the hash, the highest first. A link of a shard is named by its slot (upper-case
hexadecimal digits, two for fanout 256), followed by the entry's name, or by nothing when it leads to a sub-shard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import mmh3

from ..blocks.block import Block
from ..cid import DAG_PB
from ..errors import FormatError, UnsupportedError
from . import dagpb, unixfs
from .dagpb import PBLink, PBNode
from .unixfs import MURMUR3_X64_64, NodeType, UnixFSNode

FANOUT = 256
MAX_DEPTH = 8  # bytes in the hash of a name
_HASH_BITS = 64
_FANOUT_BITS = {1 << bits: bits for bits in range(3, 9)}


@dataclass(frozen=True, slots=True)
class Slot:
    """One occupied slot of a shard: an entry called `name`, or a sub-shard where `name` is empty."""

    index: int
    name: str
    link: PBLink
    fanout: int = FANOUT


def name_hash(name: bytes) -> bytes:
    """The eight bytes that place a name, the first level's first."""
    first: int = mmh3.hash64(name, 0, True, signed=False)[0]
    return first.to_bytes(8, "big")


def build(links: Sequence[PBLink]) -> tuple[PBLink, list[Block]]:
    """The shards of a directory of `links` (distinct names): a nameless link to the root, and the blocks.

    Sub-shards come before the shard that links to them. Raises `FormatError` when two names share all 64
    bits.
    """
    placed = []
    for link in links:
        name = link.name or ""
        placed.append((name_hash(name.encode()), name, link))
    blocks: list[Block] = []
    return _build(placed, 0, blocks), blocks


def _build(placed: list[tuple[bytes, str, PBLink]], depth: int, blocks: list[Block]) -> PBLink:
    if depth == MAX_DEPTH:
        raise FormatError(f"the names {placed[0][1]!r} and {placed[1][1]!r} have the same 64-bit hash")
    buckets: dict[int, list[tuple[bytes, str, PBLink]]] = {}
    for item in placed:
        buckets.setdefault(item[0][depth], []).append(item)
    links, bits, total = [], 0, 0
    for index in sorted(buckets):
        bucket, prefix = buckets[index], f"{index:02X}"
        bits |= 1 << index
        if len(bucket) == 1:
            _, name, link = bucket[0]
            link = PBLink(link.cid, prefix + name, link.tsize)
        else:
            child = _build(bucket, depth + 1, blocks)
            link = PBLink(child.cid, prefix, child.tsize)
        links.append(link)
        total += link.tsize or 0
    field = bits.to_bytes(FANOUT // 8, "big").lstrip(b"\0")
    about = UnixFSNode(NodeType.HAMT, field, hash_type=MURMUR3_X64_64, fanout=FANOUT)
    block = Block.encode(DAG_PB, dagpb.encode(PBNode(tuple(links), unixfs.encode(about))))
    blocks.append(block)
    return PBLink(block.cid, None, total + len(block.data))


def read_shard(node: PBNode, about: UnixFSNode, path: bytes = b"") -> list[Slot]:
    """The slots of a shard that was reached through the slots `path` (b"": the root), in order.

    Raises `FormatError` unless bitfield, link names, and the place of each entry by its hash agree, so that
    listing a directory and looking a name up can never disagree. Raises `UnsupportedError` for another
    fanout or hash.
    """
    fanout = about.fanout or 0
    if fanout not in _FANOUT_BITS or about.hash_type != MURMUR3_X64_64:
        raise UnsupportedError(f"a HAMT of fanout {about.fanout} and hash {about.hash_type} (read: 8 to 256, 0x22)")
    depth = _HASH_BITS // _FANOUT_BITS[fanout]
    if len(path) >= depth:
        raise FormatError(f"a HAMT is deeper than {depth} shards")
    width = len(f"{fanout - 1:X}")
    labels = _labels(fanout)
    slots: list[Slot] = []
    bits, last = 0, -1
    for link in node.links:
        label = link.name or ""
        index = labels.get(label[:width], -1)
        if index <= last:
            raise FormatError(f"a HAMT shard has a link called {label[:64]!r} after slot {last}")
        name, last = label[width:], index
        here = path + bytes([index])
        if name and _places(name_hash(name.encode()), fanout, len(here)) != here:
            raise FormatError(f"the HAMT entry {name[:64]!r} does not belong into slot {here.hex()}")
        bits |= 1 << index
        slots.append(Slot(index, name, link, fanout))
    if bits != int.from_bytes(about.data or b"", "big"):
        raise FormatError("the bitfield of a HAMT shard does not match its links")
    if path and not slots:
        raise FormatError("a HAMT sub-shard is empty")
    return slots


@cache
def _labels(fanout: int) -> dict[str, int]:
    width = len(f"{fanout - 1:X}")
    return {f"{slot:0{width}X}": slot for slot in range(fanout)}


def _places(hashed: bytes, fanout: int, depth: int) -> bytes:
    """The slots of a name in the first `depth` levels, the root's first."""
    if fanout == FANOUT:
        return hashed[:depth]
    bits, number = _FANOUT_BITS[fanout], int.from_bytes(hashed, "big")
    return bytes(number >> _HASH_BITS - bits * level & fanout - 1 for level in range(1, depth + 1))


def find(slots: Sequence[Slot], name: bytes, depth: int) -> Slot | None:
    """The slot of the shard at `depth` that holds, or leads to, `name`."""
    index = _places(name_hash(name), slots[0].fanout, depth + 1)[depth] if slots else -1
    for slot in slots:
        if slot.index == index:
            return slot if not slot.name or slot.name.encode() == name else None
    return None
