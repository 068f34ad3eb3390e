"""`Block`: bytes that have been hashed. Unverified bytes are `bytes`, never a `Block`."""

from __future__ import annotations

from dataclasses import dataclass

from ..cid import CID, IDENTITY
from ..errors import FormatError
from ..limits import MAX_BLOCK_BYTES


@dataclass(frozen=True, slots=True)
class Block:
    """Verified bytes and their CID. Made by `Block.verify` or, for bytes of our own, `Block.encode`."""

    cid: CID
    data: bytes

    @classmethod
    def verify(cls, cid: CID, data: bytes) -> Block:
        """Hash `data` and name it. Raises `HashMismatchError`, or `FormatError` above 2 MiB."""
        if len(data) > MAX_BLOCK_BYTES:
            raise FormatError(f"block {cid.short()} has {len(data)} bytes, more than {MAX_BLOCK_BYTES}")
        cid.verify(data)
        return cls(cid, data)

    @classmethod
    def encode(cls, codec: int, data: bytes) -> Block:
        """Name bytes that we made ourselves."""
        return cls(CID.of(codec, data), data)


def inline(cid: CID) -> Block | None:
    """The block that an identity CID carries in itself: every store has it, none keeps it. None for other CIDs."""
    return Block.verify(cid, cid.digest) if cid.hash_code == IDENTITY else None
