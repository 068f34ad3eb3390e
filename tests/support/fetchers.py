"""Fetchers of cache folders: processes, as tests look at them; in a thread of the test; and false ones."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from holdfast.loaders.fetcher.place import Place
from holdfast.loaders.fetcher.service import Fetcher
from holdfast.loaders.fetcher.wire import HungUpError, Line, Words


def alive(cache: Path) -> bool:
    """Whether a fetcher holds the folder."""
    try:
        fd = os.open(cache / "fetcher.lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def processes(cache: Path) -> list[int]:
    """The ids of its processes, found by their command lines."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"holdfast.loaders.fetcher" in words and os.fsencode(cache.absolute()) in words:
                found.append(int(entry.name))
    return found


def wait_until_gone(cache: Path, timeout_s: float = 20.0) -> None:
    """Wait for the last fetcher of the folder to end by itself."""
    limit = time.monotonic() + timeout_s
    while alive(cache) or processes(cache):
        assert time.monotonic() < limit, f"still there: {processes(cache)}"
        time.sleep(0.02)


@contextmanager
def running(cache: Path, linger_s: float = 60.0) -> Iterator[Fetcher]:
    """A fetcher in a thread of this process, until the end or until it is stopped."""
    cache.mkdir(parents=True, exist_ok=True)
    fetcher, ready = Fetcher(cache, linger_s), threading.Event()
    thread = threading.Thread(target=fetcher.run, args=(ready.set,), daemon=True)
    thread.start()
    try:
        assert ready.wait(10)
        yield fetcher
    finally:
        fetcher.stop()
        thread.join(20)
        assert not thread.is_alive()


Talk = Callable[[Line], None]


@contextmanager
def pretending(cache: Path, *talks: Talk) -> Iterator[None]:
    """Whoever listens there does so many things with so many connections, one after the other; then nobody does."""
    cache.mkdir(parents=True, exist_ok=True)
    listener = Place(cache).listen()
    listener.settimeout(20)

    def serve() -> None:
        for talk in talks:
            sock, _ = listener.accept()
            line = Line(sock)
            line.patience(20, 20)
            try:
                talk(line)
            except HungUpError:
                pass
            line.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join(20)
        listener.close()
        assert not thread.is_alive(), "fewer came than were awaited"


def hang_up(line: Line) -> None:
    """As a fetcher that ends while somebody connects."""


def refuse(line: Line) -> None:
    """As a fetcher of another version."""
    line.receive()
    line.send({"refused": "another version"})


def work(*answers: Words) -> Talk:
    """As a fetcher that gives these answers to whatever it is asked, and then says nothing until the client goes."""

    def talk(line: Line) -> None:
        line.receive()
        line.send({"lineage": 7})
        line.receive()
        for words in answers:
            line.send(words)
        line.receive()

    return talk
