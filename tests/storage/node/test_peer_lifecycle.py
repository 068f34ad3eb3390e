"""A peer that starts, is killed, stopped and started again, with pins under way."""

import json
import random
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.cid import CID
from holdfast.storage.errors import ConfigError
from holdfast.storage.fetch.policy import FetchPolicy
from support.mirror_server import MirrorServer, Reply
from support.pin_origin import FILES, LOOPBACK
from support.running_node import RunningNode, ask, publish_folder, settled
from support.trees import LEAF, mirror_folder


def test_a_port_in_use_and_a_repository_in_use_are_sentences(tmp_path: Path) -> None:
    with RunningNode(tmp_path / "one") as node:
        with pytest.raises(ConfigError, match="in use"), RunningNode(tmp_path / "two", port=node.node.port):
            pass
        with pytest.raises(ConfigError, match="another peer"), RunningNode(tmp_path / "one"):
            pass
        with RunningNode(tmp_path / "two") as other:
            assert other.node.peer_id != node.node.peer_id
    with RunningNode(tmp_path / "one") as again:
        assert again.node.peer_id == node.node.peer_id


def _serve(repo: Path) -> tuple["subprocess.Popen[str]", dict[str, object]]:
    code = (
        "import sys; from pathlib import Path; from holdfast.cli.serve import run_serve;"
        "run_serve(Path(sys.argv[1]), '127.0.0.1:0', allow_net=['127.0.0.0/8'], as_json=True)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(repo)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    return process, json.loads(process.stdout.readline())


def test_a_killed_peer_goes_on_with_its_pins_and_sigterm_stops_it(tmp_path: Path, origin: tuple[Path, CID]) -> None:
    folder, root = origin
    held = threading.Event()

    def hold(path: str, reply: Reply) -> Reply:
        if not held.is_set() and reply.status == 206 and path == "data/a.bin" and len(reply.body) > LEAF:
            reply.cut, reply.drip_s = len(reply.body), 0.0
            reply.pause_s = 0.2
        return reply

    with MirrorServer(folder, hold) as mirror:
        process, about = _serve(tmp_path / "repo")
        try:
            url = str(about["url"])
            assert set(about) == {"url", "peer_id", "pid"}
            assert about["pid"] == process.pid
            answer = ask(url, "POST", "/pins", body={"cid": str(root), "origins": [mirror.url]})
            requestid = str(answer.json()["requestid"])
            limit = time.monotonic() + 10
            while "data/a.bin" not in mirror.requests:
                assert time.monotonic() < limit
                time.sleep(0.005)
        finally:
            process.kill()
            process.communicate()
        with DiskStore(tmp_path / "repo").open() as store:
            assert store.catalog.rows("SELECT status FROM pins") == [("pinning",)]
        held.set()
        process, about = _serve(tmp_path / "repo")
        try:
            pin = settled(str(about["url"]), requestid)
            assert pin["status"] == "pinned", pin
            assert ask(str(about["url"]), "GET", f"/ipfs/{root}/data/a.bin").body == FILES["data/a.bin"]
        finally:
            started = time.monotonic()
            process.terminate()
            out, err = process.communicate(timeout=10)
    assert time.monotonic() - started < 5
    assert process.returncode == 0, err
    assert out == ""
    assert "Traceback" not in err
    assert "stopped" in err


def test_sigterm_stops_within_5_s_while_clients_and_pins_hang(tmp_path: Path, origin: tuple[Path, CID]) -> None:
    folder, root = origin
    with DiskStore(tmp_path / "repo").open() as store:
        big = publish_folder(store, tmp_path / "src", {"big": bytes(64 << 20)}, 1 << 20)

    def hang(path: str, reply: Reply) -> Reply:
        reply.pause_s = 30.0 if path.startswith("data") else 0.0
        return reply

    with MirrorServer(folder, hang) as mirror:
        process, about = _serve(tmp_path / "repo")
        try:
            url = str(about["url"])
            ask(url, "POST", "/pins", body={"cid": str(root), "origins": [mirror.url]})
            reader = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])))
            reader.sendall(f"GET /ipfs/{big}/big HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert reader.recv(100).startswith(b"HTTP/1.1 200")
            limit = time.monotonic() + 10
            while not any(path.startswith("data") for path in mirror.requests):
                assert time.monotonic() < limit
                time.sleep(0.01)
        finally:
            started = time.monotonic()
            process.terminate()
            _, err = process.communicate(timeout=15)
        took_s = time.monotonic() - started
        reader.close()
    assert took_s < 5
    assert (process.returncode, "Traceback" in err) == (0, False), err


def test_a_restart_fetches_only_what_is_missing(tmp_path: Path) -> None:
    data = random.Random(9).randbytes(256 * LEAF)
    root = mirror_folder(tmp_path / "origin", {"data/big.bin": data, "z": b"last"})
    sent = [0]
    slow = threading.Event()
    slow.set()

    def count(path: str, reply: Reply) -> Reply:
        if path == "data/big.bin":
            if slow.is_set() and sent[0] > len(data) // 2:
                reply.pause_s = 30
            else:
                sent[0] += len(reply.body)
        return reply

    with MirrorServer(tmp_path / "origin", count) as mirror:
        policy = FetchPolicy(run_bytes=16 * LEAF, threads=2)
        with RunningNode(tmp_path / "repo", guard=LOOPBACK, policy=policy) as node:
            requestid = node.pin(root, mirror.url)
            limit = time.monotonic() + 10
            while sent[0] <= len(data) // 2:
                assert time.monotonic() < limit
                time.sleep(0.01)
            time.sleep(0.2)
        slow.clear()
        before, sent[0] = sent[0], 0
        with RunningNode(tmp_path / "repo", guard=LOOPBACK, policy=policy) as node:
            assert node.settled(requestid)["status"] == "pinned"
            assert node.get(f"/ipfs/{root}/data/big.bin").body == data
    assert sent[0] <= len(data) - before + 64 * LEAF
