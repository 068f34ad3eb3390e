"""`Resume`: where the import of a CAR file goes on after a kill, and how it notes how far it has come.

    REPO/files/KEY.part    the copy so far; KEY stands for the path of the file
    journal (catalogue)    a `Mark` for the path, written after what it says of the copy was synced
    REPO/import.lock       a byte for each path is locked: one process goes on, others make copies of their own

A mark counts only while the file is the one of which it was made, by its stamp, and while the copy has at least the
bytes it speaks of, whose heads have its digest and whose blocks have their CIDs: the copy is hashed again, for a disk
may give back other bytes than it was given. What lies behind them is cut off; a copy with a wrong byte is made anew. So
nothing in front of the mark is read from the file, or written, a second time. A finished copy is not even hashed again
while it has the stamp that the catalogue knows.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import astuple, dataclass
from pathlib import Path

from ..cid import CID
from ..errors import StoreError
from .byte_lock import lock_byte
from .car_spool import PART, Spool
from .disk import DiskStore
from .journal import Journal
from .stamp import Stamp
from .verified_file import disk_error

_BATCH_S = 2.0  # what a kill loses; a sync so rarely costs nothing that the last one would not


@dataclass(frozen=True, slots=True)
class Mark:
    """How far an import had come: bytes of the `source` that are used up, bytes of the copy and digest of its heads.

    `whole`: the source has no more sections.
    """

    source: tuple[int, ...]
    read: int
    spooled: int
    heads: str
    whole: bool

    @classmethod
    def parse(cls, text: str) -> Mark | None:
        """Read what `str` wrote; None for anything else."""
        try:
            source, read, spooled, heads, whole = json.loads(text)
            mark = cls(tuple(source), read, spooled, heads, whole)
            known = str(mark) == text and 0 < read <= mark.source[2] and spooled > 0 and len(bytes.fromhex(heads)) == 32
        except (ValueError, TypeError, IndexError, RecursionError):
            return None
        return mark if known else None

    def __str__(self) -> str:
        return json.dumps(astuple(self))


def source_of(fd: int) -> tuple[int, ...]:
    """What must be the same for a mark to count: device and stamp. Empty for what a mark cannot be made of.

    That is a pipe, and a file so young that it could change without its stamp showing it.
    """
    about, stamp = os.fstat(fd), Stamp.of(fd)
    if not stat.S_ISREG(about.st_mode) or not stamp.settled(time.time_ns()):
        return ()
    return (about.st_dev, stamp.inode, stamp.size, stamp.mtime_ns, stamp.ctime_ns)


class Resume:
    """One import. `source`: of `source_of`."""

    def __init__(self, store: DiskStore, path: Path, source: tuple[int, ...]) -> None:
        self._store, self._source = store, source
        self._key = hashlib.sha256(b"import\0" + os.fsencode(os.path.realpath(path))).digest()
        self._journal = Journal(store.catalog)
        self._mine = False
        self._spool: Spool | None = None
        self._noted_at = time.monotonic()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only one who goes on with this file; who comes second starts over, beside the first. Hold a lease.

        At the end no copy is left but the one that has got its name. After an interrupt it stays, as after a kill.
        """
        with holding(self._store, self._key, wait=False) if self._source else nullcontext(False) as mine:
            self._mine = mine
            try:
                yield
            except Exception:
                self._drop()
                if mine:
                    with suppress(StoreError):  # a full disk: without its copy the mark says nothing
                        self._journal.drop(self._key)
                raise
            except BaseException:
                if self._spool is not None and mine:
                    self._spool.close()
                else:
                    self._drop()
                raise
            self._drop()

    def _drop(self) -> None:
        if self._spool is not None:
            self._spool.drop()

    def spool(self, roots: Sequence[CID]) -> tuple[Spool, Mark | None]:
        """The copy to write on, and how far it has come; a new one, and None, where there is nothing to go on with."""
        if not self._mine:
            return self._fresh(self._store.new_file(PART), roots), None
        path = self._store.files_folder / f"{self._key.hex()[:20]}{PART}"
        mark = Mark.parse(self._journal.read(self._key) or "")
        if mark is not None and mark.source == self._source and (found := self._place(path, mark)) is not None:
            here, vouched = found
            spool = self._spool = Spool(here)
            if spool.go_on(roots, mark.spooled, mark.heads) and (vouched or spool.is_sound()):
                return spool, mark
            spool.close()
        if mark is not None:  # it must not speak of what is written from now on, and not synced
            self._journal.drop(self._key)
        return self._fresh(path, roots), None

    def _fresh(self, path: Path, roots: Sequence[CID]) -> Spool:
        spool = self._spool = Spool(path)
        with self._store.sweep.shared():
            spool.create(roots)
            os.utime(path)
        return spool

    def _place(self, path: Path, mark: Mark) -> tuple[Path, bool] | None:
        """Where the copy is, and whether the catalogue vouches for it. No gc takes it from now on.

        It is under its final name if the kill came after the end. Somebody else may be about to adopt that, and what
        we did to its times would make his stamp a wrong one: so for that name we wait, as in `_take`. The lock of the
        name comes before that of the sweep, here and there.
        """
        with self._store.sweep.shared():
            if path.exists() or not mark.whole:
                with suppress(FileNotFoundError):
                    os.utime(path)
                return path, False
        path = self._store.files_folder / car_name(mark.heads)
        with (
            holding(self._store, bytes.fromhex(mark.heads), wait=True),
            self._store.sweep.shared(),
            suppress(FileNotFoundError),
        ):
            row = self._store.catalog.row_at(path)
            if row is None:
                os.utime(path)
                return path, False
            if row.trusted(_stamp(path)) and self._store.catalog.keep_files([row.id]):
                return path, row.indexed
        return None  # gone, or no longer what it was

    def note_in_time(self, spool: Spool, read: int) -> None:
        """Note how far it has come, if that is worth a sync: between two sections, as often as it costs little."""
        if self._mine and time.monotonic() - self._noted_at > _BATCH_S:
            self._note(spool, read, whole=False)

    def note_end(self, spool: Spool, read: int) -> None:
        """There are no more sections: make the copy durable, and note that."""
        self._note(spool, read, whole=True)

    def _note(self, spool: Spool, read: int, *, whole: bool) -> None:
        spool.sync()
        if self._mine:
            self._journal.write(self._key, str(Mark(self._source, read, spool.size, spool.heads, whole)))
            self._noted_at = time.monotonic()


def car_name(heads: str) -> str:
    """What a copy is called whose `heads` have this digest."""
    return f"{heads}.car"


@contextmanager
def holding(store: DiskStore, key: bytes, *, wait: bool) -> Iterator[bool]:
    """Hold the lock that `key` (a digest) stands for; yields whether it is ours. Raises `StoreError`."""
    path = store.folder / "import.lock"
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise disk_error(error, path) from error
    try:
        yield lock_byte(fd, fcntl.F_WRLCK, int.from_bytes(key[:7], "big"), wait=wait)
    finally:
        os.close(fd)


def _stamp(path: Path) -> Stamp:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return Stamp.of(fd)
    finally:
        os.close(fd)
