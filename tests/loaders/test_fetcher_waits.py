"""Waits for a fetcher and for its clients: as long as something goes on, and no longer."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from holdfast.loaders.fetcher.client import FetcherClient
from holdfast.loaders.fetcher.shared import SharedFetching
from holdfast.loaders.fetcher.wire import HungUpError, Line, NoFetcherError, SilentError
from holdfast.loaders.fetching import Fetching
from holdfast.loaders.supply import OwnSupply
from holdfast.storage.fetch.policy import FetchPolicy
from holdfast.storage.sources.source import FileRef
from support.fetcher_clients import (
    file_without_room,
    greeting,
    make_client,
    make_own,
    make_session,
    wait_for,
)
from support.fetchers import pretending, refuse, work
from support.mirror_server import MirrorServer

Serve = Callable[..., MirrorServer]


class _SlowEngine:
    """Of a `FetchEngine`, what a wait needs: done at the third look."""

    policy = FetchPolicy()
    looks = 0

    def open_file(self, ref: FileRef, sink: object) -> int:
        return 1

    def want(self, *_: object) -> None:
        pass

    def wait(self, handle: int, leaves: Sequence[int], *, timeout_s: float) -> bool:
        self.looks += 1
        return self.looks == 3


def test_a_wait_says_that_it_goes_on(texts: Any, serve: Serve, tmp_path: Path) -> None:
    ref, cached = file_without_room(texts, serve, tmp_path)
    beats: list[int] = []
    OwnSupply(ref, cached, _SlowEngine()).bring([0], lambda: beats.append(1))  # type: ignore[arg-type]
    assert len(beats) == 2


def test_who_says_that_it_goes_on_is_waited_for_and_who_says_nothing_is_not(tmp_path: Path) -> None:
    client = make_client(tmp_path, "http://127.0.0.1:1", silence_s=0.2)
    report = {"sources": [], "useful": 5, "hedged": 0}
    with pretending(tmp_path, work({"wait": True}, {"wait": True}, report), refuse):
        assert client.connect(start=False)
        assert client.report().useful_bytes == 5
        with pytest.raises(NoFetcherError):
            client.report()
    client.close()


@contextmanager
def _interrupted() -> Iterator[None]:
    """By a signal handler a hundred times a second; not for ever, for who fails here must end."""
    until = time.monotonic() + 5

    def handle(*_: object) -> None:
        if time.monotonic() > until:
            signal.setitimer(signal.ITIMER_REAL, 0)

    before = signal.signal(signal.SIGALRM, handle)
    old = signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *old)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("sends", [False, True])
def test_signal_handlers_do_not_prolong_a_wait(sends: bool) -> None:
    ours, theirs = socket.socketpair()
    line, began = Line(ours), time.monotonic()
    line.patience(0.3, 0.3)
    with _interrupted(), pytest.raises(SilentError):
        while True:
            if sends:
                line.send({}, bytes(1 << 20))
            else:
                line.receive()
    assert time.monotonic() - began < 4
    line.close()
    theirs.close()


def test_who_takes_a_little_now_and_then_is_waited_for(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    line, size = Line(ours), 2 << 20
    line.patience(1, 0.5)

    def take() -> None:
        taken = 0
        while taken < size:
            taken += len(theirs.recv(1 << 17))
            time.sleep(0.1)

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    began = time.monotonic()
    line.send({}, bytes(size))
    assert time.monotonic() - began > 0.5
    thread.join(20)
    line.close()
    theirs.close()


@contextmanager
def _waits(client: FetcherClient) -> Iterator[list[NoFetcherError]]:
    """A thread that waits for an answer that does not come; what it was told in the end."""
    told: list[NoFetcherError] = []

    def wait() -> None:
        try:
            client.report()
        except NoFetcherError as error:
            told.append(error)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    wait_for(lambda: not client._lock.acquire(blocking=False) or client._lock.release())
    time.sleep(0.1)
    yield told
    thread.join(20)
    assert not thread.is_alive()


def test_a_client_that_is_closed_waits_for_no_thread_that_waits(tmp_path: Path) -> None:
    client = make_client(tmp_path, "http://127.0.0.1:1", silence_s=10)
    with pretending(tmp_path, work()):
        assert client.connect(start=False)
        began = time.monotonic()
        with _waits(client) as told:
            client.close()
        assert time.monotonic() - began < 5
        assert len(told) == 1, "it woke, and came to no other fetcher"


def test_who_falls_back_waits_for_no_thread_that_waits(tmp_path: Path) -> None:
    client = make_client(tmp_path, "http://127.0.0.1:1", silence_s=10)
    fetching = SharedFetching(client, make_own("http://127.0.0.1:1"))
    with pretending(tmp_path, work()):
        assert client.connect(start=False)
        began = time.monotonic()
        with _waits(client) as told:
            own = fetching.fall_back(NoFetcherError("gone"))
        assert fetching.fall_back(NoFetcherError("gone")) is own is fetching.now
        assert time.monotonic() - began < 5
        assert told
    fetching.close()


def test_who_closes_does_not_wait_for_an_engine_that_is_being_made(tmp_path: Path) -> None:
    making, go, told = threading.Event(), threading.Event(), []
    made = make_own("http://127.0.0.1:1")()

    def make() -> Fetching:
        making.set()
        go.wait(20)
        return made

    fetching = SharedFetching(make_client(tmp_path, "http://127.0.0.1:1"), make)

    def fall_back() -> None:
        try:
            fetching.fall_back(NoFetcherError("gone"))
        except RuntimeError as error:
            told.append(error)

    thread = threading.Thread(target=fall_back, daemon=True)
    thread.start()
    assert making.wait(10)
    began = time.monotonic()
    fetching.close()
    assert time.monotonic() - began < 5
    go.set()
    thread.join(10)
    assert len(told) == 1
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith("holdfast-fetch")], "it was closed, for nobody has it"


def test_who_greets_nobody_is_hung_up_on(tmp_path: Path) -> None:
    line, _, _, thread = make_session(tmp_path, greet_s=0.05)
    thread.join(10)
    assert not thread.is_alive()
    line.close()


def test_who_reads_no_answer_is_hung_up_on(tmp_path: Path) -> None:
    line, _, shelf, thread = make_session(tmp_path, send_s=0.05)
    line.send(greeting())
    line.receive()
    line.patience(10, 10)
    with pytest.raises(HungUpError):
        while True:
            line.send({"op": "report"})
    thread.join(10)
    assert not thread.is_alive()
    line.close()
    shelf.close_all()
