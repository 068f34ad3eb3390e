"""Memory that is really there, for what is measured.

A virtual machine hands memory that was freed back to its host within two seconds (free page reporting), and the first
touch of each page then waits for the host: 2 GB written into the page cache took 2 to 7 s so, and 0.4 s otherwise,
which is more than fetching them takes, and it hits whoever comes next. To touch it all before a run is not enough: half
of it is gone again by the time that the imports are done. So a process holds as much as a run will use, and lets go of
it bit by bit, as fast as somebody takes it: what was freed last is what the kernel gives out first. Behind the run it
takes back what was freed, while that is still there.
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
from types import TracebackType

_PIECE = 8 << 20
_LOOK_S = 0.01
_MORE = 1.25  # than was taken at the last look: somebody has become faster
_READY_S = 300


class ReadyMemory:
    """Holds a quarter more than `size` bytes between runs, or half of what the machine has to spare.

    Use as a context manager.

    3 GB: 2 GB of files, and what a program takes.
    """

    def __init__(self, size: int = 3 << 30) -> None:
        self._size = size
        self._holder: subprocess.Popen[str] | None = None

    def __enter__(self) -> ReadyMemory:
        command = [sys.executable, "-m", "benchmarks.ready_memory", str(self._size)]
        self._holder = subprocess.Popen(
            command, cwd=Path(__file__).parent.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._holder
        try:
            with suppress(BrokenPipeError):
                self._holder.communicate(timeout=20)  # the end of its input ends it
        except subprocess.TimeoutExpired:
            self._holder.kill()
            self._holder.communicate()

    @contextmanager
    def lend(self) -> Iterator[None]:
        """For one run: it finds memory that is there, and nothing of earlier runs left to be written."""
        os.sync()
        self._say("hold")
        self._say("lend")
        try:
            yield
        finally:
            self._say("wait")

    def _say(self, word: str) -> None:
        """Raises `RuntimeError` when the holder has ended."""
        assert self._holder
        assert self._holder.stdin
        assert self._holder.stdout
        with suppress(BrokenPipeError):
            self._holder.stdin.write(f"{word}\n")
            self._holder.stdin.flush()
        if not select.select([self._holder.stdout], [], [], _READY_S)[0] or not self._holder.stdout.readline():
            raise RuntimeError(f"what holds memory for the runs has ended, or did not {word} in {_READY_S} s")


def _hold(size: int) -> None:
    """Obey: hold all, lend what is taken, wait."""
    with suppress(PermissionError):
        os.nice(-10)
    pieces: list[mmap.mmap] = []
    count = int(_MORE * size) // _PIECE
    word = sys.stdin.readline().strip()
    while word:
        while word == "hold" and len(pieces) < count and _meminfo("MemAvailable") > len(pieces) * _PIECE:
            pieces.append(_touched())
        free, taken = _meminfo("MemFree"), 0.0
        print("done", flush=True)
        while not select.select([sys.stdin], [], [], _LOOK_S if word == "lend" else None)[0]:
            now = _meminfo("MemFree")
            taken += _MORE * max(free - now, 0)  # what others free meanwhile is no reserve: it goes to the host as well
            while taken > 0 and pieces:
                pieces.pop().close()
                taken -= _PIECE
                now += _PIECE
            free = now
        word = sys.stdin.readline().strip()


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
