"""`Crowd`: how many clients are here, and how many more may come."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from ..limits import KIB
from ..sources.netguard import Network
from .refused import RefusedError
from .tally import Tally

RETRY_AFTER_S = 2
_OWN_FILES = 512  # the store's open files, the database, sources that pins are read from


@dataclass(frozen=True, slots=True)
class CrowdLimits:
    """Bounds on what clients may take. A client is an address (see `clients`); loopback has no limits of its own.

    `max_requests` are answered at a time; more wait in line for up to `queue_s` seconds, then get 429. A client's
    own limits answer 429 at once. A connection must send a whole request head within `request_head_s` seconds of its
    first byte, and is closed after `idle_s` without one. A client that takes less than `min_rate_bytes_s` of an
    answer is cut off. `trusted_proxies`: networks whose X-Forwarded-For is believed; none by default.
    """

    max_requests: int = 512
    max_requests_per_client: int = 128
    max_connections: int = 8192
    max_connections_per_client: int = 512
    queue_s: float = 10.0
    request_head_s: float = 10.0
    idle_s: float = 75.0
    min_rate_bytes_s: float = 16.0 * KIB
    trusted_proxies: tuple[Network, ...] = ()


class BusyError(RefusedError):
    """Too many requests (429)."""

    def __init__(self, reason: str) -> None:
        super().__init__(429, reason)


class Crowd:
    """Counts of one peer. All methods in its event loop."""

    def __init__(self, limits: CrowdLimits, tally: Tally) -> None:
        self.limits, self.tally = limits, tally
        self.connections = self.requests = 0
        self._slots = asyncio.Semaphore(limits.max_requests)
        self._connections_of: Counter[str] = Counter()
        self._requests_of: Counter[str] = Counter()

    @property
    def clients(self) -> int:
        """How many addresses are remembered: those with a connection or a request."""
        return len(self._connections_of.keys() | self._requests_of.keys())

    def connect(self, client: str | None) -> bool:
        """Take a place for a connection; False when there is none. Give it back with `disconnect`."""
        if self.connections >= self.limits.max_connections:
            self.tally.refused["connections"] += 1
            return False
        if client is not None and self._connections_of[client] >= self.limits.max_connections_per_client:
            self.tally.refused["connections_per_client"] += 1
            return False
        self.connections += 1
        if client is not None:
            self._connections_of[client] += 1
        return True

    def disconnect(self, client: str | None) -> None:
        """Give back the place of a connection."""
        self.connections -= 1
        _less(self._connections_of, client)

    @asynccontextmanager
    async def request(self, client: str | None) -> AsyncIterator[None]:
        """Hold a slot while a request is answered. Raises `BusyError`."""
        if client is not None:
            if self._requests_of[client] >= self.limits.max_requests_per_client:
                self.tally.refused["requests_per_client"] += 1
                raise BusyError(f"more than {self.limits.max_requests_per_client} requests at a time: come back later")
            self._requests_of[client] += 1
        try:
            async with self._slot():
                yield
        finally:
            _less(self._requests_of, client)

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self.limits.queue_s):
                await self._slots.acquire()
        except TimeoutError:
            self.tally.refused["requests"] += 1
            raise BusyError("this peer answers as many requests as it can: come back later") from None
        self.requests += 1
        try:
            yield
        finally:
            self.requests -= 1
            self._slots.release()


def _less(counts: Counter[str], client: str | None) -> None:
    if client is not None:
        counts[client] -= 1
        if counts[client] <= 0:  # clients come and go: nothing is kept of those that went
            del counts[client]


def within_open_files(limits: CrowdLimits, open_files: int) -> CrowdLimits:
    """`limits` with so many connections that a process of `open_files` can have them, and read files as well.

    When descriptors run out, asyncio stops accepting for a second at a time, and files cannot be read.
    """
    room = max(open_files - _OWN_FILES - limits.max_requests, open_files // 2, 1)
    return limits if limits.max_connections <= room else replace(limits, max_connections=room)
