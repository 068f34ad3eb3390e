"""Memory and descriptors of a process and its children over time, and whether they are flat."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

MIB = 1 << 20
_WARM_UP = 0.2  # of the run: imports, first epochs, pools and caches that fill up
_BINS = 24  # readings swing with what is in flight; means of a bin are nearly independent of one another
# What a run may gain and still be called flat: what allocators and the page tables of a few more mapped files take.
# Ten minutes cannot tell a smaller leak from noise; a longer run divides the same allowance by more hours.
MAX_MEMORY_GAIN = 16 * MIB
MAX_DESCRIPTOR_GAIN = 6.0


@dataclass(frozen=True)
class Trend:
    """A straight line through the readings after the warm-up: slope an hour, its error, the gain over the run."""

    median: float
    slope_per_hour: float
    error_per_hour: float
    gain: float

    def is_flat(self, allowance: float) -> bool:
        """Whether it is not clearly rising: by more than `allowance`, and three errors from none."""
        return self.gain <= allowance or self.slope_per_hour <= 3 * self.error_per_hour


@dataclass
class Vitals:
    """Readings of one process tree: seconds, bytes of memory that is no mapped file, open descriptors."""

    name: str
    seconds: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)

    def read(self, pid: int, started: float) -> None:
        """One reading; none when the process is not there."""
        with suppress(OSError):
            pids = [pid, *_children(pid)]
            memory, descriptors = sum(map(_own, pids)), sum(map(_descriptors, pids))
            if memory:
                self.seconds.append(time.monotonic() - started)
                self.memory.append(memory)
                self.descriptors.append(descriptors)

    def trend(self, values: list[int]) -> Trend | None:
        """The line through `memory` or `descriptors`; None when there are too few readings."""
        from_s = self.seconds[-1] * _WARM_UP if self.seconds else 0.0
        kept = [(at, value) for at, value in zip(self.seconds, values, strict=True) if at >= from_s]
        if len(kept) < 2 * _BINS:
            return None
        bins = np.array_split(np.array(kept, dtype=np.float64), _BINS)
        at, value = (np.array([part[:, column].mean() for part in bins]) for column in (0, 1))
        hours = at / 3600
        slope, start = np.polyfit(hours, value, 1)
        rest = value - (slope * hours + start)
        error = float(np.sqrt((rest**2).sum() / (_BINS - 2) / ((hours - hours.mean()) ** 2).sum()))
        return Trend(float(np.median(value)), float(slope), error, float(slope * (hours[-1] - hours[0])))


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            for child in (task / "children").read_text().split():
                found += [int(child), *_children(int(child))]
    return found


def _own(pid: int) -> int:
    """Anonymous and shared memory, each page divided by those who have it: within a family it adds up to the truth.

    Mapped files are left out: libraries are shared with whoever else runs on the machine, and change with them.
    """
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:"))) * 1024


def _descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))
