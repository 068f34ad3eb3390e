"""`Probed`: the first right answer decides; what hangs or is overloaded does not cost more than it must."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.storage.cid import CID
from holdfast.storage.errors import SlowError, UnreachableError
from holdfast.storage.sources.http import Endpoint
from holdfast.storage.sources.probe import Probed
from holdfast.storage.sources.transfer import Transfer
from support.mirror_server import MirrorServer, Reply
from support.trees import mirror_folder

FILES = {"data/a": b"some bytes"}
HANGS_S = 30.0


@pytest.fixture
def world(tmp_path: Path) -> Iterator[tuple[Path, CID]]:
    yield tmp_path, mirror_folder(tmp_path, FILES)
    limit = time.monotonic() + 5
    while any(thread.name.startswith("holdfast-probe") for thread in threading.enumerate()):
        assert time.monotonic() < limit, "a dropped question goes on"
        time.sleep(0.01)


def fetched(server: MirrorServer, root: CID) -> bytes:
    source = Probed("p", Endpoint(server.url))
    started = time.monotonic()
    try:
        return source.fetch_block(root, root, Transfer())
    finally:
        assert time.monotonic() - started < 3
        source.close()


@pytest.mark.parametrize("how", ["hangs", "drips"])
@pytest.mark.parametrize("good", ["gateway", "mirror"])
def test_a_path_that_hangs_does_not_take_a_good_source_away(world: tuple[Path, CID], good: str, how: str) -> None:
    folder, root = world
    data = (folder / ".holdfast/blocks" / str(root)).read_bytes()

    def script(path: str, reply: Reply) -> Reply:
        if path.startswith("ipfs/") is (good == "gateway"):
            return Reply(200, {}, data)
        if how == "hangs":
            reply.pause_s = HANGS_S
            return reply
        return Reply(200, {}, bytes(1000), drip_s=0.05)

    with MirrorServer(folder, script) as server:
        assert fetched(server, root) == data


def test_a_gateway_that_is_a_moment_behind_the_mirror_is_taken(world: tuple[Path, CID]) -> None:
    folder, root = world
    data = (folder / ".holdfast/blocks" / str(root)).read_bytes()

    def script(path: str, _: Reply) -> Reply | None:
        return Reply(200, {}, data, pause_s=0.1) if path.startswith("ipfs/") else None

    with MirrorServer(folder, script) as server:
        source = Probed("p", Endpoint(server.url))
        for _ in range(2):
            assert source.fetch_block(root, root, Transfer()) == data
        source.close()
        assert server.requests.count(f"ipfs/{root}") == 2


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("which", ["gateway", "mirror", "both"])
def test_who_asks_for_time_gets_it(world: tuple[Path, CID], status: int, which: str) -> None:
    folder, root = world

    def script(path: str, _: Reply) -> Reply:
        busy = which in ("both", "gateway" if path.startswith("ipfs/") else "mirror")
        return Reply(status, {"Retry-After": "17"}, b"") if busy else Reply(404, {}, b"")

    with MirrorServer(folder, script) as server:
        with pytest.raises(UnreachableError) as caught:
            fetched(server, root)
        assert (caught.value.status, caught.value.retry_after_s) == (status, 17.0)
        assert len(server.requests) == 2


def test_an_overloaded_gateway_beside_the_right_answer_of_a_mirror_is_none(world: tuple[Path, CID]) -> None:
    folder, root = world

    def script(path: str, _: Reply) -> Reply | None:
        return Reply(503, {}, b"") if path.startswith("ipfs/") else None

    with MirrorServer(folder, script) as server:
        assert root.matches(fetched(server, root))


def test_cancelling_ends_both(world: tuple[Path, CID]) -> None:
    folder, root = world

    def script(_: str, reply: Reply) -> Reply:
        reply.pause_s = HANGS_S
        return reply

    with MirrorServer(folder, script) as server:
        source, transfer = Probed("p", Endpoint(server.url)), Transfer()
        timer = threading.Timer(0.2, transfer.cancel, [SlowError("enough")])
        timer.start()
        started = time.monotonic()
        with pytest.raises(SlowError, match="enough"):
            source.fetch_block(root, root, transfer)
        assert time.monotonic() - started < 2
