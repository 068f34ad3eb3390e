"""What every `PinTarget` promises. A subclass makes the target, which can fetch from `origin`."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.storage.cid import CID, RAW
from holdfast.storage.errors import MissingError
from holdfast.storage.pins.pin import Status
from holdfast.storage.pins.target import PinTarget
from holdfast.storage.pins.wait import Requested, wait
from support.running_node import RunningNode, publish_folder

NOWHERE = CID.of(RAW, b"nobody has this")
WAIT_S = 60


class PinTargetContract:
    """Run by each implementation."""

    @pytest.fixture
    def origin(self, tmp_path: Path) -> Iterator[RunningNode]:
        """A peer that has what is to be pinned."""
        with RunningNode(tmp_path / "origin") as node:
            yield node

    @pytest.fixture
    def target(self, origin: RunningNode) -> Any:
        raise NotImplementedError

    @pytest.fixture
    def root(self, origin: RunningNode, tmp_path: Path) -> CID:
        """Of a tree that no other test has."""
        unique = random.Random(str(tmp_path)).randbytes(90_000)
        return publish_folder(origin.store, tmp_path / "src", {"a": unique, "b/c": unique[:100]})

    def pinned(self, target: PinTarget, origin: RunningNode, root: CID, name: str = "set") -> Requested:
        (done,) = wait([Requested(target, target.add(root, name, [origin.url]))], WAIT_S)
        assert done.pin.status is Status.PINNED, done.pin
        return done

    def test_what_is_asked_for_becomes_pinned(self, target: PinTarget, origin: RunningNode, root: CID) -> None:
        pin = self.pinned(target, origin, root).pin
        assert pin.cid.v1() == root
        assert pin.name in ("set", "")
        assert target.status(pin.requestid).status is Status.PINNED

    def test_asking_again_is_the_same_pin(self, target: PinTarget, origin: RunningNode, root: CID) -> None:
        first = self.pinned(target, origin, root).pin
        again = target.add(root, "set", [origin.url])
        assert (again.requestid, again.status) == (first.requestid, Status.PINNED)
        assert len(target.ls(root)) == 1

    def test_pins_are_listed_by_cid_and_by_status(self, target: PinTarget, origin: RunningNode, root: CID) -> None:
        pin = self.pinned(target, origin, root).pin
        assert [found.requestid for found in target.ls(root)] == [pin.requestid]
        assert pin.requestid in [found.requestid for found in target.ls()]
        assert target.ls(root, (Status.FAILED, Status.QUEUED)) == []
        assert target.ls(NOWHERE) == []

    def test_a_pin_can_be_withdrawn_and_withdrawn_again(
        self, target: PinTarget, origin: RunningNode, root: CID
    ) -> None:
        pin = self.pinned(target, origin, root).pin
        target.rm(pin.requestid)
        target.rm(pin.requestid)
        assert target.ls(root) == []
        with pytest.raises(MissingError):
            target.status(pin.requestid)
        self.pinned(target, origin, root)

    def test_a_request_that_it_does_not_know_is_missing(self, target: PinTarget) -> None:
        for requestid in (str(NOWHERE), "nonsense", "../../etc"):
            with pytest.raises(MissingError):
                target.status(requestid)
            target.rm(requestid)

    def test_it_can_be_used_after_close(self, target: PinTarget, origin: RunningNode, root: CID) -> None:
        target.close()
        self.pinned(target, origin, root)
        target.close()
        target.close()
        assert len(target.ls(root)) == 1

    def test_threads_ask_at_once(self, target: PinTarget, origin: RunningNode, tmp_path: Path) -> None:
        roots = [
            publish_folder(origin.store, tmp_path / f"src{n}", {"x": random.Random(f"{tmp_path}{n}").randbytes(5000)})
            for n in range(6)
        ]
        failures: list[BaseException] = []

        def work(root: CID) -> None:
            try:
                self.pinned(target, origin, root)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(root,)) for root in roots]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert all(len(target.ls(root)) == 1 for root in roots)
