"""The client of the Pinning Service API, against our own peer and against servers that misbehave."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from holdfast.configs.roster import Provider
from holdfast.storage.cid import CID, RAW
from holdfast.storage.errors import (
    ConfigError,
    MissingError,
    OversizeError,
    PeerError,
    QuotaError,
    UnavailableError,
    UnreachableError,
    WrongBytesError,
)
from holdfast.storage.pins.pin import Pin, Status, format_time, parse_time
from holdfast.storage.pins.pinning_service import PinningService
from holdfast.storage.pins.wait import Requested, wait
from holdfast.storage.sources.netguard import NetGuard
from support.mirror_server import MirrorServer, Reply
from support.running_node import RunningNode
from support.trees import mirror_folder

X = CID.of(RAW, b"x")
_GOOD = {"requestid": "1", "status": "queued", "created": "2026-01-01T00:00:00Z", "pin": {"cid": str(X)}}


def _service(url: str, **more: str) -> PinningService:
    return PinningService(Provider(name="alice", kind="peer", url=url, **more), env={"TOKEN": "s3cret"})


def test_the_life_of_a_pin(tmp_path: Path) -> None:
    root = mirror_folder(tmp_path / "origin", {"a": b"a" * 40_000, "b": b"b"})
    guard = NetGuard.parse(["127.0.0.0/8"])
    with (
        MirrorServer(tmp_path / "origin") as mirror,
        RunningNode(tmp_path / "repo", guard=guard, token=b"s3cret") as node,
    ):
        service = _service(node.url, token_env="TOKEN")
        pin = service.add(root, "set", [mirror.url])
        seen: list[Status] = []
        done = wait([Requested(service, pin)], 20, lambda item: seen.append(item.pin.status))
        assert [item.pin.status for item in done] == [Status.PINNED]
        assert seen[-1] is Status.PINNED
        assert done[0].pin.progress() == (40_001, 40_001)
        assert service.ls(root) == [done[0].pin]
        assert service.ls(X) == []
        assert service.add(root, "set", [mirror.url]).requestid == pin.requestid  # idempotent
        service.rm(pin.requestid)
        service.rm(pin.requestid)
        with pytest.raises(MissingError):
            service.status(pin.requestid)


def test_a_failed_pin_is_an_answer_with_a_reason(tmp_path: Path) -> None:
    with RunningNode(tmp_path / "repo") as node:
        service = _service(node.url)
        (done,) = wait([Requested(service, service.add(X, "", []))], 20)
        assert done.pin.status is Status.FAILED
        assert "no usable origin" in done.pin.error or "usable origin" in done.pin.error
        again = service.add(X, "", [])
        assert again.requestid != done.pin.requestid


def test_long_lists_are_read_page_by_page(tmp_path: Path) -> None:
    with RunningNode(tmp_path / "repo") as node:
        for _ in range(105):
            node.pin(X)
        assert len(_service(node.url).ls(X)) == 105


class _Pages:
    """A service with so many pins. `longest`: of its pages, whatever it is asked. `ticks`: pins of one moment."""

    def __init__(
        self, pins: int, *, longest: int = 1000, ticks: int = 1, before: bool = True, count: bool = True
    ) -> None:
        self.created = [1_000_000 * (1 + number // ticks) for number in reversed(range(pins))]
        self.longest, self.before, self.count, self.asked = longest, before, count, 0

    @contextmanager
    def served(self, folder: Path) -> Iterator[PinningService]:
        with MirrorServer(folder, self) as server:
            self.targets = server.targets
            yield _service(server.url)

    def __call__(self, _path: str, _reply: Reply) -> Reply:
        self.asked += 1
        query = dict(parse_qsl(urlsplit(self.targets[-1]).query))
        found = list(enumerate(self.created))
        if "before" in query and self.before:
            found = [(number, at) for number, at in found if at < parse_time(query["before"])]
        page = [
            {**_GOOD, "requestid": str(number), "created": format_time(at), "status": "pinned"}
            for number, at in found[: min(self.longest, int(query["limit"]))]
        ]
        return Reply(200, {}, json.dumps({"results": page} | ({"count": len(found)} if self.count else {})).encode())


@pytest.mark.parametrize("pages", [{}, {"longest": 7}, {"ticks": 30}, {"count": False}, {"longest": 50, "ticks": 20}])
@pytest.mark.parametrize("pins", [0, 1, 99, 100, 101, 250])
def test_every_pin_of_a_list_is_read_however_it_is_paged(tmp_path: Path, pages: dict[str, Any], pins: int) -> None:
    service = _Pages(pins, **pages)
    with service.served(tmp_path) as client:
        found = client.ls(X)
    assert sorted(int(pin.requestid) for pin in found) == list(range(pins))
    assert service.asked <= 2 + 2 * pins // min(service.longest, 100)


@pytest.mark.parametrize("pages", [{"before": False}, {"ticks": 150}])
def test_pages_that_do_not_go_on_are_no_list(tmp_path: Path, pages: dict[str, Any]) -> None:
    with _Pages(250, **pages).served(tmp_path) as client, pytest.raises(WrongBytesError, match="alice: the pages"):
        client.ls()


def test_a_list_without_end_is_no_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.storage.pins.pinning_service._MAX_PINS", 500)
    with _Pages(5000).served(tmp_path) as client, pytest.raises(OversizeError, match="more than 500 pins"):
        client.ls()


def test_a_refused_token_names_the_provider_and_never_the_token(tmp_path: Path) -> None:
    with RunningNode(tmp_path / "repo", token=b"other") as node:
        for service in (_service(node.url, token_env="TOKEN"), _service(node.url)):
            with pytest.raises(ConfigError, match="alice") as caught:
                service.add(X, "", [])
            assert "s3cret" not in caught.value.message + caught.value.hint


def test_it_works_inside_a_running_event_loop(tmp_path: Path) -> None:
    with RunningNode(tmp_path / "repo") as node:

        async def notebook() -> list[Pin]:
            return _service(node.url).ls()

        assert asyncio.run(notebook()) == []


def test_nobody_there_is_unreachable() -> None:
    with pytest.raises(UnreachableError, match="alice"):
        _service("http://127.0.0.1:1").ls()


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply(200, {}, b"<html>"), WrongBytesError),
        (Reply(200, {}, b"[]"), WrongBytesError),
        (Reply(200, {}, b"[" * 100_000), WrongBytesError),
        (Reply(200, {}, json.dumps({**_GOOD, "status": "lost"}).encode()), WrongBytesError),
        (Reply(200, {}, json.dumps({**_GOOD, "created": "now"}).encode()), WrongBytesError),
        (Reply(200, {}, json.dumps({**_GOOD, "pin": {"cid": "x"}}).encode()), WrongBytesError),
        (Reply(200, {"Content-Length": "99999999999"}, b"", endless=True), OversizeError),
        (Reply(302, {"Location": "http://127.0.0.1:1/"}, b""), UnreachableError),
        (Reply(404, {}, b""), MissingError),
        (Reply(409, {}, b'{"error":{"reason":"INSUFFICIENT_FUNDS","details":"pay\\nme"}}'), QuotaError),
        (Reply(418, {}, b""), PeerError),
        (Reply(503, {}, b""), UnreachableError),
    ],
)
def test_every_bad_answer_is_a_typed_error(tmp_path: Path, reply: Reply, error: type[Exception]) -> None:
    with MirrorServer(tmp_path, lambda *_: reply) as server, pytest.raises(error) as caught:
        _service(server.url).status("1")
    assert "\n" not in str(caught.value)


class _Scripted:
    """A target whose pin takes some asking."""

    name = "slow"

    def __init__(self, *script: Status | PeerError) -> None:
        self._script = list(script)

    def status(self, requestid: str) -> Pin:
        step = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        if isinstance(step, PeerError):
            raise step
        return Pin(requestid, X, "", step, 0)


def _wait(target: _Scripted, deadline_s: float) -> list[Requested]:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    pin = Pin("1", X, "", Status.QUEUED, 0)
    return wait([Requested(target, pin)], deadline_s, clock=lambda: now[0], sleep=sleep)  # type: ignore[arg-type]


def test_waiting_outlasts_a_provider_that_is_away_for_a_while() -> None:
    target = _Scripted(UnreachableError("away"), Status.PINNING, UnreachableError("away"), Status.PINNED)
    assert _wait(target, 60)[0].pin.status is Status.PINNED


def test_waiting_ends_at_the_deadline_and_says_who_is_not_done() -> None:
    with pytest.raises(UnavailableError, match="slow: pinning"):
        _wait(_Scripted(Status.PINNING), 60)
    with pytest.raises(UnavailableError, match="slow: away"):
        _wait(_Scripted(UnreachableError("away")), 60)


def test_waiting_does_not_go_on_when_the_pin_is_gone() -> None:
    with pytest.raises(MissingError):
        _wait(_Scripted(MissingError("gone")), 60)


def test_times_are_exact_to_the_microsecond() -> None:
    for microseconds in (0, 1, 1_790_000_000_123_456, 1_790_000_000_000_000):
        assert parse_time(format_time(microseconds)) == microseconds
    assert format_time(1) == "1970-01-01T00:00:00.000001Z"
    with pytest.raises(ValueError, match="zone"):
        parse_time("2026-01-01T00:00:00")
