"""The demo's parts: the proxy lies only when told to, a peer that cannot start says why, PATH is checked."""

from pathlib import Path

import pytest

from holdfast.configs.errors import ConfigError, HoldfastError
from holdfast.demo.corpus import corpus
from holdfast.demo.peers import PeerProcess
from holdfast.demo.proxy import LyingProxy
from holdfast.storage.sources.http import Endpoint, HttpClient
from holdfast.storage.sources.transfer import Transfer
from support.mirror_server import MirrorServer


def _read(url: str) -> bytes:
    client = HttpClient(Endpoint(url))
    try:
        with client.get("/x", Transfer()) as answer:
            return answer.read(100_000)
    finally:
        client.close()


def test_the_proxy_is_honest_until_it_lies(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"a" * 50_000)
    with MirrorServer(tmp_path) as server:
        proxy = LyingProxy(server.url)
        url = proxy.start()
        assert _read(url) == b"a" * 50_000
        proxy.lie()
        lie = _read(url)
        proxy.stop()
    assert len(lie) == 50_000
    assert lie != b"a" * 50_000


def test_a_peer_is_killed_and_comes_back_on_its_port(tmp_path: Path) -> None:
    peer = PeerProcess("alice", tmp_path / "alice")
    first = peer.start()
    peer.kill()
    assert peer.start() == first
    assert peer.stop() == 0


def test_a_peer_that_cannot_start_says_where_to_look(tmp_path: Path) -> None:
    peer = PeerProcess("alice", tmp_path / "alice", url="http://127.0.0.1:99999")
    with pytest.raises(HoldfastError, match="alice did not start"):
        peer.start()


def test_a_path_that_is_no_folder_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a folder"):
        corpus(tmp_path / "nothing", tmp_path)
