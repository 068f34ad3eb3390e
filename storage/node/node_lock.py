"""`NodeLock`: one peer for each repository. The kernel frees the lock of a process that dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from ..blocks.verified_file import disk_error
from ..errors import ConfigError


class NodeLock:
    """An advisory lock on `REPO/serve.lock`. Publishing and importing beside a running peer are fine."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "serve.lock"
        self._fd = -1

    def take(self) -> None:
        """Raises `ConfigError` when another peer has it."""
        try:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise ConfigError(
                f"another peer serves {self._path.parent} already", hint="stop it, or name another --repo"
            ) from None
        except OSError as error:
            self.release()
            raise disk_error(error, self._path) from error

    def release(self) -> None:
        """Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
