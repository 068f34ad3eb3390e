"""Parsers of names: records, keys, what routers answer."""

from __future__ import annotations

import json
from pathlib import Path

from fuzz import seeds
from fuzz.target import target
from holdfast.storage.errors import ConfigError
from holdfast.storage.names.key import PrivateKey
from holdfast.storage.names.moment import format_moment, parse_moment
from holdfast.storage.names.name import Name
from holdfast.storage.names.provider import read_providers
from holdfast.storage.names.record import read_record

_VECTORS = json.loads((Path(__file__).parents[1] / "vectors/ipns.json").read_text())["vectors"]
_KEY = PrivateKey.of_seed(bytes(32))
_PEER = {"Schema": "peer", "ID": "12D3KooW", "Addrs": ["/ip4/1.2.3.4/tcp/80/http"], "Protocols": ["transport-bitswap"]}


@target(lambda: [bytes.fromhex(entry["hex"]) for entry in _VECTORS])
def ipns_record(data: bytes) -> object:
    for entry in _VECTORS:
        name = Name.parse(entry["name"])
        if data == bytes.fromhex(entry["hex"]):
            return read_record(name, data)
    return read_record(_KEY.name, data)


@target(seeds.texts(_VECTORS[0]["name"], _KEY.name.peer_id, str(_KEY.name.cid)), (ConfigError,))
def name_text(data: bytes) -> object:
    name = Name.parse(data.decode("utf-8", "replace"))
    assert Name.parse(str(name)) == name
    return name


@target(lambda: [_KEY.to_pem(), _KEY.to_libp2p()], (ConfigError,))
def key_file(data: bytes) -> object:
    return PrivateKey.parse(data).name


@target(seeds.texts("2123-08-14T12:17:03.694052Z", "1970-01-01T01:00:00+01:00"))
def moment(data: bytes) -> object:
    ns = parse_moment(data.decode("utf-8", "replace"))
    assert parse_moment(format_moment(ns)) == ns
    return ns


@target(lambda: [json.dumps({"Providers": [_PEER]}).encode(), json.dumps(_PEER).encode() + b"\n"])
def provider_records(data: bytes) -> object:
    kinds = ("application/json", "application/x-ndjson")
    kind = kinds[data[:1] == b"{" and b'"Providers"' not in data[:20]]
    records = read_providers(data, kind)
    assert len(records) <= 100
    return [record.urls for record in records]
