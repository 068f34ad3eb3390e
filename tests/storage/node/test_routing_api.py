"""Delegated routing at a peer: what it has, and how it is asked for it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.storage.cid import CID, RAW
from holdfast.storage.names.key import PrivateKey
from holdfast.storage.names.name import Name
from support.running_node import RunningNode, publish_folder
from support.trees import LEAF

NDJSON = "application/x-ndjson"
NOWHERE = CID.of(RAW, b"nowhere")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningNode]:
    with RunningNode(tmp_path / "repo") as node:
        yield node


@pytest.fixture
def root(node: RunningNode, tmp_path: Path) -> CID:
    return publish_folder(node.store, tmp_path / "src", {"a": b"a" * 70_000})


def port(node: RunningNode) -> str:
    return node.url.rpartition(":")[2]


def test_a_peer_names_itself_for_what_it_has(node: RunningNode, root: CID) -> None:
    answer = node.get(f"/routing/v1/providers/{root}")
    me = {
        "Schema": "peer", "ID": node.node.peer_id, "Addrs": [f"/ip4/127.0.0.1/tcp/{port(node)}/http"],
        "Protocols": ["transport-ipfs-gateway-http"],
    }  # fmt: skip
    assert (answer.status, answer.json()) == (200, {"Providers": [me]})
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    lines = node.get(f"/routing/v1/providers/{root}", Accept=NDJSON)
    assert lines.headers["Content-Type"].startswith(NDJSON)
    assert [json.loads(line) for line in lines.body.splitlines()] == [me]
    leaf = CID.of(RAW, b"a" * LEAF)
    for cid in (*node.store.cids(), leaf):
        assert node.get(f"/routing/v1/providers/{cid}").json() == {"Providers": [me]}, "leaves and nodes, too"


def test_what_it_has_not_is_an_empty_list_that_is_soon_asked_for_again(node: RunningNode) -> None:
    answer = node.get(f"/routing/v1/providers/{NOWHERE}")
    assert (answer.status, answer.json()) == (200, {"Providers": []})
    assert answer.headers["Cache-Control"] == "public, max-age=15"
    assert node.get(f"/routing/v1/providers/{NOWHERE}", Accept=NDJSON).body == b""


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("filter-protocols=transport-bitswap,transport-ipfs-gateway-http,unknown", True),
        ("filter-protocols=transport-bitswap", False), ("filter-protocols=unknown", False),
        ("filter-addrs=http", True), ("filter-addrs=HTTP", True), ("filter-addrs=tcp,quic-v1", True),
        ("filter-addrs=quic-v1", False), ("filter-addrs=!http", False), ("filter-addrs=!ip6", True),
        ("filter-addrs=tcp,!ip4", False), ("filter-addrs=unknown", False), ("filter-addrs=", True),
        ("filter-addrs=http&filter-protocols=transport-bitswap", False), ("filter-what=x", True),
    ],
)  # fmt: skip
def test_filters(node: RunningNode, root: CID, query: str, found: bool) -> None:
    assert bool(node.get(f"/routing/v1/providers/{root}?{query}").json()["Providers"]) == found


def test_a_peer_is_found_by_its_id_in_every_spelling(node: RunningNode) -> None:
    name = Name.parse(node.node.peer_id)
    for text in (name.peer_id, str(name), str(name.cid)):
        (found,) = node.get(f"/routing/v1/peers/{text}").json()["Peers"]
        assert found["ID"] == node.node.peer_id
    assert node.get(f"/routing/v1/peers/{PrivateKey.generate().name}").json() == {"Peers": []}


def test_what_is_no_cid_and_no_peer_is_422(node: RunningNode) -> None:
    for target in ("providers/nobody", "providers/bafy", "peers/nobody", f"peers/{NOWHERE}"):
        assert node.get(f"/routing/v1/{target}").status == 422


def test_a_peer_behind_a_proxy_names_the_address_that_it_is_told(tmp_path: Path) -> None:
    with RunningNode(tmp_path / "repo", announce=("https://peer.example", "http://[2001:db8::1]:4301")) as node:
        root = publish_folder(node.store, tmp_path / "src", {"a": b"a"})
        (found,) = node.get(f"/routing/v1/providers/{root}").json()["Providers"]
    assert found["Addrs"] == ["/dns/peer.example/tcp/443/tls/http", "/ip6/2001:db8::1/tcp/4301/http"]
