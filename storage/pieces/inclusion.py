"""Proofs that a part of a tree is in a piece: a node, where it stands, and what stands beside its way to the root.

As a PDP verifier checks them on chain (FilOzone/pdp: a leaf of 32 bytes and its siblings, from below).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import FormatError, HashMismatchError
from .kernel import pairs
from .piece import Piece
from .piece_cid import PieceCID
from .pure import NODE_BYTES, ZEROS, fr32


@dataclass(frozen=True, slots=True)
class Inclusion:
    """`node` is number `index` of the nodes of height `level` (0: leaves); `siblings` come from below."""

    node: bytes
    index: int
    level: int
    siblings: tuple[bytes, ...]

    def verify(self, piece: PieceCID) -> None:
        """Raise `HashMismatchError` unless the node is there, `FormatError` for what cannot be a proof."""
        above = len(self.siblings)
        if (
            not 0 <= self.level <= piece.height
            or above != piece.height - self.level
            or not 0 <= self.index < 1 << above
        ):
            raise FormatError(
                f"node {self.index} of height {self.level} with {len(self.siblings)} siblings: {piece} has a height of"
                f" {piece.height}"
            )
        if any(len(node) != NODE_BYTES for node in (self.node, *self.siblings)):
            raise FormatError(f"a node has {NODE_BYTES} bytes")
        node, index = self.node, self.index
        for sibling in self.siblings:
            node = pairs(sibling + node if index & 1 else node + sibling)
            index >>= 1
        if node != piece.root:
            raise HashMismatchError(f"node {self.index} of height {self.level} is not in {piece}")


def prove_subtree(piece: Piece, index: int) -> Inclusion:
    """That a kept root is in the piece; without its payload."""
    height = piece.subtree_height
    piece.range_of(index)
    return Inclusion(piece.root_of(index), index, height, _siblings(piece.layer, index, height, piece.cid.height))


def prove_leaf(piece: Piece, leaf: int, read: Callable[[int, int], bytes]) -> Inclusion:
    """That a leaf (32 bytes after fr32) is in the piece. `read(start, end)` gives bytes of the payload, at most 1 MiB.

    Raises `HashMismatchError` when what was read is not the payload, `ValueError` for a leaf behind the last.
    """
    if not 0 <= leaf < 1 << piece.cid.height:
        raise ValueError(f"there is no leaf {leaf} of {1 << piece.cid.height}")
    height = piece.subtree_height
    index, inside = divmod(leaf, 1 << height)
    if index >= piece.subtrees:  # in the padding: everything below is zeros
        below: tuple[bytes, ...] = ZEROS[:height]
        node = ZEROS[0]
    else:
        start, end = piece.range_of(index)
        payload = read(start, end)
        if not piece.holds(index, payload):
            raise HashMismatchError(f"bytes {start}-{end - 1} are not those of {piece.cid}")
        leaves = fr32(payload + bytes(-len(payload) % 127))
        node = leaves[32 * inside : 32 * inside + 32] or ZEROS[0]
        below = _siblings(leaves, inside, 0, height)
    above = _siblings(piece.layer, index, height, piece.cid.height)
    return Inclusion(node, leaf, 0, (*below, *above))


def _siblings(nodes: bytes, index: int, level: int, height: int) -> tuple[bytes, ...]:
    """Those beside the way from node `index` of a level up to `height`; zeros stand for what is not there."""
    found = []
    while level < height:
        at = (index ^ 1) * NODE_BYTES
        found.append(nodes[at : at + NODE_BYTES] or ZEROS[level])
        if len(nodes) % 64:
            nodes += ZEROS[level]
        nodes = pairs(nodes)
        index, level = index >> 1, level + 1
    return tuple(found)
