"""Threads of the engine are woken for what can be started, and for nothing else."""

import threading

import pytest

from holdfast.storage.cid import CID
from holdfast.storage.fetch.engine import FetchEngine
from holdfast.storage.fetch.policy import FetchPolicy
from holdfast.storage.sources.source import FileRef, OnLeaf, Place
from holdfast.storage.sources.transfer import Transfer
from support.trees import LEAF, file_dag

LEAVES = 200
DATA = b"".join(number.to_bytes(2, "big") * (LEAF // 2) for number in range(LEAVES))


class _Source:
    """Answers when it is told to."""

    name, url, trusted = "one", "http://one", True

    def __init__(self, max_rate: int | None = None) -> None:
        self.max_rate = max_rate
        self.begun, self.go = threading.Semaphore(0), threading.Event()

    def fetch_block(self, cid: CID, root: CID, transfer: Transfer, place: Place | None = None) -> bytes:
        raise NotImplementedError

    def fetch_leaves(self, file: FileRef, first: int, last: int, transfer: Transfer, on_leaf: OnLeaf) -> None:
        self.begun.release()
        assert self.go.wait(20)
        for leaf in range(first, last):
            transfer.received += LEAF
            on_leaf(leaf, memoryview(DATA)[leaf * LEAF : (leaf + 1) * LEAF])

    def close(self) -> None:
        pass


class _Sink:
    def __init__(self) -> None:
        self.seen: set[int] = set()

    def write(self, leaf: int, data: memoryview) -> None:
        self.seen.add(leaf)


def _wakings(engine: FetchEngine) -> list[int]:
    """One element each time that this thread wakes a worker."""
    seen, here, wake = [], threading.get_ident(), engine._work.notify

    def noted(count: int = 1) -> None:
        if threading.get_ident() == here:
            seen.append(count)
        wake(count)

    engine._work.notify = noted  # type: ignore[method-assign]
    return seen


def test_a_source_without_room_wakes_nobody() -> None:
    source, sink = _Source(), _Sink()
    layout = file_dag(DATA)[0]
    with FetchEngine([source], policy=FetchPolicy(stall_s=60)) as engine:
        handle = engine.open_file(FileRef(layout.cid, "f", layout), sink)
        engine.want(handle, range(0, 40, 2), 0.0)
        for _ in range(4):  # its window
            assert source.begun.acquire(timeout=10)
        woken = _wakings(engine)
        for leaf in range(40, LEAVES):
            engine.want(handle, [leaf], float(leaf))
        assert not woken
        source.go.set()
        assert engine.wait(handle, range(40, LEAVES), timeout_s=20)
    assert sink.seen >= set(range(40, LEAVES))


def test_one_call_fills_the_window_though_nothing_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each thread that found something to start wakes the next one."""
    monkeypatch.setattr("holdfast.storage.fetch.engine._TICK_S", 600.0)
    source, sink = _Source(), _Sink()
    layout = file_dag(DATA)[0]
    with FetchEngine([source]) as engine:
        handle = engine.open_file(FileRef(layout.cid, "f", layout), sink)
        engine.want(handle, range(0, LEAVES, 2), 0.0)
        for _ in range(4):
            assert source.begun.acquire(timeout=10)
        assert not source.begun.acquire(timeout=0.1)
        source.go.set()
        assert engine.wait(handle, range(0, LEAVES, 2), timeout_s=20)
