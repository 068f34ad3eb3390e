"""`Origin`: the repository, readable by others while they fetch from it: whoever publishes need run no peer."""

from __future__ import annotations

import asyncio
import secrets
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

from ...storage.blocks.disk import DiskStore
from ...storage.multiaddr import multiaddr_of
from ...storage.node.server import Node, NodeOptions

_START_S, _STOP_S = 30.0, 30.0


class Origin:
    """A context manager: a gateway on a free port, at each address by which one of `towards` (URLs) reaches us.

    It takes no pins and keeps no names, and may run beside a peer of the same repository. Raises `ConfigError` where
    an address cannot be listened at.
    """

    def __init__(self, store: DiskStore, towards: Sequence[str]) -> None:
        self._store = store
        self._hosts = {url: address_towards(url) for url in towards}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="holdfast-origin", daemon=True)
        self._nodes: dict[str, Node] = {}

    def __enter__(self) -> Origin:
        self._thread.start()
        try:
            for host in dict.fromkeys(self._hosts.values()):
                options = NodeOptions(host=host, token=secrets.token_bytes(32), reads_only=True)
                node = Node(self._store, options)
                asyncio.run_coroutine_threadsafe(node.start(), self._loop).result(_START_S)
                self._nodes[host] = node
        except BaseException:
            self.__exit__()
            raise
        return self

    def urls(self, towards: str) -> tuple[str, ...]:
        """What the provider at this URL is told: our URL, and the multiaddr that ends in our peer id."""
        node = self._nodes[self._hosts[towards]]
        return node.url, f"{multiaddr_of(node.url)}/p2p/{node.peer_id}"

    def __exit__(self, *_: object) -> None:
        for node in self._nodes.values():
            asyncio.run_coroutine_threadsafe(node.stop(), self._loop).result(_STOP_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STOP_S)
        self._loop.close()


@contextmanager
def origins_towards(
    store: DiskStore, urls: Sequence[str], given: tuple[str, ...]
) -> Iterator[Callable[[str], tuple[str, ...]]]:
    """What the provider at one of `urls` is told to fetch from: `given`, or a gateway that is run meanwhile."""
    if given or not urls:
        yield lambda _: given
        return
    with Origin(store, urls) as running:
        yield running.urls


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
