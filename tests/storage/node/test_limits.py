"""Many clients, slow clients, greedy clients: the others are served."""

from __future__ import annotations

import asyncio
import random
import resource
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest

from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.cid import CID
from holdfast.storage.node.clients import client_of
from holdfast.storage.node.crowd import BusyError, Crowd, CrowdLimits, within_open_files
from holdfast.storage.node.tally import Tally
from support.metrics import metrics, wait_for
from support.running_node import RunningNode, publish_folder

PROBE = "/ipfs/bafkqaaa?format=raw"
BIG_BYTES = 48 << 20  # more than the buffers of both ends of a connection take
LOOPBACK = (ip_network("127.0.0.0/8"),)


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CID]:
    """A repository with one big file, and its root."""
    folder = tmp_path_factory.mktemp("big")
    with DiskStore(folder / "repo").open() as store:
        files = {"big": random.Random(9).randbytes(BIG_BYTES)}
        return folder / "repo", publish_folder(store, folder / "src", files, 1 << 20)


def _connect(node: RunningNode, *lines: str, end: bool = True) -> socket.socket:
    """A connection on which a request was sent; unfinished without `end`."""
    sock = socket.create_connection(("127.0.0.1", node.node.port), timeout=20)
    if lines:
        sock.sendall(("\r\n".join([*lines, "Host: 127.0.0.1"]) + ("\r\n\r\n" if end else "")).encode())
    return sock


def _all(sock: socket.socket) -> bytes:
    """Everything until the peer ends the connection, however it does."""
    got = bytearray()
    try:
        while data := sock.recv(1 << 20):
            got += data
    except ConnectionResetError:
        pass
    return bytes(got)


@contextmanager
def _holding(node: RunningNode, target: str, *headers: str) -> Iterator[socket.socket]:
    """A request under way: its client reads the first bytes and then nothing."""
    before = metrics(node)["holdfast_requests_in_flight"]
    with _connect(node, f"GET {target} HTTP/1.1", *headers) as sock:
        assert sock.recv(15) == b"HTTP/1.1 200 OK"
        wait_for(node, lambda now: now["holdfast_requests_in_flight"] > before)
        yield sock


def test_2000_open_connections_do_not_hurt_the_others(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 6000  # both ends of 2,000 connections are in this process
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            pytest.skip("this system does not allow so many open files")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    try:
        limits = CrowdLimits(max_connections=2500, idle_s=600, request_head_s=600)
        with RunningNode(tmp_path / "repo", limits=limits) as node, ExitStack() as stack:
            for number in range(2000):
                kinds = ([], [f"GET {PROBE} HTTP/1.1"], [f"GET {PROBE} HTTP/1.1", "X-Slow: "])
                sock = _connect(node, *kinds[number % 3], end=number % 3 == 1)
                stack.callback(sock.close)
            wait_for(node, lambda now: now["holdfast_open_connections"] >= 2000)
            with ThreadPoolExecutor(16) as pool:
                answers = list(pool.map(lambda _: node.get(PROBE).status, range(300)))
            assert answers == [200] * 300
            found = metrics(node)
            assert found["holdfast_open_connections"] >= 2000
            assert not any(name.startswith("holdfast_refused") for name in found)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_connections_beyond_the_limit_are_told_to_come_back(tmp_path: Path) -> None:
    with RunningNode(tmp_path / "repo", limits=CrowdLimits(max_connections=3)) as node:
        with ExitStack() as stack:
            for _ in range(3):
                held = stack.enter_context(_connect(node, f"GET {PROBE} HTTP/1.1"))
                assert held.recv(15) == b"HTTP/1.1 200 OK"
            with _connect(node, f"GET {PROBE} HTTP/1.1") as sock:
                answer = _all(sock)
            assert answer.startswith(b"HTTP/1.1 429 ")
            assert b"\r\nRetry-After: 2\r\n" in answer
            assert answer.endswith(b"\r\n\r\n")
        _until_answered(node)
        assert metrics(node)["holdfast_refused_total{connections}"] >= 1


def _until_answered(node: RunningNode) -> None:
    limit = time.monotonic() + 20
    while node.get(PROBE).status != 200:  # the peer sees soon that connections were closed
        assert time.monotonic() < limit, "no place was given back"
        time.sleep(0.02)


@pytest.mark.parametrize("sent", [b"G", b"GET /ipfs/bafkqaaa HTTP/1.1\r\nX-Slow: "])
def test_a_request_that_does_not_come_whole_is_cut_off(tmp_path: Path, sent: bytes) -> None:
    with RunningNode(tmp_path / "repo", limits=CrowdLimits(request_head_s=0.2, idle_s=600)) as node:
        with _connect(node) as sock:
            sock.sendall(sent)
            assert _all(sock) == b""
        with _connect(node, f"GET {PROBE} HTTP/1.1") as sock:  # also behind a good one
            assert sock.recv(15) == b"HTTP/1.1 200 OK"
            sock.sendall(sent)
            _all(sock)
        assert metrics(node)["holdfast_refused_total{slow_request}"] == 2


def test_dripping_bytes_do_not_win_time(tmp_path: Path) -> None:
    with RunningNode(tmp_path / "repo", limits=CrowdLimits(request_head_s=0.3, idle_s=600)) as node:
        with _connect(node) as sock:
            sock.sendall(b"GET /")
            sock.settimeout(0.02)
            for _ in range(1000):
                try:
                    sock.sendall(b"x")
                    if not sock.recv(1):
                        break
                except TimeoutError:
                    continue
                except (ConnectionResetError, BrokenPipeError):
                    break
            else:
                pytest.fail("the connection was never cut")
        assert metrics(node)["holdfast_refused_total{slow_request}"] == 1


def test_an_idle_connection_is_closed(tmp_path: Path) -> None:
    with RunningNode(tmp_path / "repo", limits=CrowdLimits(idle_s=0.2)) as node:
        with _connect(node) as silent, _connect(node, f"GET {PROBE} HTTP/1.1") as served:
            assert _all(silent) == b""
            assert _all(served).startswith(b"HTTP/1.1 200 OK")
        assert metrics(node)["holdfast_refused_total{idle}"] == 2


@pytest.mark.parametrize("query", ["/big", "/big?format=car", "?format=car"])
def test_a_slow_reader_is_cut_off_and_its_slot_given_back(big: tuple[Path, CID], query: str) -> None:
    repo, root = big
    limits = CrowdLimits(max_requests=1, queue_s=60, min_rate_bytes_s=4 << 20)
    with RunningNode(repo, limits=limits) as node:
        with _connect(node, f"GET /ipfs/{root}{query} HTTP/1.1") as sock:
            assert sock.recv(15) == b"HTTP/1.1 200 OK"
            assert node.get(PROBE).status == 200  # waits in line until the slot is free
            assert len(_all(sock)) < BIG_BYTES
        kind = "car" if "car" in query else "plain"
        found = metrics(node)
        assert found["holdfast_refused_total{slow_reader}"] == 1
        assert found[f"holdfast_requests_total{{{kind},cut}}"] == 1
        assert 0 < found[f"holdfast_sent_bytes_total{{{kind}}}"] < BIG_BYTES
        assert len(node.get(f"/ipfs/{root}/big").body) == BIG_BYTES


def test_one_client_does_not_take_the_place_of_others(big: tuple[Path, CID]) -> None:
    repo, root = big
    limits = CrowdLimits(max_requests_per_client=2, trusted_proxies=LOOPBACK)
    greedy = {"X-Forwarded-For": "spoofed, 203.0.113.5"}
    with RunningNode(repo, limits=limits) as node:
        with ExitStack() as stack:
            for _ in range(2):
                stack.enter_context(_holding(node, f"/ipfs/{root}/big", "X-Forwarded-For: 203.0.113.5"))
            refused = node.ask("GET", PROBE, greedy)
            assert refused.status == 429
            assert refused.headers["Retry-After"] == "2"
            assert refused.headers["Cache-Control"] == "no-store"
            assert node.ask("HEAD", PROBE, greedy).status == 429
            assert node.ask("GET", PROBE, {"X-Forwarded-For": "203.0.113.5, 203.0.113.6"}).status == 200
            assert node.get(PROBE).status == 200
            assert metrics(node)["holdfast_refused_total{requests_per_client}"] == 2
        wait_for(node, lambda now: now["holdfast_requests_in_flight"] == 0)
        assert node.ask("GET", PROBE, greedy).status == 200


def test_the_line_is_short_and_metrics_do_not_wait_in_it(big: tuple[Path, CID]) -> None:
    repo, root = big
    with RunningNode(repo, limits=CrowdLimits(max_requests=1, queue_s=0.1)) as node:
        with _holding(node, f"/ipfs/{root}/big"):
            for target in (PROBE, "/pins", f"/ipfs/{root}?format=car"):
                refused = node.get(target)
                assert (refused.status, refused.headers["Retry-After"]) == (429, "2")
            assert metrics(node)["holdfast_refused_total{requests}"] == 3
        wait_for(node, lambda now: now["holdfast_requests_in_flight"] == 0)
        assert node.get(PROBE).status == 200


def test_a_clients_connections_are_limited_by_address() -> None:
    tally = Tally()
    crowd = Crowd(CrowdLimits(max_connections=5, max_connections_per_client=2), tally)
    assert [crowd.connect("a"), crowd.connect("a"), crowd.connect("a")] == [True, True, False]
    assert [crowd.connect("b"), crowd.connect(None), crowd.connect(None), crowd.connect("c")] == [
        True,
        True,
        True,
        False,
    ]
    assert tally.refused == {"connections_per_client": 1, "connections": 1}
    crowd.disconnect("a")
    assert crowd.connect("a")
    assert (crowd.connections, crowd.clients) == (5, 2)
    for client in ("a", "a", "b", None, None):
        crowd.disconnect(client)
    assert (crowd.connections, crowd.clients) == (0, 0)  # nothing is kept of clients that went


def test_a_request_that_is_refused_or_fails_gives_everything_back() -> None:
    async def check() -> None:
        crowd = Crowd(CrowdLimits(max_requests=1, max_requests_per_client=1, queue_s=0.01), Tally())
        async with crowd.request("a"):
            for client in ("a", "b", None):
                with pytest.raises(BusyError):
                    async with crowd.request(client):
                        pytest.fail("there was no slot")
        with pytest.raises(KeyError):
            async with crowd.request("a"):
                raise KeyError
        async with crowd.request("b"):
            assert (crowd.requests, crowd.clients) == (1, 1)
        assert (crowd.requests, crowd.clients) == (0, 0)

    asyncio.run(check())


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.5", "", "203.0.113.5"),
        ("203.0.113.5", "198.51.100.1", "203.0.113.5"),  # not a proxy of ours: what it says is nothing
        ("10.0.0.5", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.5", "6.6.6.6, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.5", "198.51.100.1, 10.0.0.6", "198.51.100.1"),
        ("10.0.0.5", "nonsense", None),
        ("10.0.0.5", "", None),
        ("127.0.0.1", "", None),
        ("127.0.0.1", "198.51.100.1", None),
        ("::1", "", None),
        ("::ffff:127.0.0.1", "", None),
        ("::ffff:203.0.113.5", "", "203.0.113.5"),
        ("2001:db8:1:2:3::4", "", "2001:db8:1:2::/64"),
        ("10.0.0.5", "[2001:db8:1:2:3::4]", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "", "fe80::/64"),
        ("", "", None),
    ],
)
def test_who_a_client_is(peer: str, forwarded: str, client: str | None) -> None:
    assert client_of(peer, forwarded, (ip_network("10.0.0.0/8"),)) == client


def test_a_peer_takes_no_more_connections_than_it_may_have_files() -> None:
    limits = CrowdLimits(max_connections=8192, max_requests=512)
    assert within_open_files(limits, 65536) is limits
    assert within_open_files(limits, 4096).max_connections == 4096 - 512 - 512
    assert within_open_files(limits, 256).max_connections == 128
