"""`Transfer`: one request in flight, seen from outside: how much has come, and how to end it."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from ..errors import PeerError


class Transfer:
    """Progress and cancellation of one request.

    The thread that reads owns the socket and closes it; another one may only call `cancel`, which wakes the
    reader by shutting the socket down (closing it could hit a reused descriptor).
    """

    def __init__(self) -> None:
        self.received = 0  # body bytes
        self.first_byte_at: float | None = None
        self._socket: socket.socket | None = None
        self._reason: PeerError | None = None
        self._lock = threading.Lock()

    def attach(self, sock: socket.socket | None) -> None:
        """Name the socket that carries the request now (None: none). Raises the reason if cancelled before."""
        with self._lock:
            self._socket = sock
        self.check()

    def detach(self) -> None:
        """Forget the socket, before its owner closes it or gives it to somebody else."""
        with self._lock:
            self._socket = None

    def cancel(self, reason: PeerError) -> None:
        """End the request; its reader raises `reason`. The first reason stays."""
        with self._lock:
            self._reason = self._reason or reason
            if self._socket is not None:
                with suppress(OSError):
                    # Not SSLSocket.shutdown: it drops the TLS state under the reader's feet.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def check(self) -> None:
        """Raise the reason of the cancellation, if there was one."""
        if self._reason is not None:
            raise self._reason

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._reason is not None
