"""Hashing files into leaves: one sha256 pass, on all cores, in bounded memory.

This is the door for the user's own files: what it returns is what the store may refer to.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError, FileChangedError
from ..limits import MIB
from .stamp import Stamp

_CHUNK_BYTES = 4 * MIB  # of one task; a thread reads it into its own buffer, used again for the next


@dataclass(frozen=True, slots=True)
class HashedFile:
    """A file as it was when it was read: where, which stamp, and the sha2-256 digests of its leaves."""

    path: Path
    stamp: Stamp
    hashed_at_ns: int
    leaf_size: int
    digests: bytes


@dataclass(slots=True)
class _Open:
    path: Path
    fd: int
    stamp: Stamp
    started_ns: int


def hash_files(
    paths: Iterable[Path],
    leaf_size: int,
    *,
    workers: int | None = None,
    on_bytes: Callable[[int], None] | None = None,
) -> Iterator[HashedFile]:
    """Hash each file into leaves of `leaf_size` bytes; yields in the order given.

    Raises `ConfigError` for a file that cannot be read and `FileChangedError` for one that changes meanwhile.
    """
    buffers = threading.local()
    chunk = max(_CHUNK_BYTES // leaf_size, 1) * leaf_size
    count = workers or os.cpu_count() or 1
    window: deque[tuple[_Open, Future[bytes] | None, bool]] = deque()

    def work(fd: int, offset: int, length: int) -> bytes:
        buffer: memoryview | None = getattr(buffers, "view", None)
        if buffer is None:
            buffer = buffers.view = memoryview(bytearray(chunk))
        return _digests(fd, offset, buffer[:length], leaf_size)

    with ThreadPoolExecutor(count, thread_name_prefix="hash") as pool:
        parts: list[bytes] = []

        def take() -> HashedFile | None:
            file, future, last = window.popleft()
            if future is not None:
                parts.append(future.result())
                if on_bytes:
                    on_bytes(min(chunk, file.stamp.size - (len(parts) - 1) * chunk))
            if not last:
                return None
            digests = b"".join(parts) or hashlib.sha256(b"").digest()
            parts.clear()
            try:
                if Stamp.of(file.fd) != file.stamp:
                    raise FileChangedError(
                        f"{file.path} changed while it was being read",
                        hint="publish again when it is complete",
                    )
            finally:
                os.close(file.fd)
            return HashedFile(file.path, file.stamp, file.started_ns, leaf_size, digests)

        try:
            for path in paths:
                file = _open(path)
                offsets = range(0, file.stamp.size, chunk)
                if not offsets:
                    window.append((file, None, True))
                for offset in offsets:
                    length = min(chunk, file.stamp.size - offset)
                    window.append((file, pool.submit(work, file.fd, offset, length), offset == offsets[-1]))
                    while len(window) > 2 * count:
                        if done := take():
                            yield done
            while window:
                if done := take():
                    yield done
        finally:
            pool.shutdown(cancel_futures=True)
            for fd in {file.fd for file, _, _ in window}:
                os.close(fd)


def hash_file(path: Path, leaf_size: int, *, workers: int | None = None) -> HashedFile:
    """Hash one file; see `hash_files`."""
    return next(hash_files([path], leaf_size, workers=workers))


def _open(path: Path) -> _Open:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", hint="check its permissions") from error
    return _Open(path, fd, Stamp.of(fd), time.time_ns())


def _digests(fd: int, offset: int, view: memoryview, leaf_size: int) -> bytes:
    filled = 0
    while filled < len(view):
        count = os.preadv(fd, [view[filled:]], offset + filled)
        if count == 0:
            raise FileChangedError("a file became shorter while it was being read")
        filled += count
    sha256 = hashlib.sha256
    return b"".join(sha256(view[at : at + leaf_size]).digest() for at in range(0, len(view), leaf_size))
