"""The fetcher's process: it listens while it has clients, and a moment longer."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ...storage.blocks.stamp import is_still
from .place import Place, peer_uid
from .session import Session
from .shelf import Shelf
from .wire import Line

LOG = logging.getLogger("holdfast.fetcher")
_MAX_CLIENTS = 1024
_TICK_S = 0.2


class Fetcher:
    """Serves one cache folder, for `linger_s` longer than it has clients, because workers end with each epoch.

    `run` returns when it is not needed any more, or when `stop` is called. Where the folder was renamed or cleared, its
    name is a successor's: nobody new is let in, and those who are here are served until they go.
    """

    def __init__(self, folder: Path, linger_s: float) -> None:
        self._place, self._linger_s = Place(folder), linger_s
        self._shelf = Shelf(folder, int.from_bytes(os.urandom(8), "little") >> 1)
        self._lines: set[Line] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def run(self, on_ready: Callable[[], None]) -> bool:
        """Serve; `on_ready` is called once clients can connect. False: another fetcher has this folder."""
        fd = os.open(self._place.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            if not self._named(fd):  # cleared since it was opened
                return False
            try:
                self._let_in(fd, on_ready)
                while self._lines and not self._stop.is_set():
                    time.sleep(_TICK_S)  # no wait of the event: its lock would be taken twice by a signal handler
            finally:
                for line in list(self._lines):
                    line.close()
                self._shelf.close_all()
        finally:
            os.close(fd)
        return True

    def stop(self) -> None:
        """End; clients see that the line is dead. Safe in a signal handler."""
        self._stop.set()

    def _named(self, fd: int) -> bool:
        """Whether the lock that we hold is the one that others look for."""
        try:
            return is_still(fd, self._place.lock)
        except OSError:
            return False

    def _let_in(self, fd: int, on_ready: Callable[[], None]) -> None:
        listener = self._place.listen()
        try:
            on_ready()
            while self._accept(listener, fd):
                listener.close()
                listener = self._place.listen()
        finally:
            if self._named(fd):
                self._place.socket.unlink(missing_ok=True)  # while the lock is held: it is ours
            else:
                fcntl.flock(fd, fcntl.LOCK_UN)  # who knows the folder by its new name needs a fetcher there
            listener.close()

    def _accept(self, listener: socket.socket, fd: int) -> bool:
        """Whether to listen anew, for the socket was removed; else nobody is to come any more."""
        listener.settimeout(_TICK_S)
        idle_since, refused = time.monotonic(), False
        while not self._stop.is_set() and self._named(fd):
            if not self._place.socket.exists():
                return True
            self._shelf.sweep(self._linger_s)
            if self._lines:
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since > self._linger_s:
                return False
            try:
                sock, _ = listener.accept()
            except TimeoutError:
                continue
            except OSError as error:  # too many files are open, here or on the machine
                if not refused:
                    LOG.warning("nobody can connect now: %s", error)
                refused = True
                time.sleep(_TICK_S)  # who waits stays in the queue
                continue
            refused = False
            self._welcome(sock)
        return False

    def _welcome(self, sock: socket.socket) -> None:
        line = Line(sock)
        try:
            if peer_uid(sock) != os.geteuid() or len(self._lines) >= _MAX_CLIENTS:
                line.close()
                return
            with self._lock:
                self._lines.add(line)
            threading.Thread(target=self._serve, args=(line,), name="holdfast-client", daemon=True).start()
        except (OSError, RuntimeError) as error:  # RuntimeError: no thread can be started
            LOG.warning("a client was turned away: %s", error)
            with self._lock:
                self._lines.discard(line)
            line.close()

    def _serve(self, line: Line) -> None:
        try:
            Session(line, self._shelf).serve()
        finally:
            with self._lock:
                self._lines.discard(line)


def stop_on_signals(fetcher: Fetcher) -> None:
    """SIGTERM ends it; Ctrl-C is for the program that uses it, which ends it by hanging up."""
    signal.signal(signal.SIGTERM, lambda *_: fetcher.stop())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
