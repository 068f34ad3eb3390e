"""`/metrics`: what it counts, and who may read it."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import pytest
from aiohttp.test_utils import make_mocked_request

from holdfast.storage.cid import CID
from holdfast.storage.node.access import Access
from support.dags import Dag
from support.metrics import metrics, wait_for
from support.running_node import RunningNode


def test_requests_bytes_pins_and_the_process_are_counted(tmp_path: Path) -> None:
    with RunningNode(tmp_path / "repo") as node:
        dag = Dag(node.store)
        leaf = dag.raw(b"x" * 1000)
        root = dag.directory(a=leaf)
        assert node.get(f"/ipfs/{leaf}?format=raw").status == 200
        assert node.ask("HEAD", f"/ipfs/{leaf}?format=raw").status == 200
        car = node.get(f"/ipfs/{root}?format=car")
        assert node.get(f"/ipfs/{root}/a").status == 200
        assert node.get(f"/ipfs/{CID.of(0x55, b'absent')}?format=raw").status == 404
        assert node.get("/nowhere").status == 404
        assert node.get(f"/ipfs/{root}?format=tar").status == 406
        assert node.settled(node.pin(leaf))["status"] == "pinned"
        found = wait_for(node, lambda now: now["holdfast_requests_in_flight"] == 0)
        assert found["holdfast_repository_bytes"] == node.store.used_bytes()
    assert found["holdfast_requests_total{raw,200}"] == 2
    assert found["holdfast_requests_total{raw,404}"] == 1
    assert found["holdfast_requests_total{car,200}"] == 1
    assert found["holdfast_requests_total{plain,200}"] == 1
    assert found["holdfast_requests_total{other,406}"] == 1
    assert found["holdfast_requests_total{other,404}"] == 1
    assert found["holdfast_sent_bytes_total{raw}"] == 1000
    assert found["holdfast_sent_bytes_total{plain}"] == 1000
    assert found["holdfast_sent_bytes_total{car}"] == len(car.body)
    assert found["holdfast_pins{pinned}"] == 1
    assert found["holdfast_pins{failed}"] == 0
    assert found["holdfast_open_connections"] >= 1
    assert found["process_resident_memory_bytes"] > 0


def test_each_peer_counts_for_itself(tmp_path: Path) -> None:
    with RunningNode(tmp_path / "a") as one, RunningNode(tmp_path / "b") as other:
        one.get("/ipfs/bafkqaaa?format=raw")
        assert metrics(one)["holdfast_requests_total{raw,200}"] == 1
        assert "holdfast_requests_total{raw,200}" not in metrics(other)


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "203.0.113.5"},
        {"Forwarded": "for=203.0.113.5"},
        {"Via": "1.1 proxy"},
        {"Origin": "https://example.org"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "rebound.example.org"},
        {"Authorization": "Bearer wrong", "Origin": "https://example.org"},
    ],
)
def test_neither_proxies_nor_browsers_read_metrics_without_the_token(tmp_path: Path, headers: dict[str, str]) -> None:
    with RunningNode(tmp_path / "repo", token=b"secret") as node:
        assert node.ask("GET", "/metrics", headers).status == 401
        assert node.ask("GET", "/metrics", headers | {"Authorization": "Bearer secret"}).status == 200
        assert node.get("/metrics").status == 200


@pytest.mark.parametrize(("given", "refused"), [("", True), ("Bearer wrong", True), ("Bearer secret", False)])
def test_other_machines_need_the_token(given: str, refused: bool) -> None:
    transport = Mock()
    transport.get_extra_info = lambda name, default=None: ("203.0.113.5", 1) if name == "peername" else default
    request = make_mocked_request("GET", "/metrics", {"Authorization": given}, transport=transport)
    assert bool(Access(b"secret", loopback=False).reading_refusal(request)) is refused
    assert Access(None, loopback=False).reading_refusal(request)
