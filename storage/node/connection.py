"""`Connection`: one client's TCP connection, in front of aiohttp's protocol: a place, and deadlines while it is silent.

aiohttp has no deadline for the head of a request: a client that sends a byte a minute would keep its place for good.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from .clients import client_of
from .crowd import RETRY_AFTER_S, Crowd

_TURNED_AWAY = (
    "HTTP/1.1 429 Too Many Requests\r\n"
    f"Retry-After: {RETRY_AFTER_S}\r\n"
    "Cache-Control: no-store\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
).encode()
_LINGER_S = 1.0  # closing at once would reset the connection, and the answer might be lost
_MAX_LINGERING = 256


class Connection(asyncio.Protocol):
    """Hands all events to the protocol that `make` gives, made only once there is a place."""

    lingering = 0  # refused connections that are not closed yet, of all peers of this process

    def __init__(self, crowd: Crowd, make: Callable[[], asyncio.Protocol]) -> None:
        self._crowd, self._make = crowd, make
        self._inner: asyncio.Protocol | None = None
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._client: str | None = None
        self._busy = self._reading = False

    # -- from the peer

    def begin(self) -> None:
        """A request has come whole, and is being answered: other deadlines hold."""
        self._busy = True
        self._disarm()

    def end(self) -> None:
        """Its answer is out."""
        self._busy = self._reading = False
        self._arm(self._crowd.limits.idle_s)

    # -- from the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a place, or answer 429."""
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self._client = client_of(str(peer[0]) if peer else "", "", self._crowd.limits.trusted_proxies)
        if not self._crowd.connect(self._client):
            self._turn_away(self._transport)
            return
        self._inner = self._make()
        self._arm(self._crowd.limits.idle_s)
        self._inner.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        self._disarm()
        self._transport = None
        if self._inner is None:
            Connection.lingering -= 1
            return
        self._crowd.disconnect(self._client)
        self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """The first byte of a request starts the clock for its head."""
        if self._inner is None:
            return
        if not self._busy and not self._reading:
            self._reading = True
            self._arm(self._crowd.limits.request_head_s)
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """See `asyncio.Protocol`."""
        return self._inner.eof_received() if self._inner else None

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        if self._inner:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        if self._inner:
            self._inner.resume_writing()

    def _turn_away(self, transport: asyncio.Transport) -> None:
        Connection.lingering += 1
        if Connection.lingering > _MAX_LINGERING:
            transport.abort()
            return
        transport.write(_TURNED_AWAY)
        transport.write_eof()
        self._timer = asyncio.get_running_loop().call_later(_LINGER_S, transport.abort)

    def _arm(self, delay_s: float) -> None:
        self._disarm()
        if self._transport is not None:
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._too_late)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self) -> None:
        if self._transport is None:
            return
        self._crowd.tally.refused["slow_request" if self._reading else "idle"] += 1
        self._transport.abort()  # close() would wait for a client that does not take the end of its last answer
