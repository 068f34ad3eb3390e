"""Measuring: interleaved rounds, medians with their spread, and the floor that everything is compared with."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import statistics
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

_CHUNK = 1 << 20
_PACKAGES = ("holdfast", "torch", "pyarrow", "aiohttp", "numpy")


@dataclass
class Series:
    """One row: what was measured, how much work a run is (bytes, samples), and the seconds of each run."""

    section: str
    name: str
    bytes: int
    samples: int = 0
    floor: str = ""  # the row of the same section that its ratio refers to
    seconds: list[float] = field(default_factory=list)
    first_s: list[float] = field(default_factory=list)  # until the first batch

    @property
    def median_s(self) -> float:
        return statistics.median(self.seconds)

    @property
    def mb_s(self) -> float:
        return self.bytes / self.median_s / 1e6

    @property
    def samples_s(self) -> float:
        return self.samples / self.median_s


Run = Callable[[Series], None]


def interleave(rows: Iterable[tuple[Series, Run]], rounds: int, say: Callable[[str], None]) -> list[Series]:
    """Run every row once a round: what else the machine does then disturbs all of them alike.

    A run appends its seconds to the series itself, so that preparing and clearing up are not counted.
    """
    rows = list(rows)
    for number in range(rounds):
        for series, run in rows:
            run(series)
            say(f"round {number + 1} of {rounds}: {series.section}, {series.name}: {series.seconds[-1]:.2f} s")
    return [series for series, _ in rows]


def timed(series: Series, work: Callable[[], object]) -> None:
    """Append the seconds that `work` takes."""
    started = time.perf_counter()
    work()
    series.seconds.append(time.perf_counter() - started)


def hash_file(path: Path) -> str:
    """The floor: read one after the other, sha256 of each MiB, as verification of 1 MiB leaves does."""
    buffer = bytearray(_CHUNK)
    view = memoryview(buffer)
    digest = b""
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest = hashlib.sha256(view[:count]).digest()
    return digest.hex()


def hash_files(paths: Iterable[Path]) -> None:
    """The floor over several files, in one thread."""
    for path in paths:
        hash_file(path)


def hash_files_on_all_cores(paths: Iterable[Path]) -> None:
    """The floor over several files, a file to a thread, as many threads as cores."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(hash_file, paths))


def in_memory(needed_bytes: int) -> str | None:
    """The folder for inputs that are to come out of memory, whoever reads them: tmpfs with room, else the default.

    A page cache is not enough: systems that reclaim it early (DAMON) drop files within two seconds of their last use,
    and then the disk is measured, by the luck of who comes next.
    """
    folder = "/dev/shm"
    try:
        return folder if shutil.disk_usage(folder).free > 2 * needed_bytes else None
    except OSError:
        return None


def machine() -> dict[str, str | int | float]:
    """What the figures were measured on, and how busy it was just then (load average of the last minute)."""
    return {
        "cores": os.cpu_count() or 1,
        "load_1min": round(os.getloadavg()[0], 2),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{package: version(package) for package in _PACKAGES},
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()
