"""`SweepLock`: between looking at a thing's stamp and removing it, nobody comes to rely on it."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .verified_file import disk_error


class SweepLock:
    """Advisory locks on two files of a repository. Held for moments only, by threads and processes.

    Shared: who stamps what it relies on, or writes it; may be taken again by a thread that has it. Exclusive: a `gc`
    that removes a batch. Who wants it shared passes a gate, which an exclusive one that waits keeps shut: sharers that
    overlap without end would starve it.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._gate = path, path.with_suffix(".gate")
        self._mine = threading.local()

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Keep sweepers out. Raises `StoreError` when the lock files cannot be made."""
        depth = getattr(self._mine, "depth", 0)
        fd = -1 if depth else self._take(fcntl.LOCK_SH)
        self._mine.depth = depth + 1
        try:
            yield
        finally:
            self._mine.depth = depth
            if fd >= 0:
                os.close(fd)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep everybody out."""
        fd = self._take(fcntl.LOCK_EX)
        try:
            yield
        finally:
            os.close(fd)

    def _take(self, kind: int) -> int:
        gate = self._open(self._gate)
        try:
            fcntl.flock(gate, kind)
            fd = self._open(self._path)
            fcntl.flock(fd, kind)
            return fd
        finally:
            os.close(gate)

    def _open(self, path: Path) -> int:
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise disk_error(error, path) from error
