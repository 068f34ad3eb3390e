"""The demo's parts: a peer that cannot start says why, PATH is checked."""

from pathlib import Path

import pytest

from holdfast.configs.errors import ConfigError, HoldfastError
from holdfast.demo.corpus import corpus
from holdfast.demo.peers import PeerProcess


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
