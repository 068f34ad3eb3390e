"""`Pages`: how much of the cache's maps counts as this process's memory. Bounded, whatever an epoch touches.

Pages of a map that were touched count for whoever touched them (PSS), though they are the page cache's: an epoch over
50 GB would look like 50 GB. Every 256 MiB they are let go; who looks again finds them in the page cache.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

MAX_TOUCHED_BYTES = 256 << 20
REGION = 1 << 21  # one look maps 64 KiB around it, or the large folio that holds it: 2 MiB, measured on ext4 and tmpfs


class Mapped(Protocol):
    """A file with a map."""

    def let_go(self) -> None:
        """Forget the pages that were touched."""


class Pages:
    """Of one process; `files` are those that are open. Not safe between threads: a page more or less is no matter."""

    def __init__(self, files: Iterable[Mapped], max_bytes: int = MAX_TOUCHED_BYTES) -> None:
        self._files, self._max_bytes, self._bytes = files, max_bytes, 0

    def touched(self) -> None:
        """A region of some file is about to be looked at, for the first time since it let go."""
        self._bytes += REGION
        if self._bytes > self._max_bytes:
            self._bytes = 0
            for file in list(self._files):
                file.let_go()
