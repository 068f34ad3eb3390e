"""`ShardCache`: verified files on this machine, shared by workers, ranks and runs, within a byte budget.

    CACHE/
      shards/<cid>, <cid>.marks    data at its place, and which leaves of it are verified
      decoded/<name>, <name>.marks what was made of verified shards (see `decoded_files`)
      nodes/                       inner nodes, so that a second run starts without asking
      evidence/                    wrong answers
      decoded.lock, fetcher.*      who hands out room in decoded/; the process that fetches for all, if there is one

A file in use is leased: a shared lock on its marks, freed by the kernel when its holder dies. Only files without a
lease are evicted, least recently opened first.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from itertools import chain
from pathlib import Path

from ..storage.blocks.byte_lock import LOCK_S, lock_in_time
from ..storage.blocks.nodes import NodeStore
from ..storage.blocks.stamp import is_still
from ..storage.blocks.verified_file import VerifiedFile, disk_error
from ..storage.dag.layout import FileLayout


class ShardCache:
    """See the module. Construction does no IO."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder, self.max_bytes = folder, max_bytes
        self.shards, self.decoded = folder / "shards", folder / "decoded"
        self.nodes = NodeStore(folder / "nodes")
        self.evidence = folder / "evidence"

    def open(self, layout: FileLayout, lineage: int, *, distrust: bool = False) -> Lease:
        """A file of this layout, open and leased. Evicts others first when the budget asks for it."""
        try:
            self.shards.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error(error, self.shards) from error
        path = self.shards / str(layout.cid)
        marks = path.with_name(f"{path.name}.marks")
        if not path.exists():
            self.evict(layout.size)  # a file counts whole from the start: it is about to be filled
        while True:
            lease = Lease(marks)
            lease.take()
            file = VerifiedFile(path, marks, layout)
            try:
                file.open(lineage, distrust=distrust)
            except BaseException:
                lease.close()
                raise
            # an evictor may have unlinked the marks between the lease and the open: then these are other files
            if lease.holds(marks):
                lease.file = file
                return lease
            file.close()
            lease.close()

    def evict(self, needed: int) -> int:
        """Make room for `needed` bytes; returns the bytes freed. Files in use stay, even above the budget.

        Files count with their length, not with what is allocated: a sparse one in use goes on growing.
        """
        found: list[tuple[int, int, Path]] = []
        for path in chain(self.shards.glob("*.marks"), self.decoded.glob("*.marks")):
            data = path.with_suffix("")
            with suppress(FileNotFoundError):
                found.append((path.stat().st_mtime_ns, _length(data) + path.stat().st_size, path))
        used, freed = sum(size for _, size, _ in found), 0
        for _, size, marks in sorted(found):
            if used - freed + needed <= self.max_bytes:
                break
            if _unlink_unused(marks):
                freed += size
        return freed

    def used_bytes(self) -> int:
        """Bytes on disk of all files, marks included."""
        return sum(_allocated(path) for path in chain(self.shards.glob("*"), self.decoded.glob("*")))


class Lease:
    """A shared lock on a marks file, and the file that it protects."""

    def __init__(self, marks: Path) -> None:
        self._marks, self._pid = marks, os.getpid()
        self._fd = -1
        self.file: VerifiedFile

    def take(self, lock_s: float = LOCK_S) -> None:
        """Lock. Also the time of the last use: the least recently opened goes first. Raises `StoreError`."""
        try:
            # mode 600: who can open it can hold its locks
            self._fd = os.open(self._marks, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            lock_in_time(self._locked, lock_s)
            os.utime(self._fd)
        except OSError as error:
            self.close()
            raise disk_error(error, self._marks) from error

    def _locked(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:  # an evictor, for a moment
            return False
        return True

    def holds(self, marks: Path) -> bool:
        """Whether the locked file is still the one of that name."""
        return is_still(self._fd, marks)

    def close(self) -> None:
        """Close the file and give the lease back. Idempotent."""
        if hasattr(self, "file"):
            self.file.close()
        if self._fd >= 0:
            if self._pid == os.getpid():  # a worker that was forked meanwhile has the same open file, and would keep it
                fcntl.flock(self._fd, fcntl.LOCK_UN)
            os.close(self._fd)
            self._fd = -1


def _unlink_unused(marks: Path) -> bool:
    try:
        fd = os.open(marks, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:  # gone, or another user's
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not is_still(fd, marks):  # another one evicted it, and a reader made it anew: that one is leased
            return False
        marks.with_suffix("").unlink(missing_ok=True)
        marks.unlink(missing_ok=True)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # whoever was to make it could not
        return 0


def _allocated(path: Path) -> int:
    try:
        return path.stat().st_blocks * 512
    except FileNotFoundError:
        return 0
