"""What a publish reports: its progress, and its result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ..storage.cid import CID

Stage = Literal["scan", "pack", "hash", "finish"]


@dataclass(frozen=True, slots=True)
class PublishProgress:
    """How far a stage is, in bytes of the source; `total_bytes` is 0 while it is not known."""

    stage: Stage
    done_bytes: int
    total_bytes: int


OnProgress = Callable[[PublishProgress], None]


@dataclass(frozen=True, slots=True)
class PublishResult:
    """A published version. `new_bytes`: of its shards, those that the repository did not know before.

    `skipped` names what cannot be a sample and why, the first 1,000 of `skipped_count`. `warnings` are about
    what was published but will read badly. `unchanged`: the name pointed at this root already.
    """

    root: CID
    name: str
    samples: int
    shards: int
    bytes: int
    new_bytes: int
    seconds: float
    skipped: tuple[tuple[str, str], ...]
    skipped_count: int
    warnings: tuple[str, ...]
    unchanged: bool

    @property
    def uri(self) -> str:
        """What readers are given."""
        return f"ipfs://{self.root}"
