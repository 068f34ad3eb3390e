"""Each provider is asked itself; what it does is its verdict; the draw can be repeated."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.configs.errors import ConfigError
from holdfast.configs.roster import Roster
from holdfast.pipeline.audit.audit import AuditResult, audit
from holdfast.pipeline.audit.provider import SILENT
from holdfast.storage.cid import CID, DAG_PB, RAW
from holdfast.storage.dag import dagpb, unixfs
from holdfast.storage.dag.dagpb import PBLink, PBNode
from holdfast.storage.dag.unixfs import NodeType, UnixFSNode
from support.mirror_server import MirrorServer, Reply
from support.published import publish_mirror
from support.running_node import RunningNode, publish_folder

KIB = 1 << 10


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("audit")
    for number in range(6):
        path = folder / f"src/t{number}.bin"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes([number]) * 100 * KIB + bytes(str(number), "ascii") * 100 * KIB)
    return folder, publish_mirror(folder, folder / "src", format="tokens", dtype="uint16", leaf_size=16 * KIB)


@pytest.fixture
def honest(place: tuple[Path, str]) -> Iterator[MirrorServer]:
    with MirrorServer(place[0] / "mirror") as server:
        yield server


def verdicts(found: AuditResult) -> dict[str, str]:
    return {provider.name: provider.verdict for provider in found.providers}


def test_honest_providers_of_every_kind_pass(place: tuple[Path, str], honest: MirrorServer) -> None:
    with RunningNode(place[0] / "repo") as node:
        found = audit(place[1], sources=[honest.url, node.url], samples=30, seed="00ff")
    assert found.ok
    assert verdicts(found) == {honest.url: "OK", node.url: "OK"}
    for provider in found.providers:
        assert provider.verdicts == {"OK": 30}
        assert provider.bytes >= 30 * KIB
        assert provider.loss_at_most == pytest.approx(1 - 0.01 ** (1 / 30))
    assert (found.seed, found.samples) == ("00ff", 30)


def test_each_is_asked_itself_and_for_the_same(place: tuple[Path, str]) -> None:
    with MirrorServer(place[0] / "mirror") as one, MirrorServer(place[0] / "mirror") as two:
        audit(place[1], sources=[one.url, two.url], samples=20, seed="aa")
        ranges = [
            sorted(h["Range"] for h in server.headers_seen if "Range" in h and "data/" in p)
            for server in (one, two)
            for p in ["data/"]
        ]
        paths = [sorted(p for p in server.requests if p.startswith("data/")) for server in (one, two)]
        assert len(paths[0]) == 20
        assert paths[0] == paths[1]
        assert ranges[0]
        assert ranges[0] == ranges[1]


def faulty(kind: str):  # type: ignore[no-untyped-def]
    def script(path: str, reply: Reply) -> Reply | None:
        if not path.startswith("data/"):
            return None
        match kind:
            case "WRONG_BYTES":
                reply.body = bytes([reply.body[0] ^ 1]) + reply.body[1:]
            case "TRUNCATED":
                reply.cut = len(reply.body) // 2
            case "MISSING":
                return Reply(404, {}, b"")
            case "WITHHELD":
                return Reply(451, {}, b"")
            case "UNREACHABLE":
                return Reply(503, {}, b"")
            case "SLOW":
                reply.drip_s = 0.05
        return reply

    return script


@pytest.mark.parametrize("kind", ["WRONG_BYTES", "TRUNCATED", "MISSING", "WITHHELD", "UNREACHABLE", "SLOW"])
def test_what_a_provider_does_is_its_verdict(place: tuple[Path, str], honest: MirrorServer, kind: str) -> None:
    samples = 1 if kind == "SLOW" else 8
    with MirrorServer(place[0] / "mirror", script=faulty(kind)) as bad:
        found = audit(
            place[1],
            sources=[honest.url, bad.url],
            samples=samples,
            seed="01",
            deadline_s=0.5 if kind == "SLOW" else 20,
        )
    assert not found.ok
    assert verdicts(found) == {honest.url: "OK", bad.url: kind}
    (failed,) = [provider for provider in found.providers if provider.name == bad.url]
    assert failed.failed == samples
    assert failed.loss_at_most == 1.0
    assert "of data/t" in failed.first_failure


def test_a_provider_that_lost_one_shard_is_found_out(place: tuple[Path, str], honest: MirrorServer) -> None:
    def lost(path: str, _: Reply) -> Reply | None:
        return Reply(404, {}, b"") if path == "data/t3.bin" else None

    with MirrorServer(place[0] / "mirror", script=lost) as bad:
        found = audit(place[1], sources=[honest.url, bad.url], samples=60, seed="02")
    (failed,) = [provider for provider in found.providers if provider.name == bad.url]
    assert 0 < failed.failed < 60
    assert failed.verdicts["MISSING"] == failed.failed
    assert 1 / 6 < failed.loss_at_most < 0.6


def test_a_passing_failure_of_the_road_is_asked_again(place: tuple[Path, str]) -> None:
    seen: set[str] = set()

    def once(path: str, _: Reply) -> Reply | None:
        if path.startswith("data/") and path not in seen:
            seen.add(path)
            return Reply(503, {}, b"")
        return None

    with MirrorServer(place[0] / "mirror", script=once) as server:
        assert audit(place[1], sources=[server.url], samples=5, seed="03").ok


def test_input_that_is_wrong_is_said(place: tuple[Path, str], honest: MirrorServer) -> None:
    with pytest.raises(ConfigError, match="not hex"):
        audit(place[1], sources=[honest.url], seed="xyz")
    with pytest.raises(ConfigError, match="0 samples"):
        audit(place[1], sources=[honest.url], samples=0)


def test_a_roster_names_its_providers(place: tuple[Path, str], honest: MirrorServer) -> None:
    roster = Roster.parse(f'[[provider]]\nname = "alice"\nkind = "mirror"\nurl = "{honest.url}"\n', "roster")
    assert verdicts(audit(place[1], sources=roster, samples=3)) == {"alice": "OK"}


# -- silent providers


def hangs(path: str, reply: Reply) -> Reply:
    reply.pause_s = 60.0 if path.startswith("data/") else 0.0
    return reply


def test_a_silent_provider_is_given_up_and_holds_up_no_other(place: tuple[Path, str], honest: MirrorServer) -> None:
    seen: list[tuple[int, int]] = []
    at: list[float] = []

    def note(done: int, total: int) -> None:
        seen.append((done, total))
        at.append(time.monotonic())

    with MirrorServer(place[0] / "mirror", script=hangs) as silent:
        started = time.monotonic()
        found = audit(
            place[1], sources=[silent.url, honest.url], samples=300, seed="05", deadline_s=0.3, on_progress=note
        )
        took_s = time.monotonic() - started
    assert verdicts(found) == {honest.url: "OK", silent.url: "SLOW"}
    lost, good = found.providers
    assert (lost.samples, lost.failed, lost.verdicts, lost.loss_at_most) == (300, 300, {"SLOW": 300}, 1.0)
    assert lost.gave_up_after is not None
    assert SILENT <= lost.gave_up_after < SILENT + 4
    assert good.verdicts == {"OK": 300}
    assert good.gave_up_after is None
    assert took_s < 8, "300 samples, each of three tries of 0.3 s, would be more than a minute"
    assert seen[-1] == (600, 600)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert len([when for when in at if when - started < 0.7]) > 100, "the honest one waits for nobody"


def test_single_silences_are_no_reason_to_give_up(place: tuple[Path, str]) -> None:
    def lost(path: str, _: Reply) -> Reply | None:
        return Reply(503, {}, b"") if path == "data/t3.bin" else None

    with MirrorServer(place[0] / "mirror", script=lost) as server:
        (found,) = audit(place[1], sources=[server.url], samples=60, seed="02").providers
    assert found.gave_up_after is None
    assert 0 < found.verdicts["UNREACHABLE"] < 60


def test_many_samples_take_little_memory(place: tuple[Path, str]) -> None:
    with MirrorServer(
        place[0] / "mirror", script=lambda path, _: Reply(503, {}, b"") if "data/" in path else None
    ) as bad:
        tracemalloc.start()
        try:
            (found,) = audit(place[1], sources=[bad.url], samples=200_000, seed="02").providers
            assert tracemalloc.get_traced_memory()[1] < 20 << 20
        finally:
            tracemalloc.stop()
    assert (found.failed, found.verdicts) == (200_000, {"UNREACHABLE": 200_000})


# -- a file as the thing to audit


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[RunningNode]:
    with RunningNode(tmp_path / "peer") as node:
        yield node


FILES = {"data/large.bin": bytes(range(256)) * 700, "data/small": b"one leaf", "data/empty": b"", "void/empty": b""}


@pytest.mark.parametrize("path", ["data/large.bin", "data/small"])
@pytest.mark.parametrize("by", ["path", "its own CID"])
def test_a_file_can_be_audited(tmp_path: Path, peer: RunningNode, path: str, by: str) -> None:
    root = publish_folder(peer.store, tmp_path / "src", FILES)
    cid = peer.ask("HEAD", f"/ipfs/{root}/{path}").headers["X-Ipfs-Roots"].split(",")[-1]
    found = audit(f"ipfs://{root}/{path}" if by == "path" else f"ipfs://{cid}", sources=[peer.url], samples=20)
    assert found.ok
    assert found.files == 1
    assert len(FILES[path]) <= found.total_bytes < len(FILES[path]) + 1000
    assert found.providers[0].verdicts == {"OK": 20}


@pytest.mark.parametrize("path", ["/void", "/void/empty", "its own CID"])
def test_what_has_no_byte_is_said_in_one_sentence(tmp_path: Path, peer: RunningNode, path: str) -> None:
    root = str(publish_folder(peer.store, tmp_path / "src", FILES))
    uri = f"ipfs://{root}{path}" if path.startswith("/") else f"ipfs://{CID.of(RAW, b'')}"
    with pytest.raises(ConfigError, match="nothing to audit"):
        audit(uri, sources=[peer.url], samples=20)


@pytest.mark.parametrize("name", ["large.bin", "small"])
def test_links_without_sizes_are_followed_for_them(tmp_path: Path, peer: RunningNode, name: str) -> None:
    whole = publish_folder(peer.store, tmp_path / "src", FILES)
    cid = CID.parse(peer.ask("HEAD", f"/ipfs/{whole}/data/{name}").headers["X-Ipfs-Roots"].split(",")[-1])
    empty = CID.of(RAW, b"")
    links = (PBLink(empty, "empty", None), PBLink(cid, name, None))
    data = dagpb.encode(PBNode(links, unixfs.encode(UnixFSNode(NodeType.DIRECTORY))))
    root = peer.store.put(CID.of(DAG_PB, data), data).cid
    for uri in (f"ipfs://{root}", f"ipfs://{root}/{name}"):
        found = audit(uri, sources=[peer.url], samples=5)
        assert found.ok
        assert (found.files, found.total_bytes) == (1, len(FILES[f"data/{name}"]))
