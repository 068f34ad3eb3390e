"""Pins: fetched from real origins over real sockets, verified, bounded, and cancelled."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from holdfast.storage.cid import CID, RAW
from holdfast.storage.sources.http import Endpoint
from holdfast.storage.sources.mirror import Mirror
from holdfast.storage.sources.netguard import NetGuard
from support import full_disk
from support.mirror_server import MirrorServer, Reply
from support.pin_origin import FILES, LOOPBACK, QUICK, TOTAL
from support.running_node import RunningNode
from support.trees import mirror_folder


class Canary:
    """Counts who connects."""

    def __enter__(self) -> "Canary":
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(0.05)
        self.connections, self._ended = 0, False
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        return self

    def _accept(self) -> None:
        while not self._ended:
            try:
                self._socket.accept()[0].close()
                self.connections += 1
            except TimeoutError:
                continue

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._thread.join()
        self._socket.close()


def _left(folder: Path) -> set[str]:
    return {path.name for path in (folder / "files").iterdir()}


@pytest.mark.parametrize("multiaddr", [False, True])
def test_a_pinned_dataset_is_served_without_its_origin(
    tmp_path: Path, origin: tuple[Path, CID], multiaddr: bool
) -> None:
    folder, root = origin
    with RunningNode(tmp_path / "repo", guard=LOOPBACK) as node:
        with MirrorServer(folder) as mirror:
            address = f"/ip4/127.0.0.1/tcp/{mirror.url.rpartition(':')[2]}/http" if multiaddr else mirror.url
            pin = node.settled(node.pin(root, "/ip4/1.2.3.4/tcp/4001/p2p/12D3KooW", address, name="set"))
        assert pin["status"] == "pinned"
        assert pin["info"] == {"bytes": str(TOTAL), "total_bytes": str(TOTAL)}
        assert pin["pin"]["cid"] == str(root)
        assert pin["pin"]["name"] == "set"
        assert pin["delegates"] == [f"/ip4/127.0.0.1/tcp/{node.node.port}/http"]
        for path, data in FILES.items():
            assert node.get(f"/ipfs/{root}/{path.replace(' ', '%20')}").body == data
        names = _left(tmp_path / "repo")
        assert not any(".part" in name for name in names)
        assert len(names) == len(set(FILES.values()))
        file = node.store.open_file(_cid_of(node, root, "data/a.bin"))
        assert file is not None  # so that it goes out by sendfile
        file.close()


def _cid_of(node: RunningNode, root: CID, path: str) -> CID:
    return CID.parse(node.ask("HEAD", f"/ipfs/{root}/{path}").headers["X-Ipfs-Roots"].split(",")[-1])


def test_wrong_bytes_of_one_origin_are_healed_by_another(tmp_path: Path, origin: tuple[Path, CID]) -> None:
    folder, root = origin

    def flip(path: str, reply: Reply) -> Reply | None:
        if path.startswith("data") and reply.body:
            reply.body = bytes([reply.body[0] ^ 1]) + reply.body[1:]
        return reply

    with (
        MirrorServer(folder, flip) as bad,
        MirrorServer(folder) as good,
        RunningNode(tmp_path / "repo", guard=LOOPBACK) as node,
    ):
        assert node.settled(node.pin(root, bad.url, good.url))["status"] == "pinned"
        assert node.get(f"/ipfs/{root}/data/a.bin").body == FILES["data/a.bin"]
        assert any(path.startswith("data") for path in bad.requests)


def test_wrong_bytes_alone_fail_with_a_sentence(tmp_path: Path, origin: tuple[Path, CID]) -> None:
    folder, root = origin

    def flip(path: str, reply: Reply) -> Reply | None:
        if path == "data/a.bin" and reply.body:
            reply.body = bytes([reply.body[0] ^ 1]) + reply.body[1:]
        return reply

    with MirrorServer(folder, flip) as bad, RunningNode(tmp_path / "repo", guard=LOOPBACK, policy=QUICK) as node:
        pin = node.settled(node.pin(root, bad.url))
        assert pin["status"] == "failed"
        assert "WRONG_BYTES" in pin["info"]["error"]
        assert node.get(f"/ipfs/{root}/data/a.bin").status == 404


@pytest.mark.parametrize("form", ["{url}", "/ip4/127.0.0.1/tcp/{port}/http", "http://localhost:{port}"])
def test_a_forbidden_origin_is_never_dialled(tmp_path: Path, form: str) -> None:
    with Canary() as canary, RunningNode(tmp_path / "repo", policy=QUICK) as node:
        where = form.format(url=canary.url, port=canary.url.rpartition(":")[2])
        pin = node.settled(node.pin(CID.of(RAW, b"x"), where))
        assert pin["status"] == "failed"
        assert "not a public address" in pin["info"]["error"]
    assert canary.connections == 0


def test_a_redirect_of_an_allowed_origin_is_guarded_too(tmp_path: Path) -> None:
    with Canary() as canary:

        def redirect(path: str, reply: Reply) -> Reply:
            return Reply(302, {"Location": canary.url.replace("127.0.0.1", "127.9.9.9") + "/x"}, b"")

        guard = NetGuard.parse(["127.0.0.1/32"])
        with (
            MirrorServer(tmp_path, redirect) as mirror,
            RunningNode(tmp_path / "repo", guard=guard, policy=QUICK) as node,
        ):
            pin = node.settled(node.pin(CID.of(RAW, b"x"), mirror.url))
            assert pin["status"] == "failed"
        assert canary.connections == 0


def test_without_origins_the_roster_of_the_peer_is_asked(tmp_path: Path, origin: tuple[Path, CID]) -> None:
    folder, root = origin
    mirror = MirrorServer(folder)
    with mirror, RunningNode(tmp_path / "repo", trusted=lambda: [Mirror("mine", Endpoint(mirror.url))]) as node:
        assert node.settled(node.pin(root))["status"] == "pinned"


def test_with_nobody_to_ask_a_pin_fails_at_once(tmp_path: Path) -> None:
    with RunningNode(tmp_path / "repo") as node:
        pin = node.settled(node.pin(CID.of(RAW, b"x")), 3)
    assert pin["status"] == "failed"
    assert "neither a roster nor a usable origin" in pin["info"]["error"]


def test_the_quota_refuses_with_a_sentence_and_leaves_other_pins_alone(
    tmp_path: Path, origin: tuple[Path, CID]
) -> None:
    folder, root = origin
    small = mirror_folder(tmp_path / "small", {"s": b"fits"})
    with (
        MirrorServer(folder) as mirror,
        MirrorServer(tmp_path / "small") as little,
        RunningNode(tmp_path / "repo", guard=LOOPBACK, max_bytes=100_000) as node,
    ):
        pin = node.settled(node.pin(root, mirror.url))
        assert pin["status"] == "failed"
        assert "does not fit" in pin["info"]["error"]
        assert node.settled(node.pin(small, little.url))["status"] == "pinned"
        assert node.store.used_bytes() < 100_000


def test_an_unpinned_request_is_cancelled(tmp_path: Path, origin: tuple[Path, CID]) -> None:
    folder, root = origin

    def drip(path: str, reply: Reply) -> Reply:
        reply.drip_s = 0.01 if path.startswith("data/a") else 0
        return reply

    with MirrorServer(folder, drip) as slow, RunningNode(tmp_path / "repo", guard=LOOPBACK) as node:
        requestid = node.pin(root, slow.url)
        limit = time.monotonic() + 10
        while not any(path.startswith("data/a") for path in slow.requests):
            assert time.monotonic() < limit
            time.sleep(0.01)
        assert node.ask("GET", f"/pins/{requestid}").json()["status"] == "pinning"
        assert node.ask("DELETE", f"/pins/{requestid}").status == 202
        assert node.ask("GET", f"/pins/{requestid}").status == 404
        assert node.ask("DELETE", f"/pins/{requestid}").status == 404
        while any(thread.name.startswith("holdfast-fetch") for thread in threading.enumerate()):
            assert time.monotonic() < limit
            time.sleep(0.01)


FULL_DISK = """
import json, sys
from pathlib import Path
from support.mirror_server import MirrorServer
from support.running_node import RunningNode
from support.trees import mirror_folder
from holdfast.storage.sources.netguard import NetGuard
import logging, random
logging.basicConfig(stream=sys.stderr)
disk, place, ballast = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
root = mirror_folder(place, {"a.bin": random.Random(1).randbytes(4 << 20)})
with MirrorServer(place) as mirror, RunningNode(disk / "repo", guard=NetGuard.parse(["127.0.0.0/8"])) as node:
    requestid = node.pin(root, mirror.url)
    pin = node.settled(requestid)
    listed = node.get("/pins?status=failed").json()
    pinning = node.get("/pins?status=pinning,queued").json()
    print(json.dumps([pin["status"], pin["info"]["error"], listed["count"], pinning["count"],
                      [path.name for path in (disk / "repo/files").iterdir()]]))
    if ballast:
        full = (disk / "ballast").open("wb", buffering=0)
        try:
            while full.write(bytes(4096)):
                pass
        except OSError:
            pass
        records = node.node._pinner._records
        print(json.dumps(records.fail(requestid, {"error": "in memory " + "x" * 30000})))
        print(json.dumps(node.ask("GET", f"/pins/{requestid}").json()["info"]["error"][:9]))
        print(json.dumps(node.get("/pins?status=failed").json()["count"]))
        full.close()
        (disk / "ballast").unlink()
        print(json.dumps(records.write_failed()))
        print(json.dumps(node.get("/pins?status=failed").json()["count"]))
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> list[str]:
    """What to put before a command, so that `tmp_path/disk` is a file system of 1 MiB there."""
    return full_disk.small_disk(tmp_path / "disk", 1 << 20)


@pytest.mark.parametrize("ballast", [0, 1])
def test_a_full_disk_fails_the_pin_with_a_sentence_and_frees_what_it_took(
    tmp_path: Path, small_disk: list[str], ballast: int
) -> None:
    done = subprocess.run(
        [*small_disk, sys.executable, "-c", FULL_DISK, tmp_path / "disk", tmp_path / "origin", str(ballast)],
        capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (status, error, failed, pinning, left), *more = [json.loads(line) for line in done.stdout.splitlines()]
    assert (status, failed, pinning) == ("failed", 1, 0)
    assert "no space left" in error or "full" in error
    assert left == [], "a partial file would keep the disk full"
    assert "Traceback" not in done.stderr
    assert done.stderr.count("no space left") == 1
    if ballast:
        assert more == [False, "in memory", 1, True, 1]
