"""`DecodedFiles`: what was made of verified shards, kept beside them: within the same budget, evicted the same way.

Nothing names such a file by its hash: it is believed while it is, by its stamp, what was written since the last boot,
and made again from the shard otherwise. `NAME.marks` beside it is its lease, and says what it was when complete:

| offset | size | value |
|---|---|---|
| 0 | 8 | `hf-deco1` |
| 8 | 8 | lineage: of the run that made it; one that hashes all again believes no other |
| 16 | 32 | size, mtime (ns), ctime (ns), inode |
| 48 | 8 | boot, as in the marks of a shard |

Byte 0 is locked (open file description lock) while one process looks at it or makes it; the others wait. Locks are
given back before their descriptors are closed: a worker that was forked meanwhile keeps the open file.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from weakref import WeakSet

from ..storage.blocks.byte_lock import lock_byte, lock_in_time
from ..storage.blocks.stamp import Stamp
from ..storage.blocks.verified_file import boot, disk_error
from ..storage.errors import QuotaError, StoreError
from .cache import Lease, ShardCache

_HEADER = struct.Struct("<8sQ4Q8s")
_MAGIC = b"hf-deco1"

_MAKE_S = 300.0  # somebody else's making of a file is waited for so long
_END_S = 2.0  # of a job that nobody wants any more
_ROOM = "decoded.lock"  # locked while room is handed out; mode 600, as marks are
_STEP_BYTES = 8 << 20  # room for a file that grows beyond what was expected: looking for it costs some ms

Make = Callable[[], Iterable[bytes | memoryview]]


class AbandonedError(Exception):
    """Nobody wants the file any more: raised by what makes it."""


class DecodedFile:
    """One of them, mapped into memory and leased until it is closed."""

    def __init__(self, path: Path, fd: int, lease: Lease) -> None:
        self._path, self._lease, self._stamp = path, lease, Stamp.of(fd)
        self.size, self.closed = self._stamp.size, False
        self._map = mmap.mmap(fd, self.size, prot=mmap.PROT_READ) if self.size else None

    def view(self, start: int, end: int) -> memoryview:
        """The bytes [start, end), without a copy. Raises `RuntimeError` when it is closed."""
        if self.closed:
            raise RuntimeError(f"{self._path.name} is closed")
        return memoryview(self._map)[start:end] if self._map is not None else memoryview(b"")

    def changed(self) -> bool:
        """Whether somebody changed or removed it since it was complete."""
        try:
            found = self._path.stat()
        except OSError:
            return True
        return Stamp(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino) != self._stamp

    def close(self) -> None:
        """Give the lease back. Idempotent."""
        self.closed = True
        self._lease.close()
        if self._map is not None:
            with suppress(BufferError):  # a caller still holds a view of the data: freed with it
                self._map.close()
        self._map = None

    def __del__(self) -> None:
        if hasattr(self, "_map"):
            self.close()


@dataclass(slots=True)
class _Slot:
    path: Path
    marks: int
    lease: Lease
    kept: bool = False


class DecodedFiles:
    """Of one process. Safe from any thread, but for `recheck`, which is called when no pass goes on."""

    def __init__(self, cache: ShardCache, lineage: int, *, distrust: bool) -> None:
        self._cache, self._lineage, self._distrust = cache, lineage, distrust
        self._open: WeakSet[DecodedFile] = WeakSet()
        self._lock = threading.Lock()

    @property
    def max_bytes(self) -> int:
        """What no file may be larger than: the budget of the cache."""
        return self._cache.max_bytes

    def get(self, name: str) -> DecodedFile | None:
        """The file, if it is there and complete."""
        if not (self._cache.decoded / f"{name}.marks").exists():
            return None
        try:
            with self._slot(name, 0.0) as slot:
                return self._found(slot)
        except TimeoutError:  # somebody makes it just now
            return None

    def make(self, name: str, size: int, make: Make, *, needed: bool = True) -> DecodedFile:
        """The file, made of what `make` yields if it is not there, or is not what it was. `size`: to make room for.

        One that is not `needed` is not made beyond the budget of the cache: `QuotaError`, before or while it is
        written. Raises `DiskFullError`, `StoreError`, and what `make` raises too; then nothing is kept.
        """
        try:
            with self._slot(name, _MAKE_S) as slot:
                return self._found(slot) or self._make(slot, size, make, needed=needed)
        except TimeoutError as error:
            raise disk_error(error, self._cache.decoded / name) from error

    def _make(self, slot: _Slot, size: int, make: Make, *, needed: bool) -> DecodedFile:
        try:
            self._write(slot, size, make, needed=needed)
        except OSError as error:
            slot.path.unlink(missing_ok=True)
            raise disk_error(error, slot.path) from error
        except BaseException:
            slot.path.unlink(missing_ok=True)
            raise
        made = self._found(slot)
        if made is None:
            raise StoreError(f"{slot.path} changes while it is written", hint="does another program write there?")
        return made

    @contextmanager
    def _slot(self, name: str, wait_s: float) -> Iterator[_Slot]:
        """A name, leased and locked. The lease stays with the file that was found, if one was.

        Raises `TimeoutError` when somebody else holds it for `wait_s`, `StoreError` for our disk.
        """
        path = self._cache.decoded / name
        marks_path = path.with_name(f"{name}.marks")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error(error, path) from error
        while True:
            lease = Lease(marks_path)
            lease.take()
            # an evictor may have unlinked the marks before they were leased: then these are other ones
            if lease.holds(marks_path):
                break
            lease.close()
        try:
            slot = _Slot(path, os.open(marks_path, os.O_RDWR | os.O_CLOEXEC), lease)
        except OSError as error:
            lease.close()
            raise disk_error(error, marks_path) from error
        try:
            lock_in_time(lambda: lock_byte(slot.marks, fcntl.F_WRLCK, 0, wait=False), wait_s)
            yield slot
        finally:
            lock_byte(slot.marks, fcntl.F_UNLCK, 0, wait=False)
            os.close(slot.marks)
            if not slot.kept:
                lease.close()

    def _files(self) -> list[DecodedFile]:
        with self._lock:
            return list(self._open)

    def _found(self, slot: _Slot) -> DecodedFile | None:
        head = os.pread(slot.marks, _HEADER.size, 0)
        if len(head) != _HEADER.size:
            return None
        magic, lineage, *stamp, booted = _HEADER.unpack(head)
        if magic != _MAGIC or booted != boot() or (self._distrust and lineage != self._lineage):
            return None
        try:
            fd = os.open(slot.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return None
        try:
            if Stamp.of(fd) != Stamp(*stamp):
                return None
            file = DecodedFile(slot.path, fd, slot.lease)
            slot.kept = True
        finally:
            os.close(fd)
        with self._lock:
            self._open.add(file)
        return file

    def _write(self, slot: _Slot, size: int, make: Make, *, needed: bool) -> None:
        os.ftruncate(slot.marks, 0)
        slot.path.unlink(missing_ok=True)  # what others have mapped of it stays theirs
        with slot.path.open("xb", buffering=0) as file:
            room, end = self._room(file.fileno(), 0, size, size, needed=needed), 0
            for part in make():
                left = memoryview(part).cast("B")
                if end + len(left) > room:
                    more = max(len(left), _STEP_BYTES)
                    room = self._room(file.fileno(), room, end + len(left), end + more, needed=needed)
                end += len(left)
                while len(left):
                    left = left[file.write(left) :]
            os.ftruncate(file.fileno(), end)
            stamp = Stamp.of(file.fileno())
        fields = (stamp.size, stamp.mtime_ns, stamp.ctime_ns, stamp.inode)
        os.pwrite(slot.marks, _HEADER.pack(_MAGIC, self._lineage, *fields, boot()), 0)

    def _room(self, fd: int, taken: int, least: int, most: int, *, needed: bool) -> int:
        """Make a file longer, `most` bytes if there is room, and at least `least`: what is evicted goes by lengths.

        One at a time of all who share the cache: else two would be given the same room.
        """
        limit = self._cache.max_bytes
        lock = os.open(self._cache.folder / _ROOM, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            lock_in_time(lambda: lock_byte(lock, fcntl.F_WRLCK, 0, wait=False))
            if needed or least <= limit:  # else all others would go for what cannot be
                self._cache.evict(most - taken)
            room = most if needed else min(most, limit - self._used() + taken)
            if room < least:
                raise QuotaError(
                    f"there is no room for {least} bytes in a cache of {limit}: the rest is in use",
                    hint="give a larger cache_bytes=",
                )
            os.ftruncate(fd, room)
            return room
        finally:
            lock_byte(lock, fcntl.F_UNLCK, 0, wait=False)
            os.close(lock)

    def _used(self) -> int:
        """Lengths of all files in the cache, as `ShardCache.evict` counts them."""
        used = 0
        for path in chain(self._cache.shards.glob("*"), self._cache.decoded.glob("*")):
            with suppress(FileNotFoundError):
                used += path.stat().st_size
        return used

    def drop(self, name: str, file: DecodedFile) -> None:
        """A file turned out to be rotten: nobody believes it from now on."""
        with suppress(TimeoutError), self._slot(name, 0.0) as slot:  # somebody looks: they find it rotten too
            if not file.changed():  # else somebody has made it anew
                os.ftruncate(slot.marks, 0)
        file.close()

    def recheck(self) -> None:
        """Before a pass: close those that somebody changed; who reads them opens them again."""
        for file in self._files():
            if file.changed():
                file.close()

    def close(self) -> None:
        """Give all leases back. Idempotent."""
        for file in self._files():
            file.close()


def finished(job: Future[DecodedFile] | None) -> DecodedFile | None:
    """What came of a job that nobody waits for: it is taken back, or else ends soon, for whoever made it says so."""
    if job is None or job.cancel():
        return None
    if wait([job], _END_S).not_done:  # it waits for another process
        job.add_done_callback(_close_result)
        return None
    return None if job.exception() is not None else job.result()


def _close_result(job: Future[DecodedFile]) -> None:
    if job.exception() is None:
        job.result().close()
