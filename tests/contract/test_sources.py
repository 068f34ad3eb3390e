"""Every source keeps the contract of `Source`: a real peer, a trustless gateway, static hosts, a local repository."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from contract.source import FILES, HttpSourceContract, SourceContract, parts, read, ref

from holdfast.pipeline.pieces.pack import pack
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.cid import CID
from holdfast.storage.errors import MissingError, SlowError
from holdfast.storage.sources.gateway import Gateway
from holdfast.storage.sources.http import Endpoint
from holdfast.storage.sources.local import Local
from holdfast.storage.sources.mirror import Mirror
from holdfast.storage.sources.piece import PieceSource
from holdfast.storage.sources.probe import Probed
from holdfast.storage.sources.source import Source
from holdfast.storage.sources.transfer import Transfer
from support.mirror_server import MirrorServer, Reply
from support.running_node import RunningNode, publish_folder
from support.trees import LEAF, mirror_folder


class TrustlessServer(MirrorServer):
    """A gateway that answers `?format=raw` alone: 406 for plain files. `folder` is a mirror."""

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        cid = parts.path.removeprefix("/ipfs/")
        self.requests.append(handler.path)
        self.connections.add(handler.client_address)
        if "format=raw" not in parts.query:
            self._send(handler, Reply(406, {}, b"trustless only"))
            return
        body = b"" if cid == "bafkqaaa" else self._blocks().get(cid)
        self._send(handler, Reply(404, {}, b"") if body is None else Reply(200, {}, body))

    def _blocks(self) -> dict[str, bytes]:
        found = {path.name: path.read_bytes() for path in (self.folder / ".holdfast/blocks").iterdir()}
        for data in FILES.values():
            for at in range(0, max(len(data), 1), LEAF):
                found[str(CID.of(0x55, data[at : at + LEAF]))] = data[at : at + LEAF]
        return found


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The same tree behind every kind of server."""
    place = tmp_path_factory.mktemp("world")
    with ExitStack() as stack:
        root = mirror_folder(place / "mirror", FILES)
        peer = stack.enter_context(RunningNode(place / "repo"))
        assert publish_folder(peer.store, place / "src", FILES) == root
        mirror = stack.enter_context(MirrorServer(place / "mirror"))
        plain = stack.enter_context(MirrorServer(place / "mirror", ranges=False))
        trustless = stack.enter_context(TrustlessServer(place / "mirror"))
        yield SimpleNamespace(root=root, peer=peer, mirror=mirror, plain=plain, trustless=trustless, place=place)


@pytest.fixture
def root(world: Any) -> CID:
    return world.root


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as taken:  # bound, so that nobody else gets it, and not listening
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def hanging(tmp_path: Path) -> Iterator[Callable[[], tuple[str, threading.Event]]]:
    with ExitStack() as stack:

        def start() -> tuple[str, threading.Event]:
            asked = threading.Event()

            def script(_: str, reply: Reply) -> Reply:
                asked.set()
                reply.pause_s = 60
                return reply

            return stack.enter_context(MirrorServer(tmp_path, script)).url, asked

        yield start


class TestGatewayOverAPeer(HttpSourceContract):
    def make(self, url: str) -> Source:
        return Gateway("g", Endpoint(url))

    @pytest.fixture
    def source(self, world: Any) -> Iterator[Source]:
        source = self.make(world.peer.url)
        yield source
        source.close()


class TestGatewayTrustlessOnly(TestGatewayOverAPeer):
    @pytest.fixture
    def source(self, world: Any) -> Iterator[Source]:
        source = self.make(world.trustless.url)
        yield source
        source.close()


class TestMirror(HttpSourceContract):
    def make(self, url: str) -> Source:
        return Mirror("m", Endpoint(url))

    @pytest.fixture
    def source(self, world: Any) -> Iterator[Source]:
        source = self.make(world.mirror.url)
        yield source
        source.close()


class TestMirrorThatIgnoresRange(TestMirror):
    @pytest.fixture
    def source(self, world: Any) -> Iterator[Source]:
        source = self.make(world.plain.url)
        yield source
        source.close()


class TestMirrorOfABucketWithOtherNames(TestMirror):
    """`path_prefix` before every path, `path_map` for single files."""

    @pytest.fixture
    def source(self, world: Any, tmp_path: Path) -> Iterator[Source]:
        bucket = tmp_path / "bucket" / "corpora" / "mini v1"
        (bucket / "data").mkdir(parents=True)
        (bucket / ".holdfast").symlink_to(world.place / "mirror/.holdfast")
        moved = {"data/many.bin": "elsewhere/m 1.bin"}
        for path in FILES:
            target = bucket / moved.get(path, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(FILES[path])
        with MirrorServer(tmp_path / "bucket") as server:
            source = Mirror("m", Endpoint(server.url), prefix="corpora/mini v1/", path_map=moved)
            yield source
            source.close()
            assert all(request.startswith("corpora/mini v1/") for request in server.requests)


class TestPieces(HttpSourceContract):
    """A storage provider that serves pieces by Range; a manifest says where the blocks lie in them."""

    ranges = True

    @pytest.fixture(autouse=True)
    def _pieces(self, world: Any, tmp_path: Path) -> Iterator[None]:
        self.manifest = pack(world.peer.store, world.root, cars=tmp_path / "cars", max_piece_bytes=5 * LEAF)
        (tmp_path / "sp/piece").mkdir(parents=True)
        for piece in self.manifest.pieces:
            (tmp_path / f"cars/{piece.cid}.car").rename(tmp_path / f"sp/piece/{piece.cid}")
        with MirrorServer(tmp_path / "sp", ranges=self.ranges) as self.server:
            yield

    def make(self, url: str) -> Source:
        return PieceSource("sp", Endpoint(url), self.manifest)

    @pytest.fixture
    def source(self) -> Iterator[Source]:
        source = self.make(self.server.url)
        yield source
        source.close()

    def test_leaves_that_lie_together_are_one_request(self, source: Source, root: CID) -> None:
        assert read(source, ref(root, "data/many.bin")) == parts("data/many.bin")
        assert len(set(self.server.requests)) > 1, "they lie in several pieces"
        assert len(self.server.requests) <= len(set(self.server.requests)) + 1

    def test_a_piece_that_the_provider_lost_is_missing(self, root: CID, tmp_path: Path) -> None:
        with MirrorServer(tmp_path / "nothing") as empty, closing(self.make(empty.url)) as source:
            with pytest.raises(MissingError):
                read(source, ref(root, "data/many.bin"))


class TestPiecesWithoutRange(TestPieces):
    ranges = False


class TestProbedPeer(HttpSourceContract):
    def make(self, url: str) -> Source:
        return Probed(url, Endpoint(url))

    @pytest.fixture
    def source(self, world: Any) -> Iterator[Source]:
        source = self.make(world.peer.url)
        yield source
        source.close()


class TestProbedTrustlessOnly(TestProbedPeer):
    @pytest.fixture
    def source(self, world: Any) -> Iterator[Source]:
        source = self.make(world.trustless.url)
        yield source
        source.close()


class TestProbedMirror(TestProbedPeer):
    @pytest.fixture
    def source(self, world: Any) -> Iterator[Source]:
        source = self.make(world.mirror.url)
        yield source
        source.close()


class TestLocal(SourceContract):
    @pytest.fixture
    def source(self, world: Any) -> Source:
        return Local(world.peer.store)

    def test_a_changed_file_is_missing_and_never_sent(self, tmp_path: Path) -> None:
        with DiskStore(tmp_path / "repo").open() as store:
            root = publish_folder(store, tmp_path / "src", FILES)
            path = tmp_path / "src/data/many.bin"
            path.write_bytes(b"X" + path.read_bytes()[1:])
            seen: list[int] = []
            with pytest.raises(MissingError, match=r"many\.bin"):
                Local(store).fetch_leaves(
                    ref(root, "data/many.bin"), 0, 3, Transfer(), lambda leaf, _: seen.append(leaf) is None
                )
            assert seen == []
            assert read(Local(store), ref(root, "data/many.bin"), 1) == parts("data/many.bin")[1:]

    def test_cancelling_between_two_leaves_ends_it(self, world: Any, root: CID) -> None:
        transfer, seen = Transfer(), []

        def on_leaf(leaf: int, _: memoryview) -> bool:
            seen.append(leaf)
            thread = threading.Thread(target=transfer.cancel, args=(SlowError("enough"),))
            thread.start()
            thread.join()
            return True

        with pytest.raises(SlowError, match="enough"):
            Local(world.peer.store).fetch_leaves(ref(root, "data/many.bin"), 0, 11, transfer, on_leaf)
        assert seen == [0]


@pytest.mark.parametrize("kind", ["mirror", "trustless", "probed mirror", "probed trustless"])
def test_one_connection_carries_many_requests(world: Any, root: CID, kind: str) -> None:
    server = world.mirror if kind.endswith("mirror") else world.trustless
    plain: type[Mirror | Gateway] = Mirror if kind.endswith("mirror") else Gateway
    source = Probed("p", Endpoint(server.url)) if kind.startswith("probed") else plain("p", Endpoint(server.url))
    server.connections.clear()
    before = len(server.requests)
    for leaf in range(10):
        assert read(source, ref(root, "data/many.bin"), leaf, leaf + 1) == [parts("data/many.bin")[leaf]]
    source.fetch_block(root, root, Transfer())
    source.close()
    assert len(server.requests) - before >= 11
    assert len(server.connections) <= 1 + 2 * kind.startswith("probed"), "two to ask what it is, one for all the rest"


def test_a_gateway_that_refuses_files_is_asked_for_one_only_once(world: Any, root: CID) -> None:
    source = Gateway("g", Endpoint(world.trustless.url))
    world.trustless.requests.clear()
    for _ in range(3):
        assert read(source, ref(root, "data/many.bin")) == parts("data/many.bin")
    assert sum("format=raw" not in request for request in world.trustless.requests) == 1
    source.close()


def test_a_url_that_is_neither_gateway_nor_mirror_says_so_and_may_become_one(world: Any, tmp_path: Path) -> None:
    with MirrorServer(tmp_path / "later") as server:
        source = Probed(server.url, Endpoint(server.url))
        with pytest.raises(MissingError, match="neither a gateway nor a mirror"):
            source.fetch_block(world.root, world.root, Transfer())
        mirror_folder(tmp_path / "later", FILES)
        assert world.root.matches(source.fetch_block(world.root, world.root, Transfer()))
        source.close()
