"""Placing with many providers: one clear state each, whatever one of them does; a promise counts once it was proven."""

import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.configs.roster import Provider, Roster
from holdfast.pipeline.place.place import keepers_of, place
from holdfast.pipeline.place.placing import PlaceOptions
from holdfast.pipeline.place.state import NOTHING_HERE, UNPROVEN, Placed, Placements, Tally
from holdfast.pipeline.publish import publish
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.cid import CID, RAW
from holdfast.storage.errors import ConfigError
from holdfast.storage.node.pin_records import PinRecords
from holdfast.storage.pins.pin import Status
from holdfast.storage.sources.netguard import NetGuard
from support.mirror_server import MirrorServer, Reply
from support.running_node import RunningNode, publish_folder

GUARD = NetGuard.parse(["127.0.0.0/8"])
QUICK = PlaceOptions(wait_s=20, pause_s=0.01)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "src"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.txt").write_text(f"text {number}\n" * 2000)
    return folder


@pytest.fixture
def root(source: Path, tmp_path: Path) -> CID:
    return publish(source, name="set", repo=tmp_path / "repo").root


@pytest.fixture
def store(root: CID, tmp_path: Path) -> Iterator[DiskStore]:
    with DiskStore(tmp_path / "repo").open() as store:
        yield store


@pytest.fixture
def placements(tmp_path: Path) -> Placements:
    return Placements(tmp_path / "repo/placements.sqlite")


def peer(name: str, url: str, **more: str) -> Provider:
    return Provider(name=name, kind="peer", url=url, **more)


def placed(
    store: DiskStore, root: CID, placements: Placements, providers: list[Provider], options: PlaceOptions = QUICK
) -> dict[str, Placed]:
    return {one.provider: one for one in place(store, root, "set", providers, placements, options=options, env={})}


def test_three_peers_fetch_from_a_peer_that_is_run_meanwhile(
    store: DiskStore, root: CID, placements: Placements, tmp_path: Path
) -> None:
    seen: list[Placed] = []
    with (
        RunningNode(tmp_path / "a", guard=GUARD) as a,
        RunningNode(tmp_path / "b", guard=GUARD) as b,
        RunningNode(tmp_path / "c", guard=GUARD) as c,
    ):
        providers = [peer("a", a.url), peer("b", b.url), peer("c", c.url)]
        found = place(store, root, "set", providers, placements, options=QUICK, env={}, on_placed=seen.append)
        assert [one.provider for one in found] == ["a", "b", "c"]
        for one, node in zip(found, (a, b, c), strict=True):
            assert one.counts, one
            assert one.leaves == 8
            assert node.store.has(root)
        assert placements.of(root) == found
        again = placed(store, root, placements, providers)
        assert all(one.counts for one in again.values()), again
        assert [one.promised_us for one in again.values()] == [one.promised_us for one in found]
    assert {one.status for one in seen} >= {Status.PINNED}
    assert sorted((one.provider, one.roots, one.proven) for one in placements.tally()) == [
        ("a", 1, 1), ("b", 1, 1), ("c", 1, 1),
    ]  # fmt: skip


def test_one_that_is_down_one_that_refuses_and_one_that_keeps_it(
    store: DiskStore, root: CID, placements: Placements, tmp_path: Path
) -> None:
    with (
        RunningNode(tmp_path / "good", guard=GUARD) as good,
        RunningNode(tmp_path / "closed", guard=GUARD, token=b"s3cret") as closed,
        RunningNode(tmp_path / "small", guard=GUARD, max_bytes=1000) as small,
        MirrorServer(tmp_path / "none", lambda _path, _reply: Reply(500, {}, b"")) as failing,
    ):
        found = placed(
            store, root, placements,
            [
                peer("down", "http://127.0.0.1:9"), peer("closed", closed.url), peer("small", small.url),
                peer("failing", failing.url), peer("good", good.url),
            ],
        )  # fmt: skip
    assert {name: one.status for name, one in found.items()} == {
        "down": Status.FAILED, "closed": Status.FAILED, "small": Status.FAILED, "failing": Status.FAILED,
        "good": Status.PINNED,
    }  # fmt: skip
    assert found["good"].counts
    for name, words in (
        ("down", "cannot be reached"), ("closed", "token"), ("small", "--max-bytes"), ("failing", "answers 500"),
    ):  # fmt: skip
        assert words in found[name].message, found[name]


def test_a_token_is_in_no_state_and_no_message(
    store: DiskStore, root: CID, placements: Placements, tmp_path: Path
) -> None:
    env = {"GOOD": "s3cret-good", "WRONG": "s3cret-wrong"}
    with (
        RunningNode(tmp_path / "a", guard=GUARD, token=b"s3cret-good") as a,
        MirrorServer(tmp_path / "none") as nothing,
    ):
        providers = [
            peer("good", a.url, token_env="GOOD"), peer("wrong", a.url, token_env="WRONG"),
            peer("lost", nothing.url, token_env="GOOD"), peer("down", "http://127.0.0.1:9", token_env="GOOD"),
            Provider(name="kubo", kind="kubo", url=nothing.url, token_env="GOOD"),
            Provider(name="cluster", kind="cluster", url=nothing.url, token_env="GOOD"),
        ]  # fmt: skip
        found = place(store, root, "set", providers, placements, options=QUICK, env=env)
    assert [one.counts for one in found] == [True, False, False, False, False, False]
    assert "s3cret" not in repr(found)
    for path in (tmp_path / "repo").rglob("*"):
        assert not path.is_file() or b"s3cret" not in path.read_bytes(), path


def pinning_service(root: CID, served: bytes | None) -> object:
    """A service that says `pinned` at once; what it serves: nothing, or the same bytes for whatever is asked for."""
    about = {
        "requestid": "1", "status": "pinned", "created": "2026-11-29T00:00:00Z", "delegates": [], "info": {},
        "pin": {"cid": str(root), "name": "set", "origins": []},
    }  # fmt: skip

    def answer(path: str, _reply: Reply) -> Reply:
        if path.startswith(("pins", "/pins")):
            return Reply(
                200, {"Content-Type": "application/json"}, json.dumps({"count": 1, "results": [about]}).encode()
            )
        return Reply(404, {}, b"") if served is None else Reply(200, {}, served)

    return answer


@pytest.mark.parametrize(("served", "words"), [(None, "MISSING"), (b"wrong bytes", "WRONG_BYTES")])
def test_t24_a_service_that_says_pinned_and_serves_nothing_or_nonsense_does_not_count(
    store: DiskStore, root: CID, placements: Placements, tmp_path: Path, served: bytes | None, words: str
) -> None:
    with MirrorServer(tmp_path / "none", pinning_service(root, served)) as liar:  # type: ignore[arg-type]
        provider = Provider(name="liar", kind="pinning-service", url=liar.url, gateway=liar.url)
        one = placed(store, root, placements, [provider])["liar"]
        assert one.status is Status.PINNED
        assert (one.counts, one.failed) == (False, True)
        assert words in one.message or "TRUNCATED" in one.message or "OVERSIZE" in one.message, one
        unread = placed(store, root, placements, [provider.model_copy(update={"gateway": None})])["liar"]
    assert (unread.counts, unread.failed) == (False, False)
    assert unread.message == UNPROVEN


def test_t24_what_was_proven_and_is_lost_later_counts_no_more(
    store: DiskStore, root: CID, placements: Placements, tmp_path: Path
) -> None:
    with RunningNode(tmp_path / "a", guard=GUARD) as a:
        assert placed(store, root, placements, [peer("a", a.url)])["a"].counts
        for path in (tmp_path / "a/files").iterdir():
            path.write_bytes(b"x" * path.stat().st_size)
        later = placed(store, root, placements, [peer("a", a.url)], replace(QUICK, leaves=40))["a"]
    assert later.status is Status.PINNED
    assert not later.counts
    assert "it says pinned, but" in later.message
    assert placements.tally()[0].proven == 0


def test_a_second_call_asks_only_who_has_it_not_yet(
    store: DiskStore, root: CID, placements: Placements, tmp_path: Path
) -> None:
    with RunningNode(tmp_path / "a", guard=GUARD) as a:
        first = placed(store, root, placements, [peer("a", a.url), peer("b", "http://127.0.0.1:9")])
        assert (first["a"].counts, first["b"].status) == (True, Status.FAILED)
        with RunningNode(tmp_path / "b", guard=GUARD) as b:
            second = placed(store, root, placements, [peer("a", a.url), peer("b", b.url)])
        assert second["b"].counts
        assert second["b"].message == ""
        assert second["a"].requestid == first["a"].requestid


def test_named_origins_are_used_and_no_peer_is_run(
    store: DiskStore, root: CID, placements: Placements, tmp_path: Path
) -> None:
    with RunningNode(tmp_path / "a", guard=GUARD) as a, MirrorServer(tmp_path / "none") as nothing:
        one = placed(store, root, placements, [peer("a", a.url)], replace(QUICK, origins=(nothing.url,)))["a"]
    assert one.status is Status.FAILED
    assert nothing.requests


def test_only_kinds_that_keep_are_asked(tmp_path: Path) -> None:
    mirror = Provider(name="m", kind="mirror", url="http://127.0.0.1:9")
    kubo = Provider(name="k", kind="kubo", url="http://127.0.0.1:9")
    assert keepers_of(Roster(providers=(mirror, kubo))) == [kubo]
    with pytest.raises(ConfigError, match="nobody in the roster keeps"):
        keepers_of(Roster(providers=(mirror,)))


def test_pins_are_counted_by_provider(placements: Placements) -> None:
    rows = [
        Placed(
            f"p{number % 3}",
            "http://x",
            CID.of(RAW, number.to_bytes(4, "big")),
            "kubo",
            "",
            "",
            Status.PINNED,
            "",
            1,
            number % 2,
            8,
        )
        for number in range(3000)
    ]
    placements.note_all(rows)
    assert [(one.provider, one.roots, one.proven) for one in placements.tally()] == [
        ("p0", 1000, 500), ("p1", 1000, 500), ("p2", 1000, 500),
    ]  # fmt: skip
    assert len(placements.of(provider="p1")) == 1000
    assert placements.of(rows[7].root) == [rows[7]]
    placements.remove("p1", rows[7].root)
    assert placements.of(rows[7].root) == []


def test_a_proof_does_not_outlive_what_it_proved(
    store: DiskStore, root: CID, placements: Placements, tmp_path: Path
) -> None:
    """Asked anew, an old proof counts no more, at once; and it is of the host that it was of."""
    with RunningNode(tmp_path / "a", guard=GUARD) as a:
        provider = peer("a", a.url)
        assert placed(store, root, placements, [provider])["a"].counts
        during = list[Placed]()
        place(store, root, "set", [provider], placements, options=QUICK, env={}, on_placed=during.append)
        assert not during[0].counts, "before anything was read back"
        assert during[-1].counts
    down = placed(store, root, placements, [provider])["a"]
    assert (down.status, down.proven_us, down.leaves) == (Status.FAILED, 0, 0)
    assert placements.tally() == [Tally("a", Status.FAILED, 1, 0)]
    with RunningNode(tmp_path / "b", guard=GUARD) as b:
        other = placed(store, root, placements, [peer("a", b.url)])["a"]
    assert other.promised_us != down.promised_us, "another host under the same name promised nothing before"


def test_t24_who_fetches_from_us_when_it_is_asked_has_nothing(
    store: DiskStore, root: CID, placements: Placements, tmp_path: Path
) -> None:
    """A service that says `pinned`, keeps nothing, and hands on what it gets from our own gateway."""
    asked_at: list[str] = []
    about = {
        "requestid": "1", "status": "pinned", "created": "2026-11-29T00:00:00Z", "delegates": [], "info": {},
        "pin": {"cid": str(root), "name": "set"},
    }  # fmt: skip

    def proxy(path: str, _reply: Reply) -> Reply:
        if "pins" in path:
            known = {"count": 1, "results": [about]} if server.posted else {"count": 0, "results": []}
            return Reply(200, {}, json.dumps(about if path.endswith("/1") else {**known, **about}).encode())
        for url in json.loads(server.posted[0])["origins"]:
            if url.startswith("http"):
                asked_at.append(url)
                with suppress(OSError), urllib.request.urlopen(f"{url}/{path}?format=raw", timeout=5) as answer:
                    return Reply(200, {}, answer.read())
        return Reply(404, {}, b"")

    with MirrorServer(tmp_path / "none", proxy) as server:
        provider = Provider(name="proxy", kind="pinning-service", url=server.url, gateway=server.url)
        one = placed(store, root, placements, [provider])["proxy"]
    assert asked_at, "it was told of our gateway, and asked it"
    assert (one.status, one.counts) == (Status.PINNED, False), one


def test_the_repository_serves_while_a_peer_of_it_runs(root: CID, placements: Placements, tmp_path: Path) -> None:
    with RunningNode(tmp_path / "repo") as mine, RunningNode(tmp_path / "a", guard=GUARD) as a:
        assert placed(mine.store, root, placements, [peer("a", a.url)])["a"].counts


def test_pins_of_the_repository_itself_are_left_alone(
    store: DiskStore, root: CID, placements: Placements, tmp_path: Path
) -> None:
    record = PinRecords(store.catalog).add(CID.of(RAW, b"elsewhere"), "later", (), {})
    assert record is not None
    with RunningNode(tmp_path / "a", guard=GUARD) as a:
        placed(store, root, placements, [peer("a", a.url)])
    now = PinRecords(store.catalog).get(record.requestid)
    assert now is not None
    assert now.status is Status.QUEUED


def test_an_interrupt_ends_it_soon(store: DiskStore, root: CID, placements: Placements, tmp_path: Path) -> None:
    """A service that stays `queued` for ever; the user stops waiting for it."""
    about = {"requestid": "1", "status": "queued", "created": "2026-11-29T00:00:00Z", "delegates": [], "info": {}}
    answer = json.dumps({**about, "pin": {"cid": str(root), "name": "", "origins": []}}).encode()
    asked = threading.Event()

    def queued(path: str, reply: Reply) -> Reply:
        if path.rstrip("/").endswith("pins/1"):
            asked.set()
            return Reply(200, {}, answer)
        return Reply(200, {}, b'{"count": 0, "results": []}' if reply.status == 404 else answer)

    def interrupt(one: Placed) -> None:
        if one.status is Status.FAILED:
            raise KeyboardInterrupt

    with MirrorServer(tmp_path / "none", queued) as slow:
        providers = [Provider(name="slow", kind="pinning-service", url=slow.url), peer("down", "http://127.0.0.1:9")]
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            place(
                store, root, "set", providers, placements, options=replace(QUICK, wait_s=600), env={},
                on_placed=interrupt,
            )  # fmt: skip
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense", b"[]", b'{"results": 1}', b'{"results": [1]}', b'{"count": 1, "results": [{}]}',
        b'{"results": [{"requestid": "\\ud800", "status": "pinned", "created": "2026-11-29T00:00:00Z", "pin": {}}]}',
    ],
)  # fmt: skip
def test_nonsense_of_one_is_its_own_failure(
    store: DiskStore, root: CID, placements: Placements, tmp_path: Path, answer: bytes
) -> None:
    with (
        MirrorServer(tmp_path / "none", lambda _path, _reply: Reply(200, {}, answer)) as odd,
        RunningNode(tmp_path / "a", guard=GUARD) as a,
    ):
        odd_one = Provider(name="odd", kind="pinning-service", url=odd.url)
        found = placed(store, root, placements, [odd_one, peer("a", a.url)])
    assert found["a"].counts
    assert found["odd"].status is Status.FAILED
    assert "bug" not in found["odd"].message


def test_a_service_that_passes_over_the_filter_is_not_believed(
    store: DiskStore, root: CID, placements: Placements, tmp_path: Path
) -> None:
    other = CID.of(RAW, b"another pin")
    with MirrorServer(tmp_path / "none", pinning_service(other, None)) as careless:  # type: ignore[arg-type]
        provider = Provider(name="careless", kind="pinning-service", url=careless.url)
        one = placed(store, root, placements, [provider])["careless"]
    assert not one.kept, one


def test_what_is_not_here_can_be_asked_for_and_is_not_proven(placements: Placements, tmp_path: Path) -> None:
    with (
        RunningNode(tmp_path / "origin") as origin,
        RunningNode(tmp_path / "a", guard=GUARD) as a,
        DiskStore(tmp_path / "empty").open() as empty,
    ):
        root = publish_folder(origin.store, tmp_path / "files", {"x": b"x" * 30_000})
        one = placed(empty, root, placements, [peer("a", a.url)], replace(QUICK, origins=(origin.url,)))["a"]
    assert (one.status, one.counts, one.message) == (Status.PINNED, False, NOTHING_HERE)
