"""`Skipped`: what cannot be a sample, named and counted."""

from __future__ import annotations

import threading

MAX_NAMED = 1000


class Skipped:
    """Counts everything, keeps the first 1,000 with their reasons. Safe from any thread."""

    def __init__(self) -> None:
        self.count = 0
        self._named: list[tuple[str, str]] = []
        self._lock = threading.Lock()

    def add(self, name: str, reason: str) -> None:
        """Note one file, member or row. Names that are not UTF-8 are kept in a printable spelling."""
        with self._lock:
            self.count += 1
            if len(self._named) < MAX_NAMED:
                self._named.append((printable(name), reason))

    def take(self, other: Skipped) -> None:
        """Note what another one did, behind all of this."""
        with self._lock:
            self.count += other.count
            self._named += other.named()[: MAX_NAMED - len(self._named)]

    def named(self) -> tuple[tuple[str, str], ...]:
        """The first ones, in the order they were met."""
        return tuple(self._named)


def printable(name: str) -> str:
    """A name that can be written to any terminal and into JSON."""
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode()
