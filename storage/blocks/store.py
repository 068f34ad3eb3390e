"""The contract of a block store; `tests/contract/block_store.py` is its conformance suite.

A store holds verified blocks. `get` hashes what it returns, every time: a store whose disk rots answers with an
error, never with wrong bytes. `put` is the only door for single blocks, and it hashes. Methods may be called from
any thread. Nothing is retried in here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from ..cid import CID
from .block import Block


class BlockStore(Protocol):
    """Where verified blocks live. Keyed by multihash: the codec of the CID asked for does not matter.

    A block with an identity CID is in every store, and kept in none.
    """

    def get(self, cid: CID) -> Block:
        """The block, hashed now. Raises `BlockMissingError`, or `FileChangedError` if only a changed file has it."""

    def has(self, cid: CID) -> bool:
        """Whether the block was stored. Does not read it."""

    def put(self, cid: CID, data: bytes) -> Block:
        """Hash and keep. Raises `HashMismatchError` before anything is written. Idempotent."""

    def cids(self) -> Iterator[CID]:
        """Every block that is not a range of a file, as CIDv1 raw (the codec is not kept)."""
