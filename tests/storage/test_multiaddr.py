"""Origins of pin requests: what is dialled, and what is passed over."""

import pytest

from holdfast.storage.multiaddr import url_of


@pytest.mark.parametrize(
    ("origin", "url"),
    [
        ("http://a.example:80/base/", "http://a.example:80/base"),
        ("https://a.example", "https://a.example"),
        ("/ip4/1.2.3.4/tcp/80/http", "http://1.2.3.4:80"),
        ("/ip6/::1/tcp/80/http", "http://[::1]:80"),
        ("/dns4/host.example/tcp/443/https", "https://host.example:443"),
        ("/dns/host.example/tcp/443/tls/http", "https://host.example:443"),
        ("/dns/host.example/tcp/443/tls/http/p2p/12D3KooW", "https://host.example:443"),
        ("/ip4/1.2.3.4/tcp/4001/p2p/12D3KooW", None),
        ("/ip4/1.2.3.4/udp/4001/quic-v1", None),
        ("/ip4/::1/tcp/80/http", None),
        ("/ip4/1.2.3.4/tcp/99999/http", None),
        ("/ip4/1.2.3.4/tcp/0/http", None),
        ("/dns4/user@evil.example/tcp/80/http", None),
        ("/unix/x/tcp/80/http", None),
        ("file:///etc/passwd", None),
        ("ftp://a.example", None),
        ("http://user:secret@a.example", None),
        ("http://a.example/?token=secret", None),
        ("http://a.example/#x", None),
        ("http://a.example:port/", None),
        ("http://[::1", None),
        ("http://a.example/\r\nX: y", None),
        ("", None),
        ("/", None),
    ],
)
def test_an_origin_is_a_url_or_nothing(origin: str, url: str | None) -> None:
    assert url_of(origin) == url
