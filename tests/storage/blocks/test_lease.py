"""Leases: what is under way bounds what a gc may free, and the dead hold nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from holdfast.storage.blocks import lease as leases
from holdfast.storage.blocks.collect import collect
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.blocks.lease import MARGIN_NS, Clock, lease, oldest
from holdfast.storage.blocks.sweep_lock import SweepLock
from holdfast.storage.cid import CID, RAW
from holdfast.storage.errors import StoreError


def test_the_oldest_lease_bounds_what_may_go(tmp_path: Path) -> None:
    before = time.time_ns()
    with lease(tmp_path, "publish"):
        between = time.time_ns()
        with lease(tmp_path, "pin"):
            limit = oldest(tmp_path, Clock.now())
            assert before - MARGIN_NS <= limit <= between - MARGIN_NS
    now = Clock.now()
    assert oldest(tmp_path, now) == now.wall_ns - MARGIN_NS
    assert list((tmp_path / "leases").iterdir()) == []


def test_the_lease_of_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from holdfast.storage.blocks.lease import lease\n"
        "with lease(Path(sys.argv[1]), 'pin'):\n    print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    now = Clock.now()
    assert oldest(tmp_path, now) < now.wall_ns - MARGIN_NS
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    now = Clock.now()
    assert oldest(tmp_path, now) == now.wall_ns - MARGIN_NS
    assert list((tmp_path / "leases").iterdir()) == []


def test_a_lease_that_is_just_being_written_bounds_nothing(tmp_path: Path) -> None:
    with lease(tmp_path, "pin"):
        (path,) = (tmp_path / "leases").iterdir()
        os.truncate(path, 0)
        now = Clock.now()
        assert oldest(tmp_path, now) == now.wall_ns - MARGIN_NS


def test_a_clock_that_was_set_back_stops_a_gc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with lease(tmp_path, "publish"):
        real = time.time_ns
        monkeypatch.setattr(leases.time, "time_ns", lambda: real() - 3_600_000_000_000)
        with pytest.raises(StoreError, match="clock of this machine was set back while a publish was under way"):
            oldest(tmp_path, Clock.now())


def test_sharers_that_overlap_without_end_do_not_starve_a_sweeper(tmp_path: Path) -> None:
    lock, stop = SweepLock(tmp_path / "sweep.lock"), threading.Event()
    turns = [threading.Semaphore(0), threading.Semaphore(0)]

    def share(number: int) -> None:
        while not stop.is_set():
            with lock.shared(), lock.shared():  # a thread that has it may take it again
                turns[1 - number].release()
                turns[number].acquire(timeout=0.2)  # the other one comes in before we let go

    threads = [threading.Thread(target=share, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    swept = threading.Event()

    def sweep() -> None:
        with lock.exclusive():
            swept.set()

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    try:
        assert swept.wait(20), "the sweeper waited for ever"
    finally:
        stop.set()
        for thread in [*threads, sweeper]:
            thread.join()


def test_a_gc_stops_when_the_clock_was_set_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with DiskStore(tmp_path / "repo").open() as store, lease(store.folder, "publish"):
        block = store.put(CID.of(RAW, b"x"), b"x")
        real = time.time_ns
        monkeypatch.setattr(leases.time, "time_ns", lambda: real() - 3_600_000_000_000)
        with pytest.raises(StoreError, match="set back"):
            collect(store)
        assert store.has(block.cid)
