"""`Found`: sources that nobody named: gateways that routers say to have a dataset. The last to be asked.

A roster's routers are asked only when no source of the user's own can serve: that takes a look-up, and tells the
router what is read. Each `Found` is a place for one gateway, so that each is measured, and blamed, by itself; which one
it is shows when it is first needed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from ..cid import CID
from ..errors import HoldfastError, MissingError
from ..names.router import Router
from .gateway import Gateway
from .http import Endpoint
from .netguard import NetGuard
from .source import FileRef, OnLeaf, Place
from .transfer import Transfer

MAX_FOUND = 4  # gateways, of all that routers name
_MAX_LOOKUPS = 64  # of one dataset: its root, and shards that the first ones lack
_AGAIN_S = 60.0  # how long an answer is believed
_POLL_S = 0.05


class Finder:
    """Asks all routers at once, and remembers which gateways they named. Safe from any thread.

    Addresses of others are dialled only where `guard` allows it, whatever the router says.
    """

    def __init__(
        self, routers: Sequence[Router], guard: NetGuard, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._routers, self._guard, self._clock = routers, guard, clock
        self._gateways: dict[str, Gateway] = {}  # by URL, in the order in which they were named
        self._asked: dict[CID, float] = {}
        self._lock = threading.Lock()

    def gateway(self, number: int, cids: Sequence[CID], transfer: Transfer) -> Gateway | None:
        """The gateway of this number, once the routers were asked for these blocks; None if there are not so many."""
        while not self._lock.acquire(timeout=_POLL_S):  # another thread asks
            transfer.check()
        try:
            for cid in cids:
                if number < len(self._gateways):
                    break
                self._look(cid.v1())
            found = list(self._gateways.values())
            return found[number] if number < len(found) else None
        finally:
            self._lock.release()

    def named(self, number: int) -> Gateway | None:
        """The gateway of this number, if it is known by now."""
        found = list(self._gateways.values())
        return found[number] if number < len(found) else None

    def _look(self, cid: CID) -> None:
        now = self._clock()
        if now - self._asked.get(cid, -_AGAIN_S) < _AGAIN_S or len(self._asked) >= _MAX_LOOKUPS:
            return
        self._asked[cid] = now
        with ThreadPoolExecutor(len(self._routers), thread_name_prefix="holdfast-route") as pool:
            answers = list(pool.map(lambda router: _urls(router, cid), self._routers))
        for url in (url for urls in answers for url in urls):
            if len(self._gateways) >= MAX_FOUND:
                return
            if url not in self._gateways:
                endpoint = Endpoint(url, guard=self._guard, redirect_guard=self._guard)
                self._gateways[url] = Gateway(url, endpoint)

    def close(self) -> None:
        """Drop idle connections."""
        for gateway in list(self._gateways.values()):
            gateway.close()


def _urls(router: Router, cid: CID) -> list[str]:
    try:
        return [url for record in router.providers(cid) for url in record.urls]
    except HoldfastError:  # a router that fails names nobody; the others do
        return []


class Found:
    """A `Source`: the gateway of a number, among those that were found."""

    max_rate: int | None = None
    trusted = False

    def __init__(self, finder: Finder, number: int) -> None:
        self.name = f"found by a router, {number + 1}"
        self._finder, self._number = finder, number

    @property
    def url(self) -> str:
        """See `Source.url`. Empty until it was needed."""
        gateway = self._finder.named(self._number)
        return "" if gateway is None else gateway.url

    def _gateway(self, cids: Sequence[CID], transfer: Transfer) -> Gateway:
        gateway = self._finder.gateway(self._number, cids, transfer)
        if gateway is None:
            raise MissingError("no router knows (another) gateway that has it")
        return gateway

    def fetch_block(self, cid: CID, root: CID, transfer: Transfer, place: Place | None = None) -> bytes:
        """See `Source.fetch_block`."""
        return self._gateway((root, cid), transfer).fetch_block(cid, root, transfer, place)

    def fetch_leaves(self, file: FileRef, first: int, last: int, transfer: Transfer, on_leaf: OnLeaf) -> None:
        """See `Source.fetch_leaves`."""
        gateway = self._gateway((file.root, file.layout.cid), transfer)
        gateway.fetch_leaves(file, first, last, transfer, on_leaf)

    def close(self) -> None:
        """See `Source.close`."""
        gateway = self._finder.named(self._number)
        if gateway is not None:
            gateway.close()
