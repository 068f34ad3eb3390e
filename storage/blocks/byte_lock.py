"""Locks on single bytes of a file: between processes and threads, and freed by the kernel when their owner dies."""

from __future__ import annotations

import fcntl
import os
import struct


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
