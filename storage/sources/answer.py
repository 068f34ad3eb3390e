"""`Answer`: the body of one HTTP answer, read by the shortest way into the caller's memory."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Callable

from ..errors import OversizeError, TruncatedError
from .transfer import Transfer

_BUFFER_BYTES = 8192  # of http.client's reader; a read of more than it holds leaves nothing in it


def _reader_of(sock: socket.socket | None) -> Callable[[memoryview], int] | None:
    """What reads from a socket into memory, by the shortest way."""
    if isinstance(sock, ssl.SSLSocket):
        read = sock.read
        return lambda view: read(len(view), view)  # type: ignore[return-value]  # with a buffer it counts
    return None if sock is None else sock.recv_into


class Answer:
    """The body of one answer, read into the caller's memory and never past what was promised."""

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
        self._response = response
        self._transfer = transfer
        self.left = length
        # Past http.client once its buffer is empty: TLS comes in records of 16 KiB, and each would climb through
        # four layers (2 GB over TLS: 9.0 s so, 5.7 s directly).
        self._past = _reader_of(sock)
        self._direct = False

    def readinto(self, view: memoryview) -> None:
        """Fill `view` exactly. Raises `TruncatedError` when the body ends before."""
        filled = 0
        while filled < len(view):
            count = self._fill(view[filled:]) if self._direct else self._read_some(view[filled:])
            if not count:
                self._transfer.check()
                raise TruncatedError(f"the answer ended {len(view) - filled} bytes early")
            filled += count

    def read(self, limit: int) -> bytes:
        """The whole body, at most `limit` bytes. Raises `OversizeError` beyond."""
        if self.length is not None and self.length > limit:
            raise OversizeError(f"the answer has {self.length} bytes, expected at most {limit}")
        out = bytearray()
        buffer = memoryview(bytearray(65536))
        while count := self._read_some(buffer):
            out += buffer[:count]
            if len(out) > limit:
                raise OversizeError(f"the answer is longer than {limit} bytes")
        self._transfer.check()
        if self.left:
            raise TruncatedError(f"the answer ended {self.left} bytes early")
        return bytes(out)

    def skip(self, count: int) -> None:
        """Read and drop."""
        buffer = memoryview(bytearray(min(count, 1 << 18)))
        while count > 0:
            part = buffer[: min(count, len(buffer))]
            self.readinto(part)
            count -= len(part)

    def _fill(self, view: memoryview) -> int:
        """As much of `view` as the answer has, past http.client: a loop that runs for every 16 KiB of TLS."""
        read, transfer, filled = self._past, self._transfer, 0
        assert read is not None
        assert self.left is not None
        wanted = min(len(view), self.left)
        try:
            while filled < wanted and (count := read(view[filled:wanted])):
                filled += count
                transfer.received += count
        finally:
            self.left -= filled
        return filled

    def _read_some(self, view: memoryview) -> int:
        if self.left is None:
            count = self._response.readinto(view[:65536])
        else:
            if not self.left or self._response.fp is None:
                return 0
            view = view[: self.left]
            count = self._response.fp.readinto1(view)
            self._direct = self._past is not None and len(view) > _BUFFER_BYTES  # a longer read leaves nothing in it
            self.left -= count
        if self._transfer.first_byte_at is None:
            self._transfer.first_byte_at = time.monotonic()
        self._transfer.received += count
        return count

    @property
    def drained(self) -> bool:
        """Whether the connection can carry another request."""
        return self.left == 0 and not self._response.will_close
