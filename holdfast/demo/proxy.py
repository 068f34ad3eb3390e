"""`LyingProxy`: a TCP proxy before a peer that, once told to, flips a byte in every answer's body.

A correct peer cannot be made to send wrong bytes: it hashes them. So the lie happens on the way.
"""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import suppress
from urllib.parse import urlsplit

_BUFFER = 1 << 16


class LyingProxy:
    """Forwards `url`. `lie()` makes it flip one byte of every chunk of body that it passes on."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._lying = threading.Event()
        self._closing = threading.Event()
        self._listener = socket.socket()

    def start(self) -> str:
        """Listen on a free loopback port; returns the proxy's URL."""
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(64)
        self._listener.settimeout(0.1)
        threading.Thread(target=self._accept, name="lying-proxy", daemon=True).start()
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def lie(self) -> None:
        """From now on, answers are wrong."""
        self._lying.set()

    def stop(self) -> None:
        """End every connection."""
        self._closing.set()
        self._listener.close()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with (
            suppress(OSError),
            client,
            socket.create_connection(self._target, timeout=5) as server,
            selectors.DefaultSelector() as selector,
        ):
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            while not self._closing.is_set():
                for key, _ in selector.select(0.2):
                    source, sink = key.fileobj, key.data
                    assert isinstance(source, socket.socket)
                    data = source.recv(_BUFFER)
                    if not data:
                        return
                    sink.sendall(self._falsify(data) if source is server and self._lying.is_set() else data)

    @staticmethod
    def _falsify(data: bytes) -> bytes:
        """Flip the last byte of the chunk, unless the chunk is only a head."""
        if data.endswith(b"\r\n\r\n"):
            return data
        return data[:-1] + bytes([data[-1] ^ 0x20])
