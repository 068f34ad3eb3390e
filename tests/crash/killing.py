"""Run a piece of work in a process of its own, kill it at a random moment, look, run it again: until it ends.

The process is forked from one that has everything imported: a kill lands in the work and not in Python's start.
"""

from __future__ import annotations

import os
import random
import select
import shutil
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

Say = Callable[[str], None]


class Scenario(Protocol):
    """Work that may be killed. `prepare` fills an empty folder; `work` runs in the process that is killed."""

    name: str

    def prepare(self, place: Path) -> None:
        """An empty place as `work` expects it."""

    def work(self, place: Path) -> None:
        """Do it, or go on with it. Raises when it sees a wrong byte."""

    def after_kill(self, place: Path) -> None:
        """Raises `AssertionError` when something torn is to be seen."""

    def at_end(self, place: Path) -> None:
        """Raises `AssertionError` unless the result is that of an uninterrupted run."""

    def moved_bytes(self) -> int | None:
        """Bytes that came over the network so far, counted at the server; None: count what the process reads."""


@dataclass
class Tally:
    """What was seen of one scenario."""

    name: str
    kills: int = 0
    ends: int = 0
    wrong: list[str] = field(default_factory=list)
    needed_bytes: int = 0  # of one uninterrupted run
    moved_bytes: int = 0  # of all runs, over as many ends
    seconds: float = 0.0

    @property
    def repeated(self) -> float:
        """Bytes moved beyond those needed, as a part of these; per end, however often it was killed."""
        return self.moved_bytes / (self.needed_bytes * self.ends) - 1 if self.ends and self.needed_bytes else 0.0


@dataclass(frozen=True)
class Life:
    """How one process ended: killed, or by itself with a status; and what it read."""

    killed: bool
    status: int
    read_bytes: int
    seconds: float
    complaint: str


def live(scenario: Scenario, place: Path, kill_after_s: float | None) -> Life:
    """One process. Killed after so many seconds, unless it has ended by itself."""
    told, tell = os.pipe()
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(told)
            scenario.work(place)
            status = 0
        except BaseException:
            os.write(tell, traceback.format_exc().encode()[-4000:])
        finally:
            os._exit(status)
    os.close(tell)
    pidfd = os.pidfd_open(pid)
    try:
        ended, _, _ = select.select([pidfd], [], [], 120.0 if kill_after_s is None else kill_after_s)
        os.kill(pid, signal.SIGSTOP)  # a zombie takes signals too
        read = _read_bytes(pid)
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        complaint = b""
        while part := os.read(told, 4096):
            complaint += part
    finally:
        os.close(pidfd)
        os.close(told)
    killed = not ended
    return Life(
        killed, 0 if killed else os.waitstatus_to_exitcode(status), read, time.monotonic() - started, complaint.decode()
    )


def run(scenario: Scenario, place: Path, kills: int, numbers: random.Random, say: Say = lambda _: None) -> Tally:
    """Kill it `kills` times in all, starting over in a new folder whenever it has reached its end."""
    tally = Tally(scenario.name)
    started = time.monotonic()
    scenario.prepare(place / "whole")
    before = scenario.moved_bytes()
    whole = live(scenario, place / "whole", None)
    assert not whole.killed, f"{scenario.name} does not end"
    assert whole.status == 0, whole.complaint
    scenario.at_end(place / "whole")
    tally.needed_bytes = whole.read_bytes if before is None else (scenario.moved_bytes() or 0) - before
    number = 0
    while tally.kills < kills or number == 0:
        here = place / f"run{number}"
        number += 1
        scenario.prepare(here)
        before = scenario.moved_bytes()
        read = 0
        while True:
            life = live(scenario, here, numbers.uniform(0.0, 1.1 * whole.seconds) if tally.kills < kills else None)
            read += life.read_bytes
            if life.complaint or (not life.killed and life.status):
                tally.wrong.append(f"{here}: status {life.status}: {life.complaint}")
                break
            if not life.killed:
                break
            tally.kills += 1
            try:
                scenario.after_kill(here)
            except AssertionError as error:
                tally.wrong.append(f"{here}: after a kill: {error}")
                break
        else:
            continue
        if not tally.wrong:
            tally.ends += 1
            tally.moved_bytes += read if before is None else (scenario.moved_bytes() or 0) - before
            try:
                scenario.at_end(here)
            except AssertionError as error:
                tally.wrong.append(f"{here}: at the end: {error}")
        say(f"{scenario.name}: {tally.kills} kills, {tally.ends} ends, {len(tally.wrong)} wrong")
        if tally.wrong:
            break
        shutil.rmtree(here, ignore_errors=True)
    tally.seconds = time.monotonic() - started
    return tally


def _read_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/io").read_text().splitlines():
        if line.startswith("rchar:"):
            return int(line.split()[1])
    return 0
