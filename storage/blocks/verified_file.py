"""`VerifiedFile`: a file that is filled leaf by leaf, by several threads and processes, and knows what it holds.

The data lies at its place in a sparse file; beside it a *marks* file holds a header and one byte per leaf. A leaf
only ever goes from absent to verified, so sources, threads and processes commute. `write` is the only door, and it
hashes. A mark made by an earlier *lineage* (a run: a process and its workers) is not believed, unless the file was
sealed since the last boot and its stamp still matches: the leaf is hashed again on first use, and fetched again if
it is rotten.

After kill -9 nothing is lost but the leaves in flight: a mark is set after its bytes were written, and another
lineage hashes them anyway.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType

from ..dag.layout import FileLayout
from ..errors import DiskFullError, HashMismatchError, StoreError
from ..scatter import behind
from .byte_lock import LOCK_S, lock_byte, lock_in_time
from .stamp import Stamp

ABSENT, VERIFIED, UNPROVEN = 0, 1, 2
_HEADER = struct.Struct("<8sQQQQQQQ8s")  # magic, lineage, size, leaf size, stamp (size, mtime, ctime, inode), boot
_MAGIC = b"hf-mark1"
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW  # what a symlink leads to is not ours to write
_MAX_PIECES = 1024  # of memory that one call of the system fills (IOV_MAX)
_LOCK_INIT = 0  # byte 0: held while the header is read or changed; leaf i is byte _HEADER.size + i


class VerifiedFile:
    """A file with marks. Open it in the process that uses it: locks and maps do not survive a fork."""

    def __init__(self, path: Path, marks: Path, layout: FileLayout) -> None:
        self.path, self.marks_path, self.layout = path, marks, layout
        self._fd = self._marks_fd = -1
        self._map: mmap.mmap | None = None
        self._marks: mmap.mmap | None = None
        self._opened = Stamp(0, 0, 0, 0)

    def open(self, lineage: int, *, distrust: bool = False, lock_s: float = LOCK_S) -> VerifiedFile:
        """Open or create both files. `lineage` (64 bits) names the run; `distrust` hashes sealed files again too.

        Raises `StoreError` (unusable folder) or `DiskFullError`.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self.path, _FLAGS, 0o644)
            self._marks_fd = os.open(self.marks_path, _FLAGS, 0o600)  # who can open it can hold its locks
            lock_in_time(lambda: lock_byte(self._marks_fd, fcntl.F_WRLCK, _LOCK_INIT, wait=False), lock_s)
            try:
                self._open_marks(lineage, distrust=distrust)
            finally:
                lock_byte(self._marks_fd, fcntl.F_UNLCK, _LOCK_INIT, wait=True)
            if self.layout.size:
                self._map = mmap.mmap(self._fd, self.layout.size, prot=mmap.PROT_READ)
        except OSError as error:
            self.close()
            raise disk_error(error, self.path) from error
        return self

    def _open_marks(self, lineage: int, *, distrust: bool) -> None:
        layout, length = self.layout, _HEADER.size + self.layout.leaves
        fresh = os.fstat(self._marks_fd).st_size != length
        if fresh:
            os.ftruncate(self._marks_fd, 0)
            os.ftruncate(self._marks_fd, length)
        # a hole in a mapped file is a SIGBUS when the disk is full
        os.posix_fallocate(self._marks_fd, 0, length)
        resized = os.fstat(self._fd).st_size != layout.size
        if resized:
            os.ftruncate(self._fd, layout.size)
        self._opened = Stamp.of(self._fd)
        marks = self._marks = mmap.mmap(self._marks_fd, length)
        magic, owner, size, leaf_size, *stamp, booted = _HEADER.unpack_from(marks)
        fresh = fresh or (magic, size, leaf_size) != (_MAGIC, layout.size, layout.leaf_size)
        if fresh:
            marks[_HEADER.size :] = bytes(layout.leaves)
            stamp = [0, 0, 0, 0]
        else:
            sealed = stamp == _fields(self._opened) and booted == boot()
            known = owner == lineage and not resized and not any(stamp)  # ours, and still being filled
            if (distrust and owner != lineage) or not (sealed or known):
                self._doubt(marks)
                stamp = [0, 0, 0, 0]
        _HEADER.pack_into(marks, 0, _MAGIC, lineage, layout.size, layout.leaf_size, *stamp, boot())

    @staticmethod
    def _doubt(marks: mmap.mmap) -> None:
        marks[_HEADER.size :] = marks[_HEADER.size :].replace(b"\1", b"\2")

    def recheck(self) -> None:
        """Doubt a sealed file whose stamp has moved since: its leaves are hashed again on next use."""
        marks = self._state()
        head = list(_HEADER.unpack_from(marks))
        if any(head[4:8]) and head[4:8] != _fields(Stamp.of(self._fd)):
            self._doubt(marks)
            head[4:8] = [0, 0, 0, 0]
            self._opened = Stamp.of(self._fd)
            _HEADER.pack_into(marks, 0, *head)

    def close(self) -> None:
        """Release files, maps and locks. Idempotent."""
        for view in (self._map, self._marks):
            if view is not None:
                with suppress(BufferError):  # a caller still holds a view of the data: freed with it
                    view.close()
        for fd in (self._fd, self._marks_fd):
            if fd >= 0:
                os.close(fd)
        self._map = self._marks = None
        self._fd = self._marks_fd = -1

    def __enter__(self) -> VerifiedFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _state(self) -> mmap.mmap:
        if self._marks is None:
            raise RuntimeError(f"{self.path.name} is not open")
        return self._marks

    def has(self, leaf: int) -> bool:
        """Whether the leaf is here and believed; an unproven one is hashed now, and dropped if rotten."""
        marks, at = self._state(), _HEADER.size + leaf
        if marks[at] == VERIFIED:
            return True
        if marks[at] != UNPROVEN:
            return False
        start, end = self.layout.leaf_range(leaf)
        data = self._read(start, end)
        good = hashlib.sha256(data).digest() == self.layout.leaf_digest(leaf)
        marks[at] = VERIFIED if good else ABSENT
        if good and self.complete and Stamp.of(self._fd) == self._opened:
            self.seal()  # every leaf was hashed again since it was opened, and nobody wrote meanwhile
        return good

    def marked(self, leaf: int) -> bool:
        """Whether the leaf is said to be here, believed or not."""
        return self._state()[_HEADER.size + leaf] != ABSENT

    def missing(self, leaves: Iterable[int]) -> list[int]:
        """Those of `leaves` that are not here."""
        return [leaf for leaf in leaves if not self.has(leaf)]

    @property
    def complete(self) -> bool:
        """Whether every leaf is marked verified (none unproven)."""
        marks = self._state()
        return marks.find(b"\0", _HEADER.size) < 0 and marks.find(b"\2", _HEADER.size) < 0

    def write(self, leaf: int, data: bytes | memoryview) -> None:
        """Hash the leaf and, if it is right, put it at its place and mark it.

        Raises `HashMismatchError` before anything is written, `DiskFullError`, `StoreError`.
        """
        start, end = self.layout.leaf_range(leaf)
        if len(data) != end - start or hashlib.sha256(data).digest() != self.layout.leaf_digest(leaf):
            raise HashMismatchError(
                f"leaf {leaf} of {self.layout.cid.short()}: {len(data)} bytes that do not hash to "
                f"{self.layout.leaf_cid(leaf).short()}"
            )
        marks = self._state()
        if marks[_HEADER.size + leaf] == VERIFIED:
            return
        try:
            done = 0
            while done < len(data):
                done += os.pwrite(self._fd, data[done:], start + done)
        except OSError as error:
            raise disk_error(error, self.path) from error
        marks[_HEADER.size + leaf] = VERIFIED
        if self.complete:
            self.seal()

    def view(self, start: int, end: int) -> memoryview:
        """The bytes [start, end), without a copy. The caller made sure, by `has`, that their leaves are here."""
        if self._map is None:
            if self.layout.size:
                raise RuntimeError(f"{self.path.name} is not open")
            return memoryview(b"")
        return memoryview(self._map)[start:end]

    def copy(self, start: int, end: int) -> bytes:
        """As `view`, but copied, and no page of the map is touched. Raises `StoreError`."""
        data = self._read(start, end)
        if len(data) < end - start:
            raise self._shorter()
        return data

    def fill(self, start: int, *outs: memoryview) -> None:
        """As `copy`, from `start` on, into memory of the caller's: it need not be fetched from the host, or zeroed.

        `outs` are filled one after the other, by one call of the system as a rule.
        """
        left = sum(map(len, outs))
        if len(outs) > _MAX_PIECES:
            outs = (*behind(outs, 0),)  # pieces that are empty could be all that one call sees
        try:
            count = os.preadv(self._fd, outs[:_MAX_PIECES], start)
            while count and (left := left - count):
                start += count
                outs = (*behind(outs, count),)
                count = os.preadv(self._fd, outs[:_MAX_PIECES], start)
        except OSError as error:
            raise disk_error(error, self.path) from error
        if left:
            raise self._shorter()

    def _shorter(self) -> StoreError:
        return StoreError(f"{self.path} is shorter than it was", hint="somebody truncated it; delete it")

    def _read(self, start: int, end: int) -> bytes:
        """What the file has of [start, end). One `pread` gives 2 GiB at most."""
        parts, at = [], start
        try:
            while at < end and (part := os.pread(self._fd, end - at, at)):
                parts.append(part)
                at += len(part)
        except OSError as error:
            raise disk_error(error, self.path) from error
        return parts[0] if len(parts) == 1 else b"".join(parts)

    @property
    def identity(self) -> list[int]:
        """Which files these are: device and inode of data and marks. Equal ones share all that is written."""
        found = [os.fstat(fd) for fd in (self._fd, self._marks_fd)]
        return [number for stat in found for number in (stat.st_dev, stat.st_ino)]

    def let_go(self) -> None:
        """Forget the pages of the map that were touched: they stay in the page cache, and views stay good."""
        if self._map is not None:
            self._map.madvise(mmap.MADV_DONTNEED)

    def claim(self, leaf: int) -> bool:
        """Try to become the one process that fetches this leaf; the kernel frees claims of the dead."""
        return lock_byte(self._marks_fd, fcntl.F_WRLCK, _HEADER.size + leaf, wait=False)

    def release(self, leaf: int) -> None:
        """Give a claim back."""
        lock_byte(self._marks_fd, fcntl.F_UNLCK, _HEADER.size + leaf, wait=True)

    def seal(self) -> None:
        """Record the stamp of a complete file, so that a later lineage need not hash it again.

        Done by `write` with the last leaf. A seal is never renewed: what changed a sealed file was not us.
        """
        if not self.complete:
            raise RuntimeError(f"{self.path.name} is not complete")
        marks = self._state()
        head = list(_HEADER.unpack_from(marks))
        if not any(head[4:8]):
            head[4:] = [*_fields(Stamp.of(self._fd)), boot()]
            _HEADER.pack_into(marks, 0, *head)

    def sync(self) -> None:
        """Make the data durable."""
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise disk_error(error, self.path) from error


@dataclass(frozen=True, slots=True)
class Marked:
    """What a marks file says: bytes of the file, and of its leaves that are here."""

    size: int
    held_bytes: int


def marked(path: Path) -> Marked | None:
    """Read a marks file without opening what it speaks of; None for what is none. Raises `FileNotFoundError`."""
    data = path.read_bytes()
    if len(data) < _HEADER.size or not data.startswith(_MAGIC):
        return None
    _, _, size, leaf_size, *_ = _HEADER.unpack_from(data)
    marks = data[_HEADER.size :]
    held = (len(marks) - marks.count(ABSENT)) * leaf_size
    if marks and marks[-1] != ABSENT and size % max(leaf_size, 1):
        held -= leaf_size - size % leaf_size
    return Marked(size, held)


def disk_error(error: OSError, path: Path) -> StoreError:
    """Our disk's failure as one sentence."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(f"no space left for {path}", hint="free some space or choose another folder")
    if isinstance(error, TimeoutError):
        return StoreError(f"{path}: {error.strerror}", hint="stop it (`lslocks` names it), or choose another folder")
    return StoreError(f"{path} cannot be used: {error.strerror or error}", hint="check its permissions")


def _fields(stamp: Stamp) -> list[int]:
    return [stamp.size, stamp.mtime_ns, stamp.ctime_ns, stamp.inode]


@cache
def boot() -> bytes:
    """Eight bytes that differ from boot to boot; zeros where the system does not say."""
    try:
        return hashlib.sha256(Path("/proc/sys/kernel/random/boot_id").read_bytes()).digest()[:8]
    except OSError:
        return bytes(8)
