"""Locks on single bytes of a file: between processes and threads, and freed by the kernel when their owner dies."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Callable

from ..patience import try_until

LOCK_S = 20.0  # who holds a lock of the cache does so for a moment: longer is a stopped process, or a hostile one


def lock_byte(fd: int, kind: int, byte: int, *, wait: bool) -> bool:
    """Take (`F_WRLCK`) or give back (`F_UNLCK`) one byte; whether that was possible at once, or after waiting.

    It belongs to the open file description: another `open` of the same file is somebody else, also in this process.
    """
    request = struct.pack("hhqqi4x", kind, os.SEEK_SET, byte, 1, 0)
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK, request)
    except (BlockingIOError, PermissionError):
        return False
    return True


def lock_in_time(take: Callable[[], bool], limit_s: float = LOCK_S) -> None:
    """Try `take` until it says that it has the lock. Raises `TimeoutError`."""
    if not try_until(take, limit_s):
        raise TimeoutError(errno.ETIMEDOUT, f"another process has held its lock for {limit_s:g} s")
