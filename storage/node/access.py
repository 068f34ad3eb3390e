"""`Access`: who may use the pinning API."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from ipaddress import ip_address

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Access:
    """With a token: whoever has it. Without one: anybody on this machine if only loopback listens, else nobody."""

    token: bytes | None = field(repr=False)
    loopback: bool

    @property
    def open(self) -> bool:
        """Whether anybody at all may use it."""
        return self.token is not None or self.loopback

    def refusal(self, request: web.Request) -> str:
        """Why this request may not; "" if it may."""
        if self.token is None:
            if not self.loopback:
                return "this peer takes no pins: it was started without --token-file"
            return _from_a_browser(request)
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        # surrogateescape: a header may hold any byte, and must not become an error of ours
        sent = given.strip().encode("utf-8", "surrogateescape")
        if scheme.lower() == "bearer" and hmac.compare_digest(sent, self.token):
            return ""
        return "send the token of this peer: Authorization: Bearer …"


def _from_a_browser(request: web.Request) -> str:
    """Why a request may come from a web page, or "".

    A page of any site, or of a dataset that we serve, can send requests to this machine; browsers say so in headers
    that pages cannot suppress. A foreign name in Host is DNS rebinding.
    """
    if "Origin" in request.headers or "Sec-Fetch-Site" in request.headers:
        return "a browser needs a token: start this peer with --token-file"
    host = request.url.host or ""
    try:
        local = ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        local = host == "localhost" or host.endswith(".localhost")
    return "" if local else "without a token, only 127.0.0.1 and localhost may be addressed"
