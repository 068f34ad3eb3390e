"""`Fault` and `Checked`: what `check` found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: which file (of ours, or the user's), which block, where in it, and what."""

    file: str
    cid: str
    offset: int
    reason: str


@dataclass(slots=True)
class Checked:
    """What was read without a fault: blocks, files, bytes."""

    blocks: int = 0
    files: int = 0
    bytes: int = 0

    def add(self, other: Checked) -> None:
        """Count what another one counted."""
        self.blocks += other.blocks
        self.files += other.files
        self.bytes += other.bytes
