"""Multiaddrs of HTTP servers, and the URLs that they mean.

Specification: multiformats/multiaddr. Of all that it can say, we dial and write `tcp` with HTTP upon it.
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

_HTTP = {("http",): "http", ("https",): "https", ("tls", "http"): "https"}
_PORTS = {"http": 80, "https": 443}


def url_of(text: str) -> str | None:
    """The http(s) URL of a multiaddr, or of a URL; None for what we cannot dial (libp2p, QUIC) and what is malformed.

    Multiaddrs: `/ip4|ip6|dns|dns4|dns6/HOST/tcp/PORT/` and `http`, `https` or `tls/http`, also with `/p2p/ID`
    behind. A URL with a password, query or fragment is refused: it would be kept and shown.
    """
    return _of_multiaddr(text) if text.startswith("/") else _checked(text)


def multiaddr_of(url: str) -> str:
    """The multiaddr of a URL's server: a path below it has no place there."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        kind = f"ip{ip_address(host).version}"
    except ValueError:
        kind = "dns"
    port = parts.port or _PORTS[parts.scheme]
    return f"/{kind}/{host}/tcp/{port}/{'tls/http' if parts.scheme == 'https' else 'http'}"


def _of_multiaddr(text: str) -> str | None:
    parts = text.strip("/").split("/")
    if len(parts) >= 2 and parts[-2] == "p2p":
        parts = parts[:-2]
    if len(parts) < 5 or parts[2] != "tcp" or not parts[3].isdigit():
        return None
    scheme = _HTTP.get(tuple(parts[4:]))
    host = _host(parts[0], parts[1])
    return _checked(f"{scheme}://{host}:{parts[3]}") if scheme and host else None


def _host(kind: str, text: str) -> str | None:
    if kind in ("dns", "dns4", "dns6"):
        return text
    if kind in ("ip4", "ip6"):
        try:
            address = ip_address(text)
        except ValueError:
            return None
        if address.version == int(kind[2]):
            return f"[{address}]" if address.version == 6 else str(address)
    return None


def _checked(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    sound = url.isascii() and url.isprintable() and " " not in url and "\\" not in url
    if not sound or parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        return None
    return None if "@" in parts.netloc or parts.query or parts.fragment else url.rstrip("/")
