"""Fetcher processes of cache folders, as tests look at them: by the lock that they hold."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path


def alive(cache: Path) -> bool:
    """Whether a fetcher holds the folder."""
    try:
        fd = os.open(cache / "fetcher.lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def processes(cache: Path) -> list[int]:
    """The ids of its processes, found by their command lines."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"holdfast.loaders.fetcher" in words and os.fsencode(cache.absolute()) in words:
                found.append(int(entry.name))
    return found


def wait_until_gone(cache: Path, timeout_s: float = 20.0) -> None:
    """Wait for the last fetcher of the folder to end by itself."""
    limit = time.monotonic() + timeout_s
    while alive(cache) or processes(cache):
        assert time.monotonic() < limit, f"still there: {processes(cache)}"
        time.sleep(0.02)
