"""The contract of a reader: where the samples of one shard lie, and how they become values."""

from __future__ import annotations

from typing import Any, Literal, Protocol

Sample = dict[str, Any]
Members = Literal["bytes", "memoryview", "uint8"]  # what the members of a tar are given as


class Ranges(Protocol):
    """Bytes of a shard, or what it holds decompressed."""

    @property
    def whole(self) -> bool:
        """Whether nothing of it has to be asked for."""

    def prefetch(self, start: int, end: int, urgency: float) -> int:
        """Ask for the bytes [start, end) without waiting; how many bytes had to be asked for."""

    def read(self, start: int, end: int) -> memoryview:
        """The bytes [start, end). Waits."""

    def copy(self, start: int, end: int) -> bytes:
        """The same, copied. Waits."""

    def fill(self, start: int, *outs: memoryview) -> None:
        """As `copy`, from `start` on, into `outs`, one after the other. Waits."""

    def close(self) -> None:
        """Give it back. Idempotent."""


class Reader(Protocol):
    """One open shard. Samples are numbered from 0 in the shard; every byte it sees is verified.

    `prefetch` asks for what a sample needs without waiting, `sample` waits for it. Both may be called for any
    sample in any order. Errors in the data are `SampleError`.
    """

    @property
    def held_bytes(self) -> int:
        """What it keeps in the cache while it is open, at the most: nothing of it is evicted."""

    def close(self) -> None:
        """Let go of the shard. Idempotent; nothing else is called afterwards."""

    def prefetch(self, index: int, urgency: float) -> int:
        """Ask for the bytes of a sample; how many bytes had to be asked for."""

    def sample(self, index: int) -> Sample:
        """The sample with `__key__`, without `__index__`."""
