"""One measured process: started, watched from outside (memory of the whole tree), ended at a cap."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
ENDED = "ended after"  # begins the problem of a run that took longer than its cap
_SAMPLE_S = 0.05
_GRACE_S = 1.0
_SHARE = 0.1  # of the time


@dataclass(frozen=True)
class Watched:
    """What came of it. `said`: its last line of JSON, or None; `problem`: why there is none, for a table."""

    said: dict[str, Any] | None
    problem: str
    seconds: float
    cpu_s: float  # of the process and everything below it, imports included
    peak_pss: int
    peak_anonymous: int  # the same without what is mapped: files, a cache in /dev/shm, tensors shared by workers


def watch(
    command: list[str], environment: Mapping[str, str], cap_s: float, folder: Path, *, memory: bool = False
) -> Watched:
    """Run `command` in `folder`; all that it started is ended with it. `memory`: watch that too, which slows it."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, env=dict(environment), cwd=folder,
            start_new_session=True,
        )  # fmt: skip
        peak = _Peak(process.pid, watching=memory)
        timer = threading.Timer(cap_s, lambda: _end(process.pid))
        timer.start()
        try:
            _, status, used = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - started
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:  # also when we are told to end
            timer.cancel()
            _end_rest(process.pid)
            peak.stop()
        out.seek(0)
        errors.seek(0)
        said = _last_object(out.read())
        problem = ""
        if said is None or process.returncode:
            problem = f"{ENDED} {cap_s:.0f} s" if seconds >= cap_s else _last_line(errors.read(), process.returncode)
    return Watched(said, problem, seconds, used.ru_utime + used.ru_stime, peak.bytes, peak.anonymous)


def _end(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _end_rest(group: int) -> None:
    """Workers that outlived it; multiprocessing's tracker gets a second to unlink semaphores."""
    limit = time.monotonic() + _GRACE_S
    while time.monotonic() < limit:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    _end(group)


def _last_object(text: str) -> dict[str, Any] | None:
    for line in reversed(text.splitlines()):
        if line.startswith("{"):
            with suppress(json.JSONDecodeError):
                return dict(json.loads(line))
    return None


def _last_line(text: str, code: int) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[-1] if lines else f"exit code {code}")[:200]


class _Peak:
    """The greatest PSS of a process and all below it together.

    Reading PSS takes some 10 ms a process, which stands still meanwhile. So RSS, which costs nothing, is read every
    50 ms, and PSS when there is more of that than before, and every second, but for a tenth of the time at most.
    """

    def __init__(self, pid: int, *, watching: bool) -> None:
        self.bytes = self.anonymous = 0
        self._pid, self._stopped = pid, threading.Event()
        self._thread = threading.Thread(target=self._watch if watching else self._stopped.wait)
        self._thread.start()

    def stop(self) -> None:
        """No more."""
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        most, due, at_least = 0, 0.0, 0.0
        while not self._stopped.wait(_SAMPLE_S):
            started = time.perf_counter()
            resident = sum(_over(self._pid, _rss))
            if started < at_least or (resident <= 1.01 * most and started < due):
                continue
            most = max(most, resident)
            found = list(_over(self._pid, _pss))
            self.bytes = max(self.bytes, sum(whole for whole, _ in found))
            self.anonymous = max(self.anonymous, sum(anonymous for _, anonymous in found))
            now = time.perf_counter()
            due, at_least = now + 1.0, now + (now - started) / _SHARE


def _over(pid: int, measure: Callable[[int], T]) -> Iterator[T]:
    for one in _tree(pid):
        with suppress(OSError):
            yield measure(one)


def _rss(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _pss(pid: int) -> tuple[int, int]:
    """All of it, and what is anonymous."""
    found = {"Pss:": 0, "Pss_Anon:": 0}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, *rest = line.split()
        if name in found:
            found[name] = int(rest[0]) * 1024
    return found["Pss:"], found["Pss_Anon:"]


def _tree(pid: int) -> Iterator[int]:
    yield pid
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                for child in (thread / "children").read_text().split():
                    yield from _tree(int(child))
