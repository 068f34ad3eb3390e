"""A piece as a CARv1: its header names its first block, so that its bytes follow from its blocks alone.

Not the dataset's root: another version with the same shards has the same pieces, which are paid for already. Fewer
than 127 bytes, the CAR of a shard of 30 bytes, say, are padded with zeros: our reader skips them, go-car does if told.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..blocks.store import BlockStore
from ..cid import CID
from ..dag.car import encode_header, section_head
from ..errors import FormatError
from .manifest import MIN_PIECE_BYTES, PieceManifest


def header(first: CID) -> bytes:
    """What comes before the first section."""
    return encode_header([first])


def padding(size: int) -> bytes:
    """What comes behind the last section of a CAR of `size` bytes."""
    return bytes(max(0, MIN_PIECE_BYTES - size))


def piece_bytes(store: BlockStore, manifest: PieceManifest, number: int) -> Iterator[bytes]:
    """The payload of a piece, out of a repository that has the dataset. Each block is hashed when it is read.

    Raises `BlockMissingError`, `FileChangedError`, `StoreError`, and `FormatError` for a table that is not the piece's.
    """
    at = 0
    for cid, place in manifest.blocks.of_piece(number):
        head = section_head(cid, place.length)
        if at == 0:
            head = header(cid) + head
        data = store.get(cid).data
        if at + len(head) != place.offset or len(data) != place.length:
            raise FormatError(f"{cid} does not lie at byte {place.offset} of piece {number}")
        yield head
        yield data
        at += len(head) + len(data)
    yield padding(at)
