"""`Node`: the embedded peer: a trustless gateway, a pinning service and metrics on one port, over one repository."""

from __future__ import annotations

import asyncio
import errno
import resource
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from aiohttp import web

from ..blocks.disk import DiskStore
from ..errors import ConfigError
from ..fetch.policy import FetchPolicy
from ..multiaddr import multiaddr_of
from ..names.known import KnownNames
from ..sources.netguard import NetGuard
from ..sources.source import Source
from .access import Access
from .connection import Connection
from .crowd import Crowd, CrowdLimits, within_open_files
from .doorkeeper import Doorkeeper
from .gateway import Gateway
from .identity import identity
from .metrics import Metrics
from .name_api import MAX_NAMES, NameApi
from .node_lock import NodeLock
from .pin_api import PinApi
from .pin_body import MAX_BODY_BYTES
from .pin_records import PinRecords
from .pinner import Pinner
from .reads import Reads
from .refusals import LOG, Refusals
from .routing_api import RoutingApi
from .sending import Sender
from .serving import Serving
from .tally import Tally

_ANYWHERE = ("0.0.0.0", "::", "")  # noqa: S104 - all of this machine's addresses
_BACKLOG = 1024  # several hundred clients connect at once
_FINISH_S = 1.0  # what requests under way get when the peer stops; aiohttp takes it twice
_STOP_PINS_S = 2.0


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """How a peer is run. `trusted` makes the sources of its own roster, anew for every pin.

    `reads_only`: a gateway and a router, without pins or names: such a one may run beside the peer of the repository.
    `announce`: URLs under which others reach it, if not the one that it listens at. `limits` bounds what clients may
    take; a peer never takes more connections than the process may have files.
    """

    host: str = "127.0.0.1"
    port: int = 0
    token: bytes | None = field(default=None, repr=False)
    max_bytes: int | None = None
    guard: NetGuard = field(default_factory=NetGuard)
    trusted: Callable[[], Sequence[Source]] = lambda: ()
    limits: CrowdLimits = field(default_factory=CrowdLimits)
    announce: tuple[str, ...] = ()
    reads_only: bool = False
    policy: FetchPolicy | None = None


class Node:
    """One peer. `start` and `stop` in one event loop; the store is the caller's to close, afterwards."""

    def __init__(self, store: DiskStore, options: NodeOptions | None = None) -> None:
        self.store, self.options = store, options or NodeOptions()
        self._lock = NodeLock(store.folder)
        self._reads: Reads | None = None
        self._pinner: Pinner | None = None
        self._runner: web.AppRunner | None = None
        self._listeners: list[asyncio.Server] = []
        self.port = 0
        self.peer_id = ""  # once started: as libp2p writes it

    @property
    def url(self) -> str:
        """Where it is reached from this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.options.host, self.options.host)  # noqa: S104
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def addresses(self) -> tuple[str, ...]:
        """The URLs by which others reach it, as far as they were told."""
        if self.options.announce:
            return self.options.announce
        return () if self.options.host in _ANYWHERE else (self.url,)  # which of this machine's addresses is not known

    async def start(self) -> None:
        """Listen, and go on with unfinished pins. Raises `ConfigError` (port in use, repository in use)."""
        if not self.options.reads_only:
            self._lock.take()
        try:
            self.peer_id = identity(self.store.folder).name.peer_id
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        options = self.options
        self._reads = Reads()
        listener = await _listen(options.host, options.port)
        self.port = listener.sockets[0].getsockname()[1]
        loopback = all(_is_loopback(sock.getsockname()[0]) for sock in listener.sockets)
        sockets = [sock.dup() for sock in listener.sockets]
        listener.close()
        access = Access(options.token, loopback)
        if not access.open and not options.reads_only:
            LOG.warning("the pinning API is closed: it needs --token-file when others than this machine can connect")
        if not self.addresses:
            LOG.warning(
                "others are not told how to reach this peer: it needs --announce URL where it listens everywhere"
            )
        crowd = Crowd(within_open_files(options.limits, _open_files()), Tally())
        sender = Sender(options.limits.min_rate_bytes_s, crowd.tally)
        doorkeeper = web.middleware(Doorkeeper(crowd, sender))
        application = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[doorkeeper])
        application.add_routes(Gateway(Serving(self.store, self._reads, sender, Refusals())).routes())
        application.add_routes(Metrics(self.store, self._reads, crowd, access).routes())
        routing = RoutingApi(self.store, self._reads, self.peer_id, self.addresses)
        application.add_routes(routing.routes())
        if not options.reads_only:
            self._pinner = self._keeping(application, self._reads, access)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=_FINISH_S, handle_signals=False)
        await self._runner.setup()
        serve = self._runner.server
        assert serve is not None
        loop = asyncio.get_running_loop()
        for sock in sockets:
            made = await loop.create_server(lambda: Connection(crowd, serve), sock=sock, backlog=_BACKLOG)
            self._listeners.append(made)
        if self._pinner is not None:
            await self._reads.run(self._pinner.start)

    def _keeping(self, application: web.Application, reads: Reads, access: Access) -> Pinner:
        """Pins and names."""
        options, records = self.options, PinRecords(self.store.catalog)
        pinner = Pinner(
            self.store, records,
            guard=options.guard, trusted=options.trusted, max_bytes=options.max_bytes, policy=options.policy,
        )  # fmt: skip
        api = PinApi(records, pinner, reads, access, [multiaddr_of(url) for url in self.addresses])
        application.add_routes(api.routes())
        known = KnownNames(self.store.folder / "names.sqlite", max_names=MAX_NAMES, max_versions=0)
        application.add_routes(NameApi(known, reads, access).routes())
        return pinner

    async def stop(self) -> None:
        """Accept nothing more, let answers end for a moment, cancel pins. Removes nothing. Idempotent."""
        pinner, self._pinner = self._pinner, None
        stopping = asyncio.create_task(asyncio.to_thread(pinner.stop, _STOP_PINS_S)) if pinner else None
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if stopping is not None:
            await stopping
        if self._reads is not None:
            self._reads.close()
            self._reads = None
        self._lock.release()


async def _listen(host: str, port: int) -> asyncio.Server:
    try:
        loop = asyncio.get_running_loop()
        return await loop.create_server(asyncio.Protocol, host or None, port, backlog=_BACKLOG, start_serving=False)
    except OSError as error:
        where = f"{host}:{port}"
        what, hint = f"cannot be listened on: {error.strerror or error}", "give --listen HOST:PORT of this machine"
        if error.errno == errno.EADDRINUSE:
            what, hint = "is in use by another program", "choose another port, or 0 for any free one"
        elif error.errno == errno.EACCES:
            what, hint = "may not be listened on", "choose a port above 1023"
        raise ConfigError(f"{where} {what}", hint=hint) from error


def _is_loopback(host: str) -> bool:
    return ip_address(host.partition("%")[0]).is_loopback


def _open_files() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if soft == resource.RLIM_INFINITY else soft
