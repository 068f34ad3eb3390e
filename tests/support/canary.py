"""A loopback address that nobody may dial, and a resolver that says what an attacker wants."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any


class Canary:
    """A context manager. `connections`: how many were made."""

    def __enter__(self) -> Canary:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._accepted, self._ended = 0, False
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def _accept(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            connection.close()
            if self._ended:
                return
            self._accepted += 1

    @property
    def connections(self) -> int:
        """So far: whatever was connected before is in it, for the kernel keeps the order."""
        self._finish()
        return self._accepted

    def _finish(self) -> None:
        if not self._ended:
            self._ended = True
            socket.create_connection(("127.0.0.1", self.port)).close()
            self._thread.join()

    def __exit__(self, *_: object) -> None:
        self._finish()
        self._socket.close()


def lying_resolver(host: str, answers: Sequence[str]) -> tuple[Callable[..., Any], list[str]]:
    """A `getaddrinfo` that says one of `answers` after the other for `host`, then the last; and what it said."""
    said: list[str] = []
    real = socket.getaddrinfo

    def getaddrinfo(name: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        if name != host:
            return real(name, port, *arguments, **options)
        said.append(answers[min(len(said), len(answers) - 1)])
        family = socket.AF_INET6 if ":" in said[-1] else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (said[-1], port))]

    return getaddrinfo, said
