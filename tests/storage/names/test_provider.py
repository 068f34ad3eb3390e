"""What routers answer: kept where it is a gateway, passed over where it is not, bounded whatever it is."""

import json

import pytest

from holdfast.storage.errors import WrongBytesError
from holdfast.storage.names.provider import MAX_RECORDS, ProviderRecord, read_providers

PEER = {
    "Schema": "peer", "ID": "12D3KooWx",
    "Addrs": ["/ip4/1.2.3.4/tcp/80/http", "/dns4/a.example/tcp/443/tls/http", "/ip4/1.2.3.4/udp/4001/quic-v1"],
    "Protocols": ["transport-bitswap", "transport-ipfs-gateway-http"], "Unknown": {"field": 1},
}  # fmt: skip
JSON, NDJSON = "application/json; charset=utf-8", "application/x-ndjson"


def read(*entries: object) -> list[ProviderRecord]:
    return read_providers(json.dumps({"Providers": list(entries)}).encode(), JSON)


def test_a_gateway_is_read_with_its_urls() -> None:
    (record,) = read(PEER)
    assert record.peer == "12D3KooWx"
    assert record.urls == ("http://1.2.3.4:80", "https://a.example:443")


def test_both_forms_say_the_same_and_a_cut_line_is_left_out() -> None:
    lines = "".join(f"{json.dumps(PEER | {'ID': str(n)})}\n" for n in range(5)).encode()
    assert [record.peer for record in read_providers(lines, NDJSON)] == list("01234")
    assert [record.peer for record in read_providers(lines[:-10], NDJSON)] == list("0123")
    assert [record.peer for record in read_providers(lines + b"\n", NDJSON)] == list("01234")


@pytest.mark.parametrize(
    "entry",
    [
        None, 1, "x", [], {}, {"Schema": "bitswap", "ID": "x"}, {"Schema": "peer"}, {"Schema": "peer", "ID": 1},
        {"Schema": "peer", "ID": "x" * 2000}, {"Schema": "generic", "ID": "x", "Addrs": ["https://a.example"]},
    ],
)  # fmt: skip
def test_unknown_schemas_and_nonsense_are_passed_over(entry: object) -> None:
    assert [record.peer for record in read(entry, PEER, entry)] == ["12D3KooWx"]


@pytest.mark.parametrize("field", [{"Addrs": None}, {"Addrs": 1}, {"Addrs": [1, None, {}]}, {"Protocols": "x"}])
def test_odd_fields_leave_no_url(field: dict[str, object]) -> None:
    (record,) = read(PEER | field)
    assert record.urls == ()


def test_a_peer_that_is_no_gateway_has_no_url() -> None:
    (record,) = read(PEER | {"Protocols": ["transport-bitswap"]})
    assert record.urls == ()


@pytest.mark.parametrize(
    "address", ["/ip4/1.2.3.4/tcp/80/http/http-path/x", "http://user:pw@a.example", "/dns4/a@b/tcp/1/http"]
)
def test_addresses_that_are_not_plain_servers_are_not_dialled(address: str) -> None:
    (record,) = read(PEER | {"Addrs": [address]})
    assert record.urls == ()


def test_an_answer_is_bounded_in_records_and_addresses() -> None:
    many = [PEER | {"ID": str(number), "Addrs": PEER["Addrs"] * 1000} for number in range(300)]  # type: ignore[operator]
    found = read(*many)
    assert len(found) == MAX_RECORDS
    assert all(len(record.addresses) <= 20 for record in found)


@pytest.mark.parametrize("body", [b"", b"[]", b"nonsense", b"\xff", b"[" * 100_000])
def test_what_is_not_json_is_wrong(body: bytes) -> None:
    with pytest.raises(WrongBytesError):
        read_providers(body, JSON)


def test_an_object_without_providers_has_none() -> None:
    for body in (b"{}", b'{"Providers": null}', b'{"Providers": {}}'):
        assert read_providers(body, JSON) == []
    assert read_providers(b"", NDJSON) == []
