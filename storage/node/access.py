"""`Access`: who may use the pinning API, and who may read the metrics."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from ipaddress import ip_address

from aiohttp import web

from .clients import is_loopback

_FORWARDED = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP")


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
        if self._has_token(request):
            return ""
        return "send the token of this peer: Authorization: Bearer …"

    def reading_refusal(self, request: web.Request) -> str:
        """Why this request may not read the metrics; "" if it may: with the token, or as a program of this machine.

        A reverse proxy on this machine speaks for others: it says so in headers.
        """
        if self._has_token(request):
            return ""
        if is_loopback(request.remote or "") and not any(name in request.headers for name in _FORWARDED):
            return _from_a_browser(request)
        return "metrics are for programs of this machine, and for the token: Authorization: Bearer …"

    def _has_token(self, request: web.Request) -> bool:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        # surrogateescape: a header may hold any byte, and must not become an error of ours
        sent = given.strip().encode("utf-8", "surrogateescape")
        return self.token is not None and scheme.lower() == "bearer" and hmac.compare_digest(sent, self.token)


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
