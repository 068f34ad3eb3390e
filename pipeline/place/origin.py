"""`Origin`: a peer over the repository for as long as others fetch from it: whoever publishes need not run one."""

from __future__ import annotations

import asyncio
import secrets
import socket
import threading
from urllib.parse import urlsplit

from ...configs.errors import ConfigError
from ...storage.blocks.disk import DiskStore
from ...storage.multiaddr import multiaddr_of
from ...storage.node.server import Node, NodeOptions

_START_S, _STOP_S = 30.0, 30.0


class Origin:
    """A context manager: a peer on a free port that takes no pins, at the address by which `towards` reaches us.

    `urls` is what others are told: the URL, and the multiaddr that ends in the peer's id. If a peer serves this
    repository already, `urls` is empty: then its own address has to be named.
    """

    def __init__(self, store: DiskStore, towards: str) -> None:
        self._store, self._host = store, address_towards(towards)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="holdfast-origin", daemon=True)
        self._node: Node | None = None
        self.urls: tuple[str, ...] = ()

    def __enter__(self) -> Origin:
        self._thread.start()
        node = Node(self._store, NodeOptions(host=self._host, token=secrets.token_bytes(32)))
        try:
            asyncio.run_coroutine_threadsafe(node.start(), self._loop).result(_START_S)
        except ConfigError:  # a peer has this repository already
            return self
        except BaseException:
            self._end()
            raise
        self._node = node
        self.urls = (node.url, f"{multiaddr_of(node.url)}/p2p/{node.peer_id}")
        return self

    def __exit__(self, *_: object) -> None:
        if self._node is not None:
            asyncio.run_coroutine_threadsafe(self._node.stop(), self._loop).result(_STOP_S)
        self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STOP_S)
        self._loop.close()


def address_towards(url: str) -> str:
    """The address of this machine from which `url` would be reached; nothing is sent."""
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(address)
            return str(probe.getsockname()[0])
    except OSError:
        return "127.0.0.1"
