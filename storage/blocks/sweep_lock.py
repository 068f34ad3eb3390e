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
    """An advisory lock on one file of a repository. Held for moments only, by threads and processes.

    Shared: who stamps what it relies on, or writes it. Exclusive: a `gc` that removes a batch.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._holders = 0
        self._fd = -1
        self._lock = threading.Lock()

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Keep sweepers out. Raises `StoreError` when the lock file cannot be made."""
        with self._lock:  # one descriptor for all threads: the lock belongs to it
            if self._holders == 0:
                self._fd = self._open()
                fcntl.flock(self._fd, fcntl.LOCK_SH)
            self._holders += 1
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1
                if self._holders == 0:
                    os.close(self._fd)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep everybody out."""
        fd = self._open()
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _open(self) -> int:
        try:
            return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise disk_error(error, self._path) from error
