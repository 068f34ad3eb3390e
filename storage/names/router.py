"""`Router`: a delegated router, asked who has a block. What it says is a claim; a router may be anybody's Kubo.

Specification: specs.ipfs.tech/routing/http-routing-v1 ("Content Routing API"; filters: IPIP-0484).
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from ...configs.roster import Provider
from ..cid import CID
from ..control import Control, refusal
from .provider import GATEWAY, UNKNOWN, ProviderRecord, read_providers

_MAX_ANSWER_BYTES = 1 << 20  # IPNI has sent 4.3 MiB of dead records for one CID (facts: ipfs.md §1.2)
_TIMEOUT_S = 5.0
_ACCEPT = "application/x-ndjson, application/json"


class Router:
    """Construction does no IO. A call ends within five seconds; nothing is retried in here."""

    def __init__(self, provider: Provider, *, env: Mapping[str, str] | None = None) -> None:
        self._control = Control(provider, env=env)

    @property
    def name(self) -> str:
        """As the roster calls it."""
        return self._control.provider.name

    def providers(self, cid: CID) -> list[ProviderRecord]:
        """The gateways among those who are said to have this block, at most `MAX_RECORDS`.

        Of a long row of lines the first MiB is read. Raises `PeerError`, `ConfigError`.
        """
        query = urlencode({"filter-protocols": f"{GATEWAY},{UNKNOWN}"})
        reply = self._control.call(
            "GET", f"/routing/v1/providers/{cid}?{query}",
            headers={"Accept": _ACCEPT}, max_bytes=_MAX_ANSWER_BYTES, timeout_s=_TIMEOUT_S, cut="x-ndjson",
        )  # fmt: skip
        if reply.status == 404:  # older routers
            return []
        if reply.status != 200:
            raise refusal(self.name, reply, "", "who has this block")
        return [record for record in read_providers(reply.body, reply.content_type) if record.urls]
