"""A real Kubo in trouble while it is asked to keep something: one clear state, and the next call finishes."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.configs.roster import Provider
from holdfast.pipeline.place import placing as place_module
from holdfast.pipeline.place.place import place
from holdfast.pipeline.place.placing import PlaceOptions
from holdfast.pipeline.place.state import Placed, Placements
from holdfast.pipeline.publish import publish
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.cid import CID
from holdfast.storage.dataset import Dataset
from holdfast.storage.errors import StoreError
from holdfast.storage.pins.pin import Status
from holdfast.storage.session import Session
from holdfast.storage.sources.local import Local
from holdfast.storage.uri import DatasetUri
from support.kubo import Kubo

SECRET = "s3cr3t-of-this-test"


class Publisher:
    """A folder that grows, its repository, and what was noted of providers."""

    def __init__(self, place: Path, files: int = 100, leaf_size: int = 1 << 20) -> None:
        self._leaf_size = leaf_size
        self._numbers, self._source, self._count = random.Random(9), place / "src", 0
        self._source.mkdir()
        self.repo = place / "repo"
        self.placements = Placements(self.repo / "placements.sqlite")
        self.root = self.publish(files)

    def publish(self, more: int) -> CID:
        for _ in range(more):
            (self._source / f"s{self._count:04d}.jpg").write_bytes(self._numbers.randbytes(10_000))
            self._count += 1
        self.root = publish(
            self._source, name="set", repo=self.repo, shard_size=256 << 10, leaf_size=self._leaf_size
        ).root
        return self.root

    def place(self, *providers: Provider, env: dict[str, str] | None = None) -> list[Placed]:
        with DiskStore(self.repo).open() as store:
            options = PlaceOptions(wait_s=20, pause_s=0.01)
            return place(store, self.root, "set", providers, self.placements, options=options, env=env or {})

    def shard(self) -> CID:
        with DiskStore(self.repo).open() as store, Session(DatasetUri(self.root), [Local(store)]) as session:
            return CID.parse(next(iter(Dataset(session.tree).open().shards())).cid)


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    return Publisher(tmp_path)


def provider(kubo: Kubo, **more: Any) -> Provider:
    gateway = kubo.gateway or None
    return Provider(name="k", kind="kubo", url=kubo.api, **({"gateway": gateway} if gateway else {}), **more)


def test_one_that_lost_blocks_of_the_version_before_is_sent_all_of_the_next(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.storage.pins.kubo._STALL_S", 2.0)
    with Kubo(tmp_path / "kubo") as kubo:
        (first,) = publisher.place(provider(kubo))
        assert first.counts, first
        kubo.forget(publisher.shard())
        publisher.publish(1)
        (second,) = publisher.place(provider(kubo))
        assert second.counts, second
        assert second.done_bytes > 1_000_000


def test_one_that_is_killed_in_the_middle_failed_and_the_next_call_finishes(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubo = Kubo(tmp_path / "kubo", {"Addresses.API": "/ip4/127.0.0.1/tcp/0"})
    with kubo:
        with monkeypatch.context() as patch:
            patch.setattr(place_module, "cars", lambda *given: [_killing(car, kubo) for car in _cars(*given)])
            (cut,) = publisher.place(provider(kubo))
        assert cut.status is Status.FAILED
        assert "k " in cut.message or "k:" in cut.message, cut
        (noted,) = publisher.placements.of(publisher.root)
        assert noted == cut
    with kubo:
        (done,) = publisher.place(provider(kubo))
        assert done.counts, done
        assert str(publisher.root) in kubo.text("pin", "ls", "--type=recursive")


def test_a_push_that_was_cut_sends_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publisher = Publisher(tmp_path, files=1000, leaf_size=16 << 10)
    with Kubo(tmp_path / "kubo") as kubo:
        with monkeypatch.context() as patch:
            patch.setattr(place_module, "cars", lambda *given: [_cut(car) for car in _cars(*given)])
            (cut,) = publisher.place(provider(kubo))
        assert (cut.status, "out of order" in cut.message) == (Status.FAILED, True)
        (done,) = publisher.place(provider(kubo))
        assert done.counts, done
        assert 1_000_000 < done.done_bytes < 8_000_000, "what is there already is not sent again"
        publisher.placements.remove("k", publisher.root)
        kubo.run("pin", "rm", publisher.root)
        (anew,) = publisher.place(provider(kubo))
        assert anew.done_bytes > 10_000_000, "one that was never begun asks for nothing"


def _cut(parts: Iterator[bytes]) -> Iterator[bytes]:
    sent = 0
    for part in parts:
        if sent > 4_000_000:
            raise StoreError("the disk is out of order")
        yield part
        sent += len(part)


_cars = place_module.cars


def _killing(parts: Iterator[bytes], kubo: Kubo) -> Iterator[bytes]:
    sent = 0
    for part in parts:
        yield part
        sent += len(part)
        if sent > 100_000:
            kubo.kill()


def test_one_that_collects_garbage_meanwhile_has_it_all_in_the_end(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it takes between the import and the pin is missing then: Kubo looks for it as long as it is let to."""
    monkeypatch.setattr("holdfast.storage.pins.kubo._STALL_S", 2.0)
    stop = threading.Event()
    with Kubo(tmp_path / "kubo") as kubo:

        def collect() -> None:
            while not stop.is_set():
                kubo.run("repo", "gc")

        thread = threading.Thread(target=collect)
        thread.start()
        try:
            for _ in range(3):
                (found,) = publisher.place(provider(kubo))
                if not found.counts:  # taken between the import and the pin: said again, it is sent again
                    (found,) = publisher.place(provider(kubo))
                publisher.publish(5)
        finally:
            stop.set()
            thread.join()
        (found,) = publisher.place(provider(kubo))
        assert found.counts, found
        kubo.run("repo", "gc")
        assert len(kubo.text("refs", "-r", publisher.root).splitlines()) > 10


def test_one_whose_disk_is_full_says_so(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path, 2_000)
    with Kubo(tmp_path / "kubo", disk_bytes=12 << 20) as kubo:
        (found,) = publisher.place(provider(kubo))
    assert found.status is Status.FAILED
    assert "has no room" in found.message, found


def test_a_token_that_is_refused_and_one_that_is_taken(publisher: Publisher, tmp_path: Path) -> None:
    rule = {"test": {"AuthSecret": f"bearer:{SECRET}", "AllowedPaths": ["/api/v0"]}}
    with Kubo(tmp_path / "kubo", {"API.Authorizations": rule}) as kubo:
        for env, words in (({}, "wants a token"), ({"TOKEN": "wrong-one"}, "refuses the token")):
            named = {"token_env": "TOKEN"} if env else {}
            (found,) = publisher.place(provider(kubo, **named), env=env)
            assert found.status is Status.FAILED
            assert words in found.message, found
        (found,) = publisher.place(provider(kubo, token_env="TOKEN"), env={"TOKEN": SECRET})
        assert found.counts, found
    kept = b"".join(path.read_bytes() for path in publisher.repo.rglob("*") if path.is_file())
    assert SECRET.encode() not in kept
    assert b"wrong-one" not in kept


def test_a_gateway_that_was_named_for_the_api(publisher: Publisher, tmp_path: Path) -> None:
    with Kubo(tmp_path / "kubo") as kubo:
        (found,) = publisher.place(Provider(name="k", kind="kubo", url=kubo.gateway))
    assert found.status is Status.FAILED
    assert "is not the RPC interface of a Kubo" in found.message
