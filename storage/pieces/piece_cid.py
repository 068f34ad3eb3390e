"""`PieceCID`: what Filecoin calls a piece: the root of its tree (CommP) and, in version 2, how long the payload is.

Specification: FRC-0069. The tree stands over 127 · 2^(height-2) bytes: the payload and zeros behind it.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..cid import CID, RAW
from ..errors import FormatError
from ..varint import read_uvarint, uvarint
from .pure import MAX_HEIGHT

FIL_COMMITMENT_UNSEALED = 0xF101  # the codec of version 1
SHA2_256_TRUNC254_PADDED = 0x1012  # its hash
FR32_SHA2_256_TRUNC254_PADDED_BINARY_TREE = 0x1011  # the hash of version 2: padding, height and root

MIN_HEIGHT = 2  # 127 bytes: less is padded to them
_HINT = "a PieceCID looks like bafkzcib…, or baga6ea4seaq… in version 1"


def payload_room(height: int) -> int:
    """How many bytes of payload a tree of this height takes."""
    return 127 << (height - 2)


def height_for(size: int) -> int:
    """The height (log2 of the number of 32-byte leaves) of the smallest tree that takes `size` bytes of payload."""
    quads = max(1, -(-size // 127))
    return (quads - 1).bit_length() + MIN_HEIGHT


@dataclass(frozen=True, slots=True)
class PieceCID:
    """The root (32 bytes, below 2^254), the height of the tree, and the zero bytes behind the payload.

    The tree is the smallest that takes the payload, as FRC-0069 wants it: a payload has one PieceCID.
    """

    root: bytes
    height: int
    padding: int

    def __post_init__(self) -> None:
        if len(self.root) != 32 or self.root[31] > 0x3F:
            raise FormatError(f"the root of a piece is a number below 2^254, not {self.root.hex()[:80]}")
        if not MIN_HEIGHT <= self.height <= MAX_HEIGHT:
            raise FormatError(f"a piece of height {self.height}: {MIN_HEIGHT} to {MAX_HEIGHT} are possible")
        room = payload_room(self.height)
        if not 0 <= self.padding <= room or self.height != height_for(room - self.padding):  # FRC-0069: the smallest
            raise FormatError(f"{self.padding} bytes of padding in a piece of {room}")

    @classmethod
    def of(cls, root: bytes, size: int) -> PieceCID:
        """Of a payload of `size` bytes in the smallest tree that takes it."""
        height = height_for(size)
        return cls(root, height, payload_room(height) - size)

    @classmethod
    def parse(cls, text: str, size: int | None = None) -> PieceCID:
        """Read either version; version 1 says nothing of the `size` of the payload, which has to come with it.

        Raises `FormatError`, also where the size is missing or not the one of version 2.
        """
        cid = CID.parse(text)
        piece = cls.from_v1(cid, size) if cid.codec == FIL_COMMITMENT_UNSEALED else cls.from_v2(cid)
        if size is not None and piece.size != size:
            raise FormatError(f"{text[:80]} is a piece of {piece.size} bytes, not {size}")
        return piece

    @classmethod
    def from_v1(cls, cid: CID, size: int | None) -> PieceCID:
        """Version 1, and the size of the payload. Raises `FormatError`."""
        digest = _digest(cid, FIL_COMMITMENT_UNSEALED, SHA2_256_TRUNC254_PADDED)
        if size is None:
            hint = "give its size, or the PieceCID of version 2 (bafkzcib…)"
            raise FormatError(f"{cid} is a PieceCID of version 1: it does not say how long the payload is", hint=hint)
        return cls.of(digest, size)

    @classmethod
    def from_v2(cls, cid: CID) -> PieceCID:
        """Version 2. Raises `FormatError`."""
        digest = _digest(cid, RAW, FR32_SHA2_256_TRUNC254_PADDED_BINARY_TREE)
        padding, at = read_uvarint(digest, 0)
        if len(digest) != at + 33:
            raise FormatError(f"the digest of {cid} has {len(digest)} bytes, expected {at + 33}", hint=_HINT)
        return cls(digest[at + 1 :], digest[at], padding)

    @property
    def size(self) -> int:
        """Of the payload, in bytes."""
        return payload_room(self.height) - self.padding

    @property
    def padded_size(self) -> int:
        """Of the piece as it is stored and paid for, in bytes: a power of two."""
        return 32 << self.height

    @property
    def leaves(self) -> int:
        """Leaves of 32 bytes that hold any of the payload: what PDP counts, and draws challenges from."""
        return (1 << self.height) - (128 * self.padding // 127 >> 5)

    @property
    def v1(self) -> CID:
        """The CID of version 1: the root alone."""
        multihash = uvarint(SHA2_256_TRUNC254_PADDED) + uvarint(32) + self.root
        return CID(1, FIL_COMMITMENT_UNSEALED, multihash)

    @property
    def v2(self) -> CID:
        """The CID of version 2."""
        digest = uvarint(self.padding) + bytes([self.height]) + self.root
        return CID(1, RAW, uvarint(FR32_SHA2_256_TRUNC254_PADDED_BINARY_TREE) + uvarint(len(digest)) + digest)

    def __str__(self) -> str:
        return str(self.v2)


def _digest(cid: CID, codec: int, code: int) -> bytes:
    if cid.version != 1 or cid.codec != codec or cid.hash_code != code:
        raise FormatError(f"{cid} is no PieceCID", hint=_HINT)
    if code == SHA2_256_TRUNC254_PADDED and len(cid.digest) != 32:
        raise FormatError(f"the digest of {cid} has {len(cid.digest)} bytes, expected 32", hint=_HINT)
    return cid.digest
