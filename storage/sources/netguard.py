"""Which addresses may be dialled on somebody else's word: public ones only, checked after resolving.

Addresses that the user typed are not guarded. Redirects and the `origins` of a pin request are. The connection
goes to the very address that was checked: a second look-up could answer differently (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import ConfigError, ForbiddenAddressError, UnreachableError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# is_global alone (Python 3.11, measured) lets these pass: protocol assignments, the host service of Azure's machines,
# site-local and documentation addresses. Multicast passes too: `_public` looks for it.
_NOT_PUBLIC = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "168.63.129.16/32", "fec0::/10", "3fff::/20")))


@dataclass(frozen=True, slots=True)
class NetGuard:
    """A policy. `guarded=False` dials anything (the user's own word); `allowed` opens ranges by name."""

    guarded: bool = True
    allowed: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, networks: Sequence[str]) -> NetGuard:
        """A guard that also allows these CIDR ranges. Raises `ConfigError`."""
        try:
            return cls(True, tuple(ipaddress.ip_network(text) for text in networks))
        except ValueError as error:
            raise ConfigError(
                f"--allow-net, or allow_net=: {error}", hint="give a range such as 127.0.0.0/8 or 10.1.0.0/16"
            ) from error

    def resolve(self, host: str, port: int) -> list[tuple[int, tuple[str, int]]]:
        """The addresses of a host that may be dialled, as (family, address) for `socket.connect`.

        Raises `UnreachableError` when there are none, `ForbiddenAddressError` when none is allowed.
        """
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise UnreachableError(
                f"{host} cannot be resolved: {error}", hint="check the spelling of the host, and the network"
            ) from error
        addresses = [(int(family), (str(address[0]), port)) for family, _, _, _, address in found]
        if not self.guarded:
            return addresses
        good = [(family, address) for family, address in addresses if self.permits(address[0])]
        if not good:
            raise ForbiddenAddressError(
                f"{host} is {addresses[0][1][0] if addresses else 'nowhere'}, which is not a public address",
                hint="open the range with --allow-net, or allow_net=, if it is yours",
            )
        return good

    def permits(self, text: str) -> bool:
        """Whether this literal address may be dialled."""
        address = ipaddress.ip_address(text.partition("%")[0])
        if any(address.version == network.version and address in network for network in self.allowed):
            return True
        return all(_public(inner) for inner in _unwrap(address))


def _unwrap(address: Address) -> list[Address]:
    """The address and every IPv4 address that it carries inside."""
    found: list[Address] = [address]
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            found = [address.ipv4_mapped]
        if address.sixtofour:
            found.append(address.sixtofour)
        if address.teredo:
            found.extend(address.teredo)
        if address in _NAT64:
            found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return found


def _public(address: Address) -> bool:
    odd = address.is_multicast or address.is_reserved or address.is_unspecified
    return address.is_global and not odd and not any(address in network for network in _NOT_PUBLIC)
