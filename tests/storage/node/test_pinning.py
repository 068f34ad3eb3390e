"""The pinning service: requests over real sockets, fetched from real origins."""

import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.cid import CID, RAW
from holdfast.storage.errors import ConfigError
from holdfast.storage.fetch.policy import FetchPolicy
from holdfast.storage.node.server import NodeOptions
from holdfast.storage.sources.http import Endpoint
from holdfast.storage.sources.mirror import Mirror
from holdfast.storage.sources.netguard import NetGuard
from support import full_disk
from support.mirror_server import MirrorServer, Reply
from support.running_node import RunningNode, ask, publish_folder, settled
from support.trees import LEAF, mirror_folder

LOOPBACK = NetGuard.parse(["127.0.0.0/8"])
QUICK = FetchPolicy(progress_deadline_s=2.0)
FILES = {
    "data/a.bin": random.Random(1).randbytes(40 * LEAF + 5),
    "data/copy.bin": random.Random(1).randbytes(40 * LEAF + 5),
    "data/small": b"small",
    "data/small too": b"small",
    "empty": b"",
}
TOTAL = sum(map(len, FILES.values()))


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CID]:
    folder = tmp_path_factory.mktemp("origin")
    return folder, mirror_folder(folder, FILES)


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


def test_a_replaced_request_gets_a_new_id(tmp_path: Path) -> None:
    with RunningNode(tmp_path / "repo") as node:
        first = node.pin(CID.of(RAW, b"x"))
        answer = node.ask("POST", f"/pins/{first}", body={"cid": str(CID.of(RAW, b"y"))})
        assert answer.status == 202
        assert answer.json()["requestid"] != first
        assert node.ask("GET", f"/pins/{first}").status == 404
        assert node.ask("POST", f"/pins/{first}", body={"cid": str(CID.of(RAW, b"y"))}).status == 404


def test_the_list_is_filtered_and_paged(tmp_path: Path) -> None:
    with RunningNode(tmp_path / "repo") as node:
        names = ["Alpha", "alpha two", "BETA", "ALPHA"]
        cids = [CID.of(RAW, name.encode()) for name in names]
        ids = [node.pin(cid, name=name) for cid, name in zip(cids, names, strict=True)]
        for requestid in ids:
            node.settled(requestid)

        def names_of(query: str) -> list[str]:
            answer = node.get(f"/pins?status=queued,pinning,pinned,failed&{query}")
            assert answer.status == 200, answer.body
            return [result["pin"]["name"] for result in answer.json()["results"]]

        assert names_of("") == names[::-1]
        assert node.get("/pins").json() == {"count": 0, "results": []}
        assert names_of("name=Alpha") == ["Alpha"]
        assert names_of("name=alpha&match=iexact") == ["ALPHA", "Alpha"]
        assert names_of("name=alpha&match=partial") == ["alpha two"]
        assert names_of("name=alpha&match=ipartial") == ["ALPHA", "alpha two", "Alpha"]
        assert names_of(f"cid={cids[0]},{cids[2]}") == ["BETA", "Alpha"]
        assert names_of("limit=2") == ["ALPHA", "BETA"]
        all_pins = node.get("/pins?status=failed&limit=2").json()
        assert all_pins["count"] == 4
        created = [result["created"] for result in all_pins["results"]]
        assert names_of(f"before={created[1]}") == ["alpha two", "Alpha"]
        assert names_of(f"after={created[1]}") == ["ALPHA"]
        assert len(set(created)) == 2


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "status=lost", "match=maybe", "cid=nonsense", "before=yesterday",
              "meta=[1]", "before=2026-01-01T00:00:00"]
)  # fmt: skip
def test_a_malformed_query_is_refused_in_the_words_of_the_specification(tmp_path: Path, query: str) -> None:
    with RunningNode(tmp_path / "repo") as node:
        answer = node.get(f"/pins?{query}")
    assert answer.status == 400
    assert answer.json()["error"]["reason"] == "BAD_REQUEST"
    assert query.partition("=")[0] in answer.json()["error"]["details"]


def test_malformed_and_oversized_bodies_are_refused(tmp_path: Path) -> None:
    cid = str(CID.of(RAW, b"x"))
    bodies: list[tuple[object, int]] = [
        (b"{", 400),
        (b"[" * 50_000, 400),
        ([], 400),
        ({}, 400),
        ({"cid": "nonsense"}, 400),
        ({"cid": cid, "name": "x" * 256}, 400),
        ({"cid": cid, "origins": ["http://a"] * 21}, 400),
        ({"cid": cid, "origins": "http://a"}, 400),
        ({"cid": cid, "meta": {"a": 1}}, 400),
        (b" " * 70_000, 413),
    ]
    with RunningNode(tmp_path / "repo") as node:
        for body, status in bodies:
            answer = node.ask("POST", "/pins", body=body)
            assert answer.status == status, (body, answer.body)
            assert answer.json()["error"]["reason"] == "BAD_REQUEST"
        assert node.get("/pins?status=queued,failed,pinned,pinning").json()["count"] == 0


# -- who may


def test_a_wrong_or_missing_token_is_refused(tmp_path: Path) -> None:
    with RunningNode(tmp_path / "repo", token=b"secret") as node:
        for header in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic secret"}):
            answer = node.ask("GET", "/pins", header)
            assert answer.status == 401
            assert set(answer.json()["error"]) == {"reason", "details"}
        assert node.ask("GET", "/pins", {"Authorization": "Bearer secret"}).status == 200
        assert node.get("/ipfs/bafkqaaa?format=raw").status == 200


def test_without_a_token_only_this_machine_may_pin(tmp_path: Path) -> None:
    with RunningNode(tmp_path / "repo", host="0.0.0.0") as node:
        assert node.get("/pins").status == 401
        assert node.get("/ipfs/bafkqaaa?format=raw").status == 200


@pytest.mark.parametrize("header", [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "same-origin"},
                                    {"Host": "evil.example"}])  # fmt: skip
def test_a_web_page_cannot_pin_through_a_browser_on_this_machine(tmp_path: Path, header: dict[str, str]) -> None:
    with RunningNode(tmp_path / "repo") as node:
        assert node.ask("POST", "/pins", header, {"cid": "bafkqaaa"}).status == 401


def test_the_token_is_never_printed() -> None:
    assert "secret" not in repr(NodeOptions(token=b"secret"))


# -- lifecycle


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
