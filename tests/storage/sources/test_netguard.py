"""Addresses on somebody else's word: only public ones, whatever way they are written."""

import pytest

from holdfast.storage.errors import ConfigError, ForbiddenAddressError
from holdfast.storage.sources.netguard import NetGuard

FORBIDDEN = [
    "127.0.0.1", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "192.0.0.8",
    "224.0.0.1", "240.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1",
    "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2001:0:7f00:1::1", "::ffff:10.0.0.1",
    "fec0::1", "3fff::1", "168.63.129.16", "::7f00:1", "64:ff9b:1::7f00:1", "5f00::1", "198.18.0.1", "192.0.2.1",
    "fe80::1%eth0", "::ffff:224.0.0.1", "::ffff:0.0.0.0", "fd00:ec2::254", "2002:a9fe:a9fe::", "100::1",
]  # fmt: skip


@pytest.mark.parametrize("address", FORBIDDEN)
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    assert not NetGuard().permits(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111"])
def test_public_addresses_pass(address: str) -> None:
    assert NetGuard().permits(address)


@pytest.mark.parametrize("host", ["0x7f.1", "2130706433", "127.1", "017700000001", "localhost"])
def test_other_spellings_of_loopback_are_refused_after_resolving(host: str) -> None:
    with pytest.raises(ForbiddenAddressError, match="not a public address"):
        NetGuard().resolve(host, 80)


def test_a_named_range_is_opened_and_no_other() -> None:
    guard = NetGuard.parse(["127.0.0.0/8"])
    assert guard.permits("127.0.0.1")
    assert not guard.permits("10.0.0.1")


def test_a_bad_range_is_the_users_mistake() -> None:
    with pytest.raises(ConfigError, match="allow-net"):
        NetGuard.parse(["127.0.0.0/99"])
