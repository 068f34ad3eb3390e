"""`Budget`: how many bytes a peer may keep for others (`--max-bytes`)."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from ...configs.sizes import format_size
from ..blocks.disk import DiskStore
from ..errors import QuotaError

_REFRESH_S = 1.0  # summing the catalogue for every small file would be quadratic


class Budget:
    """Counts the files that the repository owns, node blocks, and partial files: open ones whole, others as they lie.

    Safe from any thread.
    """

    def __init__(self, store: DiskStore, max_bytes: int | None) -> None:
        self._store, self.max_bytes = store, max_bytes
        self._reserved: dict[Path, int] = {}
        self._base = 0
        self._read_at = float("-inf")
        self._lock = threading.Lock()

    def reserve(self, partial: Path, size: int, what: str) -> None:
        """Make room for a file. Raises `QuotaError` when there is none."""
        with self._lock:
            if self.max_bytes is not None:
                self._check(size - _allocated(partial), size, what)
            self._reserved[partial] = size

    def release(self, partial: Path, *, kept: bool) -> None:
        """The file is finished (`kept`: the repository owns it now) or given up."""
        with self._lock:
            size = self._reserved.pop(partial, 0)
            if kept:
                self._base += size

    def add_node(self, size: int) -> None:
        """Count a node block before it is written. Raises `QuotaError`."""
        with self._lock:
            if self.max_bytes is not None:
                self._check(size, size, "a node")
            self._base += size

    def _check(self, more: int, size: int, what: str) -> None:
        if time.monotonic() - self._read_at > _REFRESH_S:
            self._base, self._read_at = self._measure(), time.monotonic()
        used = self._base + sum(self._reserved.values())
        if self.max_bytes is not None and used + more > self.max_bytes:
            raise QuotaError(
                f"{what} of {format_size(size)} does not fit: this peer keeps {format_size(used)} of at most "
                f"{format_size(self.max_bytes)}",
                hint="unpin something there, or raise its --max-bytes",
            )

    def _measure(self) -> int:
        folder = self._store.files_folder
        partial = sum(_allocated(path) for path in list(folder.glob("*.part")) if path not in self._reserved)
        return self._store.used_bytes() + partial + sum(self._store.nodes.sizes())


def _allocated(path: Path) -> int:
    try:
        return path.stat().st_blocks * 512
    except FileNotFoundError:
        return 0
