"""`holdfast serve`: run a peer until it is told to stop."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from ..configs.errors import ConfigError
from ..configs.roster import MAX_TOKEN_BYTES, Roster
from ..configs.settings import ServeSettings, Settings
from ..configs.sizes import parse_size
from ..storage.blocks.disk import DiskStore
from ..storage.multiaddr import url_of
from ..storage.node.crowd import CrowdLimits
from ..storage.node.server import Node, NodeOptions
from ..storage.open_files import allow_many_files
from ..storage.sources.from_roster import sources_of
from ..storage.sources.netguard import NetGuard

_LOG = logging.getLogger("holdfast.node")


def run_serve(
    repo: Path,
    listen: str,
    roster: Path | None = None,
    token_file: Path | None = None,
    max_bytes: str | int | None = None,
    allow_net: Sequence[str] = (),
    as_json: bool = False,
    announce: Sequence[str] = (),
) -> None:
    """Serve `repo` on `listen` ("HOST:PORT", port 0: any free one) until SIGTERM or SIGINT; says so in one line.

    The first line of standard output, once ready, is where: JSON `{"url","peer_id","pid"}` with `as_json`. Logs go
    to standard error. Raises `ConfigError` for input that is wrong, `StoreError` when the disk cannot be used.
    """
    host, port = _read_listen(listen)
    guard = NetGuard.parse(list(allow_net))
    providers = Roster.load(roster) if roster else None
    if providers:
        sources_of(providers, env=os.environ, redirects=guard)  # complain now, not at the first pin
    options = NodeOptions(
        host=host,
        port=port,
        token=_read_token(token_file) if token_file else None,
        max_bytes=None if max_bytes is None else parse_size(max_bytes),
        guard=guard,
        trusted=lambda: sources_of(providers, env=os.environ, redirects=guard) if providers else [],
        limits=crowd_limits(Settings.load(os.environ).serve),
        announce=tuple(_read_announced(url) for url in announce),
    )
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    allow_many_files()
    with DiskStore(repo).open() as store:
        asyncio.run(_serve(Node(store, options), as_json=as_json))


def crowd_limits(settings: ServeSettings) -> CrowdLimits:
    """The bounds of a peer as the user's settings have them."""
    return CrowdLimits(
        max_requests=settings.max_requests,
        max_requests_per_client=settings.max_requests_per_client,
        max_connections=settings.max_connections,
        max_connections_per_client=settings.max_connections_per_client,
        queue_s=settings.queue,
        request_head_s=settings.request_head,
        idle_s=settings.idle_connection,
        min_rate_bytes_s=settings.min_rate,
        trusted_proxies=settings.trusted_proxies,
    )


async def _serve(node: Node, *, as_json: bool) -> None:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    await node.start()
    try:
        about = {"url": node.url, "peer_id": str(node.peer_id), "pid": os.getpid()}
        _say(json.dumps(about) if as_json else f"serving {node.store.folder} at {node.url} (peer {node.peer_id})")
        await told.wait()
    finally:
        await node.stop()
    if as_json:  # one object on standard output, no more
        _LOG.info("stopped")
    else:
        _say("stopped")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _read_listen(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not bare or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"--listen {text!r} is not HOST:PORT", hint="for example 127.0.0.1:4301, or 0.0.0.0:4301")
    if ":" in bare and bare == host:
        raise ConfigError(f"--listen {text!r}: an IPv6 address needs brackets", hint=f"[{host}]:{port}")
    return bare, int(port)


def _read_announced(text: str) -> str:
    url = url_of(text) if text.startswith(("http://", "https://")) else None
    if url is None or urlsplit(url).path:
        raise ConfigError(f"--announce {text!r} is not http(s)://HOST[:PORT]", hint="for example https://peer.example")
    return url


def _read_token(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            token = file.read(MAX_TOKEN_BYTES + 1).strip()
    except OSError as error:
        raise ConfigError(
            f"--token-file {path} cannot be read: {error.strerror}", hint="make one: openssl rand -hex 32"
        ) from error
    if not token or len(token) > MAX_TOKEN_BYTES or len(token.split()) != 1:
        raise ConfigError(
            f"--token-file {path}: expected one line of at most {MAX_TOKEN_BYTES} characters without spaces",
            hint="make one: openssl rand -hex 32",
        )
    return token
