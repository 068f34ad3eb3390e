"""The contract of a source; `tests/contract/source.py` is its conformance suite.

A source moves bytes and judges nothing: what it hands on is unverified, and the engine hashes it. One call is one
request (or a short series) and is never retried in here. A failure is a `PeerError` that says what the other side
did. Every wait ends: by the limits of the HTTP client, or because another thread cancels the `Transfer`. Methods
may be called from several threads at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ..cid import CID
from ..dag.layout import FileLayout
from .transfer import Transfer

OnLeaf = Callable[[int, memoryview], bool]


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file of a dataset: its root, its path below it (a mirror needs it), and where its leaves lie."""

    root: CID
    path: str
    layout: FileLayout


@dataclass(frozen=True, slots=True)
class Place:
    """Where the bytes of a raw block lie as well: `size` bytes (at least one) at `start` of the file at `path`."""

    path: str
    start: int
    size: int


class Source(Protocol):
    """Something bytes can be read from."""

    @property
    def name(self) -> str:
        """What messages and tables call it; unique within an engine."""

    @property
    def url(self) -> str:
        """As the user gave it."""

    @property
    def max_rate(self) -> int | None:
        """Bytes per second that we ask of it at most, or None."""

    @property
    def trusted(self) -> bool:
        """Whether the user named it. One that others named is the last to be asked."""

    def fetch_block(self, cid: CID, root: CID, transfer: Transfer, place: Place | None = None) -> bytes:
        """One block of at most 2 MiB, unverified. `root` is the dataset it belongs to.

        `place` is for sources that have files and no leaves.
        """

    def fetch_leaves(self, file: FileRef, first: int, last: int, transfer: Transfer, on_leaf: OnLeaf) -> None:
        """Leaves first … last-1, in order, each handed to `on_leaf` (a view that is used again afterwards).

        Ends early when `on_leaf` returns False. Raises what `on_leaf` raises.
        """

    def close(self) -> None:
        """Drop idle connections. The source can be used again."""
