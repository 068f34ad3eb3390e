"""Who a client is, for limits: an address, or what a trusted proxy says. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from ..sources.netguard import Network

_SITE_PREFIX = 64  # of IPv6: one customer has at least so many addresses


def client_of(peer: str, forwarded: str, proxies: Sequence[Network]) -> str | None:
    """The client behind a connection from `peer` with this X-Forwarded-For; None: it is not limited by address.

    Only a proxy in `proxies` is believed, and of its header only the last address that is not such a proxy itself:
    what stands before it was written by the client. This machine (loopback) is not limited: its programs are the
    user's own, and a reverse proxy that nobody named would make all its clients one. An IPv6 client is its /64.
    """
    address = _address(peer)
    if address is None:
        return peer or None
    for hop in reversed(forwarded.split(",")):
        if not _within(address, proxies):
            break
        named = _address(hop.strip())
        if named is None:
            break
        address = named
    if address.is_loopback or _within(address, proxies):
        return None
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, _SITE_PREFIX), strict=False))
    return str(address)


def is_loopback(peer: str) -> bool:
    """Whether a connection comes from this machine."""
    address = _address(peer)
    return address is not None and address.is_loopback


def _within(address: IPv4Address | IPv6Address, networks: Sequence[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.partition("%")[0].strip("[]"))
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
