"""`Answer`: the body of one HTTP answer, read by the shortest way into the caller's memory."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Callable

from ..errors import OversizeError, TruncatedError
from .transfer import Transfer

_CHUNK_BYTES = 1 << 16

_ReadInto = Callable[[memoryview], int]


def _past(sock: socket.socket) -> _ReadInto:
    """What reads from a socket into memory, by the shortest way."""
    if isinstance(sock, ssl.SSLSocket):
        read = sock.read
        return lambda view: read(len(view), view)  # type: ignore[return-value]  # with a buffer it counts
    return sock.recv_into


class Answer:
    """The body of one answer, read into the caller's memory and never past what was promised.

    The first piece comes from http.client, and is all that it has read of the body by then: what follows is read from
    the socket itself, if that is given. TLS comes in records of 16 KiB, and each would climb through four layers (2 GB
    over TLS: 9.0 s so, 5.7 s directly).
    """

    def __init__(
        self,
        response: http.client.HTTPResponse,
        transfer: Transfer,
        length: int | None,
        sock: socket.socket | None = None,
    ) -> None:
        self.status = response.status
        self.headers = response.headers
        self.length = length  # body bytes promised; None: not said (chunked, or until the connection closes)
        self.left = length
        self._response = response
        self._transfer = transfer
        self._ahead = memoryview(b"")  # of the first piece: what nobody has asked for yet
        self._reusable = not response.will_close
        self._read: _ReadInto = self._read_first  # then `_read_ahead`, then `_read_on`
        self._read_on: _ReadInto
        if length is None:  # chunks are http.client's business
            self._read_on = lambda view: response.readinto(view[:_CHUNK_BYTES])  # it fills its view: one sees progress
        else:
            self._read_on = _past(sock) if sock is not None else response.fp.readinto1 if length else _nothing

    def readinto(self, view: memoryview) -> None:
        """Fill `view` exactly. Raises `TruncatedError` when the body ends before."""
        filled = self._fill(view)
        if filled < len(view):
            self._transfer.check()
            raise TruncatedError(f"the answer ended {len(view) - filled} bytes early")

    def read(self, limit: int) -> bytes:
        """The whole body, at most `limit` bytes. Raises `OversizeError` beyond."""
        if self.length is not None and self.length > limit:
            raise OversizeError(f"the answer has {self.length} bytes, expected at most {limit}")
        out = bytearray()
        buffer = memoryview(bytearray(min(_CHUNK_BYTES, limit + 1)))
        while count := self._fill(buffer[: limit + 1 - len(out)]):
            out += buffer[:count]
            if len(out) > limit:
                raise OversizeError(f"the answer is longer than {limit} bytes")
        self._transfer.check()
        if self.left:
            raise TruncatedError(f"the answer ended {self.left} bytes early")
        return bytes(out)

    def exactly(self, count: int) -> bytes:
        """The next bytes. Raises as `readinto` does."""
        data = bytearray(count)
        self.readinto(memoryview(data))
        return bytes(data)

    def skip(self, count: int) -> None:
        """Read and drop."""
        buffer = memoryview(bytearray(min(count, 1 << 18)))
        while count > 0:
            part = buffer[: min(count, len(buffer))]
            self.readinto(part)
            count -= len(part)

    def _fill(self, view: memoryview) -> int:
        """As much of `view` as the answer has: a loop that runs for every 16 KiB of TLS."""
        transfer, filled = self._transfer, 0
        wanted = len(view) if self.left is None else min(len(view), self.left)
        try:
            while filled < wanted and (count := self._read(view[filled:wanted])):
                filled += count
                transfer.received += count
        finally:
            if self.left is not None:
                self.left -= filled
        return filled

    def _read_first(self, view: memoryview) -> int:
        if self.length is None:
            count, self._read = self._read_on(view), self._read_on
        else:
            # Without a size, `read1` gives all that is buffered, or what one read brings: it leaves nothing in there,
            # however large the buffer is.
            data = self._response.fp.read1()
            self._ahead = memoryview(data)[: self.length]
            self._reusable = self._reusable and len(data) <= self.length
            self._read = self._read_ahead
            count = self._read_ahead(view)
        self._transfer.first_byte_at = time.monotonic()
        return count

    def _read_ahead(self, view: memoryview) -> int:
        count = min(len(view), len(self._ahead))
        view[:count] = self._ahead[:count]
        self._ahead = self._ahead[count:]
        if not self._ahead:
            self._read = self._read_on
        return count

    @property
    def drained(self) -> bool:
        """Whether the connection can carry another request."""
        return self.left == 0 and self._reusable


def _nothing(_: memoryview) -> int:
    return 0
