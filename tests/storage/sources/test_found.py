"""Sources that routers name: the last to be asked, dialled where that is allowed, each blamed by itself."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.configs.roster import Provider, Roster
from holdfast.storage.blocks.memory import MemoryStore
from holdfast.storage.cid import CID, RAW
from holdfast.storage.errors import OversizeError, PeerError, SlowError, UnavailableError, WrongBytesError
from holdfast.storage.fetch.engine import FetchEngine
from holdfast.storage.fetch.policy import FetchPolicy
from holdfast.storage.fetch.tree import RemoteTree
from holdfast.storage.multiaddr import multiaddr_of
from holdfast.storage.names import router as router_module
from holdfast.storage.names.provider import GATEWAY
from holdfast.storage.names.router import Router
from holdfast.storage.sources.found import MAX_FOUND
from holdfast.storage.sources.from_roster import sources_of
from holdfast.storage.sources.netguard import NetGuard
from support.mirror_server import MirrorServer, Reply
from support.running_node import RunningNode, publish_folder
from support.trees import mirror_folder

HERE = NetGuard.parse(["127.0.0.0/8"])
FILES = {"a": b"a" * 70_000, "b": b"b" * 10}
NOWHERE = CID.of(RAW, b"nowhere")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningNode]:
    with RunningNode(tmp_path / "repo") as node:
        yield node


@pytest.fixture
def root(node: RunningNode, tmp_path: Path) -> CID:
    return publish_folder(node.store, tmp_path / "src", FILES)


def read(roster: Roster, root: CID, guard: NetGuard = HERE, deadline_s: float = 2.0) -> tuple[bytes, dict[str, int]]:
    """File `a`, and the bytes by URL of whoever sent any."""
    sources = sources_of(roster, env={}, redirects=guard)
    with FetchEngine(sources, policy=FetchPolicy(progress_deadline_s=deadline_s)) as engine:
        tree = RemoteTree(engine, root, MemoryStore(1 << 20))
        data = tree.read(tree.find("a"), 1 << 20)
        return data, {source.url: source.bytes for source in engine.stats() if source.bytes}


def roster(*providers: tuple[str, str]) -> Roster:
    return Roster(
        providers=tuple(Provider(name=f"p{n}", kind=kind, url=url) for n, (kind, url) in enumerate(providers))  # type: ignore[arg-type]
    )


def naming(*urls: str) -> object:
    """A router that names gateways for whatever it is asked."""
    records = [
        {
            "Schema": "peer",
            "ID": "12D3KooWx",
            "Addrs": [multiaddr_of(url)],
            "Protocols": ["transport-ipfs-gateway-http"],
        }
        for url in urls
    ]
    body = json.dumps({"Providers": records}).encode()
    return lambda _path, _reply: Reply(200, {"Content-Type": "application/json"}, body)


def test_a_router_alone_finds_who_has_it(node: RunningNode, root: CID) -> None:
    data, senders = read(roster(("router", node.url)), root)
    assert data == FILES["a"]
    assert list(senders) == [node.url]


def test_addresses_of_others_pass_the_guard_or_are_not_dialled(node: RunningNode, root: CID, tmp_path: Path) -> None:
    with MirrorServer(tmp_path, naming(node.url)) as router:  # type: ignore[arg-type]
        with pytest.raises(UnavailableError, match="FORBIDDEN"):
            read(roster(("router", router.url)), root, NetGuard())
        assert read(roster(("router", router.url)), root)[0] == FILES["a"]


def test_no_router_is_asked_while_the_users_own_sources_serve(node: RunningNode, tmp_path: Path) -> None:
    root = mirror_folder(tmp_path / "mirror", FILES)
    with MirrorServer(tmp_path / "mirror") as mirror, MirrorServer(tmp_path, naming(node.url)) as router:  # type: ignore[arg-type]
        data, senders = read(roster(("mirror", mirror.url), ("router", router.url)), root)
        assert data == FILES["a"]
        assert list(senders) == [mirror.url]
        assert router.requests == []


def test_found_ones_take_over_when_the_users_own_are_down_or_lack_it(
    node: RunningNode, root: CID, tmp_path: Path
) -> None:
    with MirrorServer(tmp_path / "empty") as empty:
        for own in ("http://127.0.0.1:9", empty.url):
            data, senders = read(roster(("gateway", own), ("router", node.url)), root, deadline_s=10)
            assert data == FILES["a"]
            assert list(senders) == [node.url]


def test_one_that_lies_is_blamed_and_the_next_one_serves(node: RunningNode, root: CID, tmp_path: Path) -> None:
    lie = lambda _path, _reply: Reply(200, {}, b"wrong")
    with MirrorServer(tmp_path, lie) as liar, MirrorServer(tmp_path, naming(liar.url, node.url)) as router:  # type: ignore[arg-type]
        sources = sources_of(roster(("router", router.url)), env={}, redirects=HERE)
        with FetchEngine(sources) as engine:
            tree = RemoteTree(engine, root, MemoryStore(1 << 20))
            assert tree.read(tree.find("a"), 1 << 20) == FILES["a"]
            wrong = {source.url: source.wrong for source in engine.stats() if source.wrong}
    assert list(wrong) == [liar.url]


def test_several_routers_are_asked_and_a_failing_one_hides_nothing(
    node: RunningNode, root: CID, tmp_path: Path
) -> None:
    with (
        MirrorServer(tmp_path, lambda _path, _reply: Reply(500, {}, b"")) as failing,
        MirrorServer(tmp_path, lambda _path, _reply: Reply(200, {}, b"\xff\xff")) as nonsense,
        MirrorServer(tmp_path, naming()) as empty,  # type: ignore[arg-type]
    ):
        urls = ["http://127.0.0.1:9", failing.url, nonsense.url, empty.url, node.url]
        assert read(roster(*(("router", url) for url in urls)), root)[0] == FILES["a"]


def test_no_more_gateways_are_tried_than_there_are_places(tmp_path: Path, root: CID) -> None:
    urls = [f"http://127.0.0.1:{port}" for port in range(1, 200)]
    with MirrorServer(tmp_path, naming(*urls)) as router:  # type: ignore[arg-type]
        with pytest.raises(UnavailableError) as caught:
            read(roster(("router", router.url)), root, deadline_s=0.5)
        assert caught.value.message.count("found by a router") == MAX_FOUND
        assert len(router.requests) <= 2, "an answer is believed for a minute"


def router_at(url: str) -> Router:
    return Router(Provider(name="r", kind="router", url=url), env={})


def test_a_router_is_bounded_in_bytes_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = {
        "Schema": "peer", "ID": "x", "Addrs": ["/ip4/1.2.3.4/tcp/80/http"], "Protocols": [GATEWAY],
    }  # fmt: skip
    line = json.dumps(record).encode() + b"\n"
    long = line * ((3 << 20) // len(line))
    lines = lambda _path, _reply: Reply(200, {"Content-Type": "application/x-ndjson"}, long)
    with MirrorServer(tmp_path, lines) as server:
        assert len(router_at(server.url).providers(NOWHERE)) == 100
    whole = lambda _path, _reply: Reply(200, {"Content-Type": "application/json"}, b" " * (3 << 20))
    with MirrorServer(tmp_path, whole) as server, pytest.raises(OversizeError):
        router_at(server.url).providers(NOWHERE)
    monkeypatch.setattr(router_module, "_TIMEOUT_S", 0.3)
    slow = lambda _path, _reply: Reply(200, {}, b"{}" * 1000, drip_s=0.05)
    with MirrorServer(tmp_path, slow) as server, pytest.raises(SlowError):
        router_at(server.url).providers(NOWHERE)


def test_what_a_router_answers_is_records_or_a_typed_error(tmp_path: Path) -> None:
    for reply, error in (
        (Reply(404, {}, b""), None), (Reply(200, {}, b"{}"), None), (Reply(200, {}, b'{"Providers": []}'), None),
        (Reply(429, {}, b""), PeerError), (Reply(302, {"Location": "http://127.0.0.1:9"}, b""), PeerError),
        (Reply(200, {}, b"<html>"), WrongBytesError),
    ):  # fmt: skip
        with MirrorServer(tmp_path, lambda _path, _reply, reply=reply: reply) as server:
            if error is None:
                assert router_at(server.url).providers(NOWHERE) == []
            else:
                with pytest.raises(error):
                    router_at(server.url).providers(NOWHERE)
