"""Routing at a peer: `GET /routing/v1/providers/{cid}` and `/routing/v1/peers/{id}`: what it has itself.

Specification: specs.ipfs.tech/routing/http-routing-v1; IPIP-0513: nothing found is 200 and an empty list. So a Kubo
that is told of this peer as a router finds it, and reads from it by HTTP.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from aiohttp import web

from ..blocks.disk import DiskStore
from ..cid import CID
from ..errors import ConfigError, FormatError, HoldfastError
from ..multiaddr import multiaddr_of
from ..names.name import Name
from ..names.provider import GATEWAY, ProviderRecord
from .headers import CORS
from .reads import Reads
from .refusals import LOG

_ROUTES = ("/routing/v1/providers/{cid}", "/routing/v1/peers/{id}")
_NDJSON = "application/x-ndjson"
_FOUND_S, _NOTHING_S = 300, 15  # how long a client may remember the answer
_MAX_FILTER_CHARS = 1000


class RoutingApi:
    """Routes over one store. `addresses`: URLs of this peer."""

    def __init__(self, store: DiskStore, reads: Reads, peer_id: str, addresses: Sequence[str]) -> None:
        self._store, self._reads = store, reads
        self._me = ProviderRecord(peer_id, tuple(multiaddr_of(url) for url in addresses), (GATEWAY,))

    def routes(self) -> list[web.RouteDef]:
        """What to add to an application."""
        providers, peers = _ROUTES
        return [
            web.get(providers, self._providers),
            web.get(peers, self._peers),
            *(web.options(route, self._options) for route in _ROUTES),
        ]

    async def _options(self, _: web.Request) -> web.Response:
        return web.Response(status=204, headers=CORS)

    async def _providers(self, request: web.Request) -> web.Response:
        try:
            here = await self._reads.run(self._store.has, CID.parse(request.match_info["cid"]))
        except FormatError as error:
            return _refused(422, error.message)
        except HoldfastError as error:
            LOG.error("%s", error.message)
            return _refused(500, "this peer cannot use its disk")
        return self._answer(request, "Providers", here=here)

    async def _peers(self, request: web.Request) -> web.Response:
        try:
            here = Name.parse(request.match_info["id"]).peer_id == self._me.peer
        except ConfigError as error:
            return _refused(422, error.message)
        return self._answer(request, "Peers", here=here)

    def _answer(self, request: web.Request, key: str, *, here: bool) -> web.Response:
        by_address, by_protocol = (
            _filter(request.query.get(name, "")) for name in ("filter-addrs", "filter-protocols")
        )
        found = self._me.filtered(by_address, by_protocol) if here else None
        records = [] if found is None else [found.document()]
        lines = _NDJSON in request.headers.get("Accept", "")
        body = "".join(f"{json.dumps(record)}\n" for record in records) if lines else json.dumps({key: records})
        headers = CORS | {
            "Cache-Control": f"public, max-age={_FOUND_S if records else _NOTHING_S}",
            "Vary": "Accept",
        }
        return web.Response(text=body, content_type=_NDJSON if lines else "application/json", headers=headers)


def _filter(text: str) -> tuple[str, ...]:
    return tuple(part.strip().lower() for part in text[:_MAX_FILTER_CHARS].split(",") if part.strip())


def _refused(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=f"{text}\n", headers=CORS | {"Cache-Control": "no-store"})
