"""`Piece`: a PieceCID and the layer of its tree that is kept: the roots over each 1 MiB of it."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import FormatError, HashMismatchError
from .kernel import pairs, subtree
from .piece_cid import PieceCID
from .pure import NODE_BYTES, ZEROS

SUBTREE_HEIGHT = 15
SUBTREE_BYTES = 127 << 13  # of payload: 1,040,384, which fr32 makes 1 MiB


def fold(nodes: bytes, level: int, height: int) -> bytes:
    """The root of this height over the nodes of a level; zeros stand for the nodes that are not there."""
    while level < height:
        if len(nodes) % 64:
            nodes += ZEROS[level]
        nodes = pairs(nodes)
        level += 1
    return nodes


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece, as far as whoever does not have its payload has to know it.

    `layer` (32 bytes for each `SUBTREE_BYTES` of payload: 1 : 32,512) folds to the root, so it needs no trust; each
    range of the payload of that size can be checked alone.
    """

    cid: PieceCID
    layer: bytes

    def __post_init__(self) -> None:
        expected = max(1, -(-self.cid.size // SUBTREE_BYTES)) * NODE_BYTES
        if len(self.layer) != expected:
            raise FormatError(f"the layer of {self.cid} has {len(self.layer)} bytes, expected {expected}")
        if fold(self.layer, self.subtree_height, self.cid.height) != self.cid.root:
            raise HashMismatchError(f"this layer does not fold to the root of {self.cid}")

    @classmethod
    def of(cls, layer: bytes, size: int) -> Piece:
        """What `layer` says of a payload of `size` bytes."""
        cid = PieceCID.of(bytes(NODE_BYTES), size)
        root = fold(layer, min(SUBTREE_HEIGHT, cid.height), cid.height)
        return cls(PieceCID.of(root, size), layer)

    @property
    def subtree_height(self) -> int:
        """Of the kept roots: that of 1 MiB, or of the whole piece where it is smaller."""
        return min(SUBTREE_HEIGHT, self.cid.height)

    @property
    def subtrees(self) -> int:
        """How many roots are kept."""
        return len(self.layer) // NODE_BYTES

    def range_of(self, index: int) -> tuple[int, int]:
        """First byte of the payload below a kept root, and the one behind the last."""
        if not 0 <= index < self.subtrees:
            raise ValueError(f"there is no subtree {index} of {self.subtrees}")
        return index * SUBTREE_BYTES, min((index + 1) * SUBTREE_BYTES, self.cid.size)

    def root_of(self, index: int) -> bytes:
        """The kept root over `range_of(index)`."""
        return self.layer[index * NODE_BYTES : (index + 1) * NODE_BYTES]

    def holds(self, index: int, payload: bytes | bytearray | memoryview) -> bool:
        """Whether these are the bytes of `range_of(index)`."""
        start, end = self.range_of(index)
        return len(payload) == end - start and subtree(payload, self.subtree_height) == self.root_of(index)
