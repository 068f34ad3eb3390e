"""The demo's parts: a peer that cannot start says why, PATH is checked."""

import resource
from contextlib import ExitStack
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


def test_a_peer_comes_back_beside_a_trainer_that_has_many_files_open(tmp_path: Path) -> None:
    """With 321 shards the trainer had more than 1,024 descriptors, which is more than select() takes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
        while stack.enter_context((tmp_path / "file").open("wb")).fileno() < 1100:
            pass
        peer = PeerProcess("alice", tmp_path / "alice")
        assert peer.start().startswith("http://127.0.0.1:")
        assert peer.stop() == 0


def test_a_peer_that_cannot_start_says_where_to_look(tmp_path: Path) -> None:
    peer = PeerProcess("alice", tmp_path / "alice", url="http://127.0.0.1:99999")
    with pytest.raises(HoldfastError, match="alice did not start"):
        peer.start()


def test_a_path_that_is_no_folder_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a folder"):
        corpus(tmp_path / "nothing", tmp_path)
