"""Names between holdfast and a real Kubo, both ways."""

import time
from pathlib import Path

import pytest

from holdfast.configs.roster import Provider
from holdfast.storage.cid import CID
from holdfast.storage.names.advance import Lifetime, advance, path_of
from holdfast.storage.names.http_place import HttpPlace
from holdfast.storage.names.key import PrivateKey
from holdfast.storage.names.known import KnownNames
from holdfast.storage.names.moment import S
from holdfast.storage.names.name import Name
from holdfast.storage.names.places import places_of
from holdfast.storage.names.publish import point
from holdfast.storage.names.record import read_record, sign_record
from holdfast.storage.names.resolve import resolve
from support.kubo import Kubo
from support.running_node import RunningNode

HOUR = Lifetime(3600 * S, 60 * S)


@pytest.fixture(scope="module")
def root(kubo: Kubo) -> CID:
    return CID.parse(kubo.text("add", "-Q", "--pin=true", stdin=b"a version"))


def place(url: str) -> HttpPlace:
    return HttpPlace(Provider(name="kubo", kind="router", url=url), env={})


def test_kubo_accepts_our_record_and_says_what_we_meant(kubo: Kubo, root: CID, tmp_path: Path) -> None:
    key = PrivateKey.generate()
    first = advance(key, path_of(CID.parse("bafkqaaa")), None, time.time_ns(), HOUR)
    record = advance(key, path_of(root), first, time.time_ns(), HOUR)
    (tmp_path / "record").write_bytes(record.data)
    seen = kubo.json("name", "inspect", f"--verify={key.name}", tmp_path / "record")
    assert seen["Validation"]["Valid"] is True, seen
    assert seen["Entry"]["Value"] == f"/ipfs/{root}"
    assert seen["Entry"]["Sequence"] == 1
    assert seen["SignatureType"] == "V1+V2", seen
    kubo.run("routing", "put", "--allow-offline", f"/ipns/{key.name}", tmp_path / "record")
    assert kubo.run("routing", "get", f"/ipns/{key.name}") == record.data
    assert kubo.text("name", "resolve", f"/ipns/{key.name}") == f"/ipfs/{root}"
    assert kubo.run("cat", f"/ipns/{key.name}") == b"a version"


def test_we_accept_the_record_of_kubo_and_make_the_same_bytes(kubo: Kubo, root: CID, tmp_path: Path) -> None:
    name = Name.parse(kubo.text("key", "gen", "theirs"))
    kubo.run("key", "export", "-o", tmp_path / "key", "theirs")
    key = PrivateKey.parse((tmp_path / "key").read_bytes())
    assert key.name == name
    kubo.run("name", "publish", "--allow-offline", "--key=theirs", "--lifetime=1h", "--ttl=1m", f"/ipfs/{root}")
    data = place(kubo.gateway).get(name)
    assert data is not None
    record = read_record(name, data)
    assert (record.uri.root, record.sequence, record.ttl_ns) == (root, 0, 60 * S)
    again = sign_record(key, record.value, sequence=0, validity_ns=record.validity_ns, ttl_ns=record.ttl_ns)
    assert again.data == data
    found = resolve(name, [place(kubo.gateway)], KnownNames(tmp_path / "known"), time.time_ns())
    assert found.record == record


@pytest.mark.parametrize("form", ["libp2p-protobuf-cleartext", "pem-pkcs8-cleartext"])
def test_keys_go_both_ways(kubo: Kubo, tmp_path: Path, form: str) -> None:
    key = PrivateKey.generate()
    (tmp_path / "ours").write_bytes(key.to_libp2p() if form.startswith("libp2p") else key.to_pem())
    label = f"ours-{form}"
    assert Name.parse(kubo.text("key", "import", f"--format={form}", label, tmp_path / "ours")) == key.name
    kubo.run("key", "export", f"--format={form}", "-o", tmp_path / "theirs", label)
    assert PrivateKey.parse((tmp_path / "theirs").read_bytes()).name == key.name


def test_kubo_keeps_our_name_by_its_routing_interface(kubo: Kubo, root: CID, tmp_path: Path) -> None:
    key, known = PrivateKey.generate(), KnownNames(tmp_path / "known")
    places = places_of([kubo.gateway], env={})
    first = point(key, CID.parse("bafkqaaa"), places, known, HOUR)
    assert [problem for _, problem in first.places] == [""]
    point(key, root, places, known, HOUR)
    assert kubo.text("name", "resolve", f"/ipns/{key.name}") == f"/ipfs/{root}"
    found = resolve(key.name, places, KnownNames(tmp_path / "reader"), time.time_ns())
    assert (found.record.uri.root, found.record.sequence) == (root, 1)


def test_kubo_publishes_to_our_peer_and_resolves_from_it(kubo: Kubo, root: CID, tmp_path: Path) -> None:
    with RunningNode(tmp_path / "peer") as node:
        config = {
            "Routing.Type": "delegated", "Provide.Enabled": False, "Routing.DelegatedRouters": [node.url],
            "Ipns.DelegatedPublishers": [node.url],
        }  # fmt: skip
        with Kubo(tmp_path / "publisher", config) as publisher, Kubo(tmp_path / "reader", config) as reader:
            name = Name.parse(publisher.text("key", "gen", "mine"))
            publisher.run("name", "publish", "--key=mine", "--resolve=false", f"/ipfs/{root}")
            data = place(node.url).get(name)
            assert data is not None
            assert read_record(name, data).uri.root == root
            assert reader.text("name", "resolve", f"/ipns/{name}") == f"/ipfs/{root}"
            ours = PrivateKey.generate()
            point(ours, root, places_of([node.url], env={}), KnownNames(tmp_path / "known"), HOUR)
            assert reader.text("name", "resolve", f"/ipns/{ours.name}") == f"/ipfs/{root}"
