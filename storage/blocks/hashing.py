"""Hashing files into leaves: one sha256 pass, on all cores, in bounded memory.

This is the door for the user's own files: what it returns is what the store may refer to.
"""

from __future__ import annotations

import hashlib
import os
import stat
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

    def work(file: _Open, offset: int, length: int) -> bytes:
        buffer: memoryview | None = getattr(buffers, "view", None)
        if buffer is None:
            buffer = buffers.view = memoryview(bytearray(chunk))
        return _digests(file, offset, buffer[:length], leaf_size)

    with ThreadPoolExecutor(count, thread_name_prefix="hash") as pool:
        parts: list[bytes] = []

        def take() -> HashedFile | None:
            file, future, last = window[0]
            if future is not None:
                parts.append(future.result())
                if on_bytes:
                    on_bytes(min(chunk, file.stamp.size - (len(parts) - 1) * chunk))
            window.popleft()  # not before: a file that failed is closed below
            if not last:
                return None
            digests = b"".join(parts) or hashlib.sha256(b"").digest()
            parts.clear()
            try:
                if Stamp.of(file.fd) != file.stamp:
                    raise _changed(file.path)
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
                    window.append((file, pool.submit(work, file, offset, length), offset == offsets[-1]))
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
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe without a writer would wait
    except OSError as error:
        raise _unreadable(path, error) from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise ConfigError(f"{path} is not a regular file", hint="name a file")
    return _Open(path, fd, Stamp.of(fd), time.time_ns())


def _unreadable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"{path} cannot be read: {error.strerror}", hint="check its permissions")


def _changed(path: Path) -> FileChangedError:
    return FileChangedError(f"{path} changed while it was being read", hint="publish again when it is complete")


def _digests(file: _Open, offset: int, view: memoryview, leaf_size: int) -> bytes:
    filled = 0
    while filled < len(view):
        try:
            count = os.preadv(file.fd, [view[filled:]], offset + filled)
        except OSError as error:
            raise _unreadable(file.path, error) from error
        if count == 0:
            raise _changed(file.path)
        filled += count
    sha256 = hashlib.sha256
    return b"".join(sha256(view[at : at + leaf_size]).digest() for at in range(0, len(view), leaf_size))
