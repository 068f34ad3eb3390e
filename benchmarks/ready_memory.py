"""Memory that is really there, for what is measured: `with ready_memory(bytes):`.

A virtual machine hands memory that was freed back to its host within two seconds (free page reporting), and the first
touch of each page then waits for the host: 2 GB written into the page cache took 5.3 s so, and 0.4 s otherwise, which
is more than fetching them takes, and it hits whoever comes next. To touch it all before a run is not enough: half of
it is gone again by the time that the imports are done. So a process holds as much as a run will use, and lets go of it
bit by bit, as fast as somebody takes it: what was freed last is what the kernel gives out first.
"""

from __future__ import annotations

import mmap
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PIECE = 8 << 20
_LOOK_S = 0.005
_MORE = 1.25  # than was taken at the last look: somebody has become faster


@contextmanager
def ready_memory(size: int = 3 << 30) -> Iterator[None]:
    """Hold `size` bytes, or half of what the machine has to spare; writes all files to the disk first.

    3 GB: 2 GB of files, and what a program takes.
    """
    os.sync()
    command = [sys.executable, "-m", "benchmarks.ready_memory", str(size)]
    holder = subprocess.Popen(command, cwd=Path(__file__).parent.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdin
    assert holder.stdout
    try:
        if not holder.stdout.readline():
            raise RuntimeError(f"{' '.join(command)} ended before it was ready")
        yield
    finally:
        holder.stdin.close()  # its word to end
        holder.wait(timeout=20)
        holder.stdout.close()


def _hold(size: int) -> None:
    with suppress(PermissionError):
        os.nice(-10)
    pieces = [_touched() for _ in range(min(int(_MORE * size), _meminfo("MemAvailable") // 2) // _PIECE)]
    free, taken = _meminfo("MemFree"), 0.0
    print("ready", flush=True)
    while not select.select([sys.stdin], [], [], _LOOK_S)[0]:
        now = _meminfo("MemFree")
        taken += _MORE * max(free - now, 0)  # what others free meanwhile is no reserve: it goes to the host as well
        while taken > 0 and pieces:
            pieces.pop().close()
            taken -= _PIECE
        free = _meminfo("MemFree")


def _touched() -> mmap.mmap:
    piece = mmap.mmap(-1, _PIECE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    piece.madvise(mmap.MADV_HUGEPAGE)
    for at in range(0, _PIECE, mmap.PAGESIZE):
        piece[at] = 1
    return piece


def _meminfo(name: str) -> int:
    """A line of it, in bytes."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    raise ValueError(f"/proc/meminfo has no {name}")


if __name__ == "__main__":
    _hold(int(sys.argv[1]))
