"""Work in a process of its own: `python -m benchmarks.child JOB ARGUMENTS…`; prints seconds and the peak of its PSS.

Seconds are those of the work: Python and the imports were there before.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

_SAMPLE_S = 0.2  # reading smaps takes milliseconds, and stops the process meanwhile


@dataclass(frozen=True)
class Done:
    """What a job took: seconds, CPU seconds (user and system), the peak of its PSS in bytes, and that before it."""

    seconds: float
    cpu_s: float
    peak_pss: int
    base_pss: int


def run(job: str, *arguments: str | Path) -> Done:
    """Run one job of this module."""
    command = [sys.executable, "-m", "benchmarks.child", job, *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Done(**json.loads(done.stdout.splitlines()[-1]))


def pss(pid: int | str = "self") -> int:
    """Proportional set size in bytes, of one process."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _publish(source: str, repo: str, *options: str) -> None:
    from holdfast.pipeline.publish import publish

    given = dict(option.split("=") for option in options)
    publish(source, name="bench", repo=repo, **given)  # type: ignore[arg-type]


def _first(uri: str, source: str, seq_len: str) -> None:
    from holdfast.loaders.dataset import StreamingDataset

    cache = f"/dev/shm/holdfast-bench-{os.getpid()}"
    atexit.register(shutil.rmtree, cache, ignore_errors=True)
    dataset = StreamingDataset(uri, sources=[source], seq_len=int(seq_len), cache=cache)
    next(iter(dataset))


def _warm(job: str) -> None:
    """Import what the job needs, which is not its work."""
    if job == "publish":
        import holdfast.pipeline.publish
    else:
        import holdfast.loaders.dataset  # noqa: F401


def main() -> None:
    """Run the job, watched by a thread."""
    job, *arguments = sys.argv[1:]
    _warm(job)
    base = pss()
    peak, stop = base, threading.Event()

    def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, pss())
            if stop.wait(_SAMPLE_S):
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    started, cpu = time.perf_counter(), time.process_time()
    {"publish": _publish, "first": _first}[job](*arguments)
    seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu
    stop.set()
    watcher.join()
    peak = max(peak, pss())
    print(json.dumps({"seconds": seconds, "cpu_s": cpu_s, "peak_pss": peak, "base_pss": base}))


if __name__ == "__main__":
    main()
