"""`Stamp`: how we notice, without reading it, that a file is no longer the one we hashed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

# Kernels before 6.13 stamp files with the time of the last tick (1 to 10 ms): a write within the same tick as the
# hashing would leave the stamp as it was. Such a stamp is not trusted (the "racy git" problem).
RACY_NS = 20_000_000


@dataclass(frozen=True, slots=True)
class Stamp:
    """Size in bytes, modification and change time in nanoseconds, inode."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, fd: int) -> Stamp:
        """The stamp of an open file."""
        stat = os.fstat(fd)
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)

    def settled(self, hashed_at_ns: int) -> bool:
        """Whether a change after `hashed_at_ns` (start of the hashing, wall clock) must have changed the stamp."""
        return max(self.mtime_ns, self.ctime_ns) < hashed_at_ns - RACY_NS


def is_still(fd: int, path: Path) -> bool:
    """Whether the open file is the one of that name: what was locked may have been unlinked before, and made anew."""
    try:
        here, there = os.fstat(fd), path.stat()
    except FileNotFoundError:
        return False
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
