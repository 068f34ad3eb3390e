"""`Line`: one connection: reads request heads, and sends pieces at the rate of the whole server."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from contextlib import suppress

from .body import Body, FileRange, Piece, Zeros
from .origin import Request

_MAX_HEAD = 65536
_ZEROS = bytes(1 << 18)
_SLICE_S = 0.02  # how much of the rate is taken at once


class Pace:
    """A rate over all connections together: whoever sends, waits until the line is free again."""

    def __init__(self, rate_bytes_s: float | None) -> None:
        self.rate = rate_bytes_s
        self._free_at = 0.0

    @property
    def slice_bytes(self) -> int:
        """The most that should be sent at once; 0: no limit."""
        return max(int(self.rate * _SLICE_S), 1) if self.rate else 0

    async def take(self, count: int) -> None:
        """Wait until `count` bytes may go."""
        if self.rate:
            now = time.monotonic()
            self._free_at = max(self._free_at, now - _SLICE_S) + count / self.rate
            await asyncio.sleep(max(self._free_at - now, 0))


class Line:
    """See the module. `sent` counts body bytes."""

    def __init__(self, sock: socket.socket, pace: Pace) -> None:
        self._sock, self._pace = sock, pace
        self._loop = asyncio.get_running_loop()
        self._rest = b""
        self.sent = 0

    async def request(self) -> Request | None:
        """The next request; None when the client is gone, or sends what is none."""
        data = self._rest
        while b"\r\n\r\n" not in data:
            more = await self._loop.sock_recv(self._sock, 65536)
            if not more or len(data) > _MAX_HEAD:
                return None
            data += more
        head, _, self._rest = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        words = first.split(" ")
        if len(words) != 3:
            return None
        pairs = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
            return None  # nobody posts to it
        alive = words[2] == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
        return Request(words[0], words[1], headers, alive)

    async def head(self, data: bytes) -> None:
        """Send what is no body."""
        await self._loop.sock_sendall(self._sock, data)

    async def body(self, body: Body) -> None:
        """Send pieces; files by sendfile."""
        for piece in body:
            await self._piece(piece)

    async def _piece(self, piece: Piece) -> None:
        step = self._pace.slice_bytes
        if isinstance(piece, FileRange):
            with piece.path.open("rb") as file:
                at, left = piece.start, piece.length
                while left:
                    count = min(step or left, left)
                    await self._pace.take(count)
                    done = await self._loop.sock_sendfile(self._sock, file, at, count)
                    self.sent += done
                    at, left = at + count, left - count
            return
        length = piece.length if isinstance(piece, Zeros) else len(piece)
        step = min(step or len(_ZEROS), len(_ZEROS))
        for start in range(0, length, step):
            count = min(step, length - start)
            await self._pace.take(count)
            view = memoryview(_ZEROS)[:count] if isinstance(piece, Zeros) else memoryview(piece)[start : start + count]
            await self._loop.sock_sendall(self._sock, view)
            self.sent += count

    async def gone(self) -> None:
        """Wait until the client closes; what it still sends is dropped."""
        while await self._loop.sock_recv(self._sock, 65536):
            pass

    def reset(self) -> None:
        """Let closing send RST."""
        with suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
