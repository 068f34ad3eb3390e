"""`Lease`: says to a `gc` in another process that somebody is putting things together here.

    REPO/leases/<random>    "<wall ns> <boot ns> <what>", locked for as long as its owner lives

What a writer stores, or finds here and relies on, is stamped with the time (a node by its mtime, a file by `used_ns`).
A `gc` frees only what carries a stamp from before the oldest lease, so that nothing is missing when the writer at
last points a pin or a name at it. The kernel frees the lock of a process that dies.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import StoreError
from .verified_file import disk_error

MARGIN_NS = 1_000_000_000  # the kernel stamps files with the time of its last tick, up to 10 ms ago
_HIDDEN_NS = 3600 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class Clock:
    """One moment: wall clock and time since boot, in nanoseconds."""

    wall_ns: int
    boot_ns: int

    @classmethod
    def now(cls) -> Clock:
        """The time it is."""
        return cls(time.time_ns(), time.clock_gettime_ns(time.CLOCK_BOOTTIME))

    def check(self, what: str) -> None:
        """Raise `StoreError` when the wall clock was set back since: stamps say nothing then."""
        now = Clock.now()
        if now.wall_ns - self.wall_ns < now.boot_ns - self.boot_ns - MARGIN_NS:
            raise StoreError(
                f"the clock of this machine was set back while {what} was under way", hint="run it again afterwards"
            )


@contextmanager
def lease(repo: Path, what: str) -> Iterator[None]:
    """Hold a lease on the repository `repo` for `what` ("publish", "pin", …). Raises `StoreError`."""
    folder = repo / "leases"
    path = folder / secrets.token_hex(8)
    hidden = path.with_name(f".{path.name}.tmp")
    fd = -1
    try:
        try:
            folder.mkdir(exist_ok=True)
            fd = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX)
            hidden.replace(path)  # seen only when it is locked
            now = Clock.now()  # taken when it can be seen: who does not see it is later than all of our stamps
            os.pwrite(fd, f"{now.wall_ns} {now.boot_ns} {what}".encode(), 0)
        except OSError as error:
            raise disk_error(error, path) from error
        yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
            hidden.unlink(missing_ok=True)
        if fd >= 0:
            os.close(fd)


def oldest(repo: Path, now: Clock) -> int:
    """The wall time (ns) before which a stamp means that nobody under way relies on the thing.

    `now` was taken before. Removes the leases of the dead. Raises `StoreError` when the clock was set back.
    """
    limit = now.wall_ns
    for path in sorted((repo / "leases").glob("[!.]*")):  # a hidden one is not locked yet, and bounds nothing
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise disk_error(error, path) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)  # of the dead
        except BlockingIOError:
            wall, _, rest = os.pread(fd, 4096, 0).decode(errors="replace").partition(" ")
            boot, _, what = rest.partition(" ")
            if wall.isdigit() and boot.isdigit():  # else it is being written: its owner's stamps are later than `now`
                Clock(int(wall), int(boot)).check(f"a {what}")
                limit = min(limit, int(wall))
        finally:
            os.close(fd)
    for path in (repo / "leases").glob(".*.tmp"):  # of who was killed before its lease could be seen
        with suppress(FileNotFoundError):
            if path.stat().st_mtime_ns < limit - _HIDDEN_NS:
                path.unlink()
    return limit - MARGIN_NS
