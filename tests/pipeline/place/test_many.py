"""Placing many roots: one clear state for each provider and root."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.configs.roster import Provider
from holdfast.pipeline.place import read_back_many
from holdfast.pipeline.place.many import place_many
from holdfast.pipeline.place.placing import PlaceOptions
from holdfast.pipeline.place.state import UNPROVEN, Placements
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.cid import CID, RAW
from holdfast.storage.pins.pin import Status
from holdfast.storage.sources.netguard import NetGuard
from support.mirror_server import MirrorServer, Reply
from support.running_node import RunningNode, publish_folder

GUARD = NetGuard.parse(["127.0.0.0/8"])
QUICK = PlaceOptions(wait_s=20, pause_s=0.01)
ABSENT = CID.of(RAW, b"this is nowhere")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DiskStore]:
    with DiskStore(tmp_path / "repo").open() as store:
        yield store


@pytest.fixture
def roots(store: DiskStore, tmp_path: Path) -> dict[CID, str]:
    """Single blocks, and folders of three files."""
    numbers = random.Random(2)
    found = {store.put(CID.of(RAW, data), data).cid: "block" for data in (numbers.randbytes(100) for _ in range(12))}
    for number in range(3):
        files = {f"f{n}": numbers.randbytes(20_000) for n in range(3)}
        found[publish_folder(store, tmp_path / f"src{number}", files)] = f"folder {number}"
    return found


def names(node: RunningNode) -> dict[str, str]:
    pins = [entry["pin"] for entry in node.get("/pins?limit=1000").json()["results"]]
    assert len({pin["cid"] for pin in pins}) == len(pins)
    return {pin["cid"]: pin["name"] for pin in pins}


def peer(name: str, url: str, kind: str = "peer") -> Provider:
    return Provider.model_validate({"name": name, "kind": kind, "url": url})


def test_every_root_has_a_state_at_every_provider(store: DiskStore, roots: dict[CID, str], tmp_path: Path) -> None:
    placements, said = Placements(tmp_path / "placements.sqlite"), list[tuple[str, int, int]]()
    with RunningNode(tmp_path / "alice", guard=GUARD) as alice:
        providers = [peer("alice", alice.url), peer("down", "http://127.0.0.1:9")]
        found = place_many(
            store, roots, providers, placements, options=QUICK, env={}, on_many=lambda *told: said.append(told)
        )
        assert len(found) == 2 * len(roots)
        assert all(one.counts and one.leaves == 1 for one in found if one.provider == "alice"), found
        assert all(one.status is Status.FAILED and one.message for one in found if one.provider == "down")
        assert {(one.provider, one.root): one for one in placements.of()} == {
            (one.provider, one.root): one for one in found
        }
        assert names(alice) == {str(root): name for root, name in roots.items()}
        assert [done for name, done, _ in said if name == "alice"][-1] == len(roots)
        again = place_many(store, roots, providers[:1], placements, options=QUICK, env={})
        assert all(one.counts for one in again)
        assert len(names(alice)) == len(roots)


def test_what_is_not_here_is_not_proven(store: DiskStore, roots: dict[CID, str], tmp_path: Path) -> None:
    with RunningNode(tmp_path / "alice", guard=GUARD) as alice:
        cid = publish_folder(alice.store, tmp_path / "hers", {"a": b"alice has this" * 2000})
        found = place_many(
            store, {cid: "", **roots}, [peer("alice", alice.url)], Placements(tmp_path / "p.sqlite"),
            options=QUICK, env={},
        )  # fmt: skip
        (ours,) = (one for one in found if one.root == cid)
        assert (ours.status, ours.counts) == (Status.PINNED, False)
        assert "not in the repository here" in ours.message
        assert sum(one.counts for one in found) == len(roots)


def test_one_that_names_no_gateway_promises_only(store: DiskStore, roots: dict[CID, str], tmp_path: Path) -> None:
    with RunningNode(tmp_path / "alice", guard=GUARD) as alice:
        found = place_many(
            store, roots, [peer("alice", alice.url, "pinning-service")], Placements(tmp_path / "p.sqlite"),
            options=QUICK, env={},
        )  # fmt: skip
        assert all((one.status, one.message, one.counts) == (Status.PINNED, UNPROVEN, False) for one in found), found


def test_t24_one_whose_gateway_has_nothing_counts_for_nothing(
    store: DiskStore, roots: dict[CID, str], tmp_path: Path
) -> None:
    with RunningNode(tmp_path / "alice", guard=GUARD) as alice, RunningNode(tmp_path / "empty") as empty:
        service = peer("alice", alice.url, "pinning-service").model_copy(update={"gateway": empty.url})
        placements = Placements(tmp_path / "p.sqlite")
        found = place_many(store, roots, [service], placements, options=QUICK, env={})
        assert all(one.failed and not one.counts for one in found), found
        assert all(one.message.startswith("it says pinned, but MISSING") for one in found), found
        assert [(one.roots, one.proven) for one in placements.tally()] == [(len(roots), 0)]


def single_blocks(store: DiskStore, count: int) -> dict[CID, str]:
    blocks = (number.to_bytes(4, "big") for number in range(count))
    return {store.put(CID.of(RAW, data), data).cid: "" for data in blocks}


def test_one_that_is_away_is_asked_for_none_of_thousands(store: DiskStore, tmp_path: Path) -> None:
    roots = single_blocks(store, 1000)
    with MirrorServer(tmp_path / "none", lambda *_: Reply(503, {}, b"")) as server:
        service = peer("busy", server.url, "pinning-service")
        found = place_many(store, roots, [service], Placements(tmp_path / "p.sqlite"), options=QUICK, env={})
        assert len(server.requests) == 3, "asked three times whether it is there"
    assert all(one.status is Status.FAILED and "answers 503" in one.message for one in found)


def test_one_that_gives_nothing_back_is_not_asked_for_all(
    store: DiskStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_back_many, "_GIVE_UP", 10)
    roots = single_blocks(store, 60)
    with RunningNode(tmp_path / "alice", guard=GUARD) as alice, MirrorServer(tmp_path / "none") as gateway:
        service = peer("alice", alice.url, "pinning-service").model_copy(update={"gateway": gateway.url})
        found = place_many(store, roots, [service], Placements(tmp_path / "p.sqlite"), options=QUICK, env={})
        asked = len(gateway.requests)
        assert 10 <= asked < 10 + 8, "the tenth, and those under way then"
    assert all(one.failed and not one.counts for one in found)
    assert sum("10 in a row were not read back" in one.message for one in found) == 60 - asked


def test_an_interrupt_asks_for_no_more(store: DiskStore, tmp_path: Path) -> None:
    roots = single_blocks(store, 1000)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with MirrorServer(tmp_path / "none", lambda *_: Reply(200, {}, b'{"count": 0, "results": []}')) as server:
        service = peer("busy", server.url, "pinning-service")  # it lists its pins, and takes none
        with pytest.raises(KeyboardInterrupt):
            place_many(
                store, roots, [service], Placements(tmp_path / "p.sqlite"), options=QUICK, env={}, on_many=interrupt
            )
        assert 3 < len(server.requests) < 100
