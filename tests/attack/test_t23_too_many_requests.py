"""T23: 429 storms. The wait that was asked for is honoured, and there are few requests more than needed."""

import random
import threading
import time
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path

import pytest

from holdfast.demo.faults.behaviour import Behaviour
from holdfast.demo.faults.server import FaultServer
from holdfast.storage.errors import UnreachableError
from holdfast.storage.fetch.engine import FetchEngine
from holdfast.storage.fetch.policy import FetchPolicy
from holdfast.storage.fetch.scoreboard import Score
from holdfast.storage.sources.http import Endpoint
from holdfast.storage.sources.mirror import Mirror
from holdfast.storage.sources.retry_after import retry_after_s
from holdfast.storage.sources.source import FileRef
from support.swarm import Peer, Swarm
from support.trees import LEAF, file_dag

CLIENTS, LEAVES = 64, 40
DATA = random.Random(5).randbytes(LEAVES * LEAF)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7), ("0", 0), ("1.5", 1.5), ("86400", 60), ("-5", 0), ("nan", 0), ("inf", 0), ("1e9", 0), ("", 0),
        (None, 0), ("soon", 0), ("٣", 0), ("9" * 400, 0), (formatdate(1030, usegmt=True), 30),
        (formatdate(900, usegmt=True), 0),
        (formatdate(1e6, usegmt=True), 60), ("Mon, 99 Foo 0000 99:99:99 GMT", 0), ("Fri, 31 Dec 9999 23:59:59 GMT", 60),
    ],
)  # fmt: skip
def test_a_wait_is_seconds_or_a_date_and_never_more_than_a_minute(text: str | None, seconds: float) -> None:
    assert retry_after_s(text, now=1000) == pytest.approx(seconds)


@pytest.mark.parametrize("jitter", [0.0, 0.5, 0.999])
def test_the_wait_is_never_cut_short_not_by_another_failure_either(jitter: float) -> None:
    score, busy = Score("x"), UnreachableError("429")
    busy.retry_after_s = 4.0
    score.failed(busy, 100.0, FetchPolicy(), jitter)
    assert 104.0 <= score.retry_at <= 105.0
    score.failed(UnreachableError("500"), 100.1, FetchPolicy(), jitter)
    assert score.retry_at >= 104.0
    assert not score.ready(103.9)


def test_64_clients_through_a_storm_ask_at_most_a_tenth_more_often() -> None:
    """On a virtual clock: from 1 s to 4 s every answer is 429."""
    asked = 0
    for number in range(CLIENTS):
        peer = Peer("s", rate=1e6, busy=lambda now: 2.0 if 1 <= now < 4 else 0.0)
        swarm = Swarm([peer], FetchPolicy(run_bytes=LEAF, max_run_bytes=LEAF, max_window=2))
        swarm.planner._random = random.Random(number)
        swarm.want(1, range(200), LEAF)
        swarm.run(60)
        assert not swarm.planner.wants
        assert not swarm.planner.failed
        asked += len(swarm.log)
        starts = [when for when, *_ in swarm.log]
        refused = [when for when in starts if 1 <= when < 4]
        for when in refused:
            heard = when + peer.latency_s
            assert not [later for later in starts if heard < later < heard + 1.95], "it waited"
    assert asked / (CLIENTS * 200) <= 1.1


def test_64_clients_on_real_sockets(tmp_path: Path) -> None:
    layout = file_dag(DATA)[0]
    (tmp_path / "x").write_bytes(DATA)
    storm = Behaviour("UNREACHABLE", "429", first=600, last=700, retry_after="1")
    policy = FetchPolicy(threads=1, run_bytes=LEAF, max_run_bytes=LEAF, max_window=1, progress_deadline_s=20)
    broken: list[BaseException] = []

    class Count:
        left = LEAVES

        def write(self, leaf: int, data: memoryview) -> None:
            assert data == DATA[leaf * LEAF : (leaf + 1) * LEAF]
            self.left -= 1

    def client(number: int, url: str) -> None:
        try:
            source, sink = Mirror("m", Endpoint(url, {"X-Client": str(number)})), Count()
            with FetchEngine([source], policy=policy) as engine:
                handle = engine.open_file(FileRef(layout.cid, "x", layout), sink)
                engine.want(handle, range(LEAVES), 0.0)
                engine.wait(handle, range(LEAVES))
            assert sink.left == 0
        except BaseException as error:
            broken.append(error)

    with FaultServer(tmp_path, storm) as server:
        started = time.monotonic()
        threads = [threading.Thread(target=client, args=(n, server.url)) for n in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        asked, requests = server.stats(), server.requests
    assert broken == []
    assert asked.played["UNREACHABLE/429"] == 100
    assert asked.requests == CLIENTS * LEAVES + 100, "one more for each refusal"
    assert asked.requests / (CLIENTS * LEAVES) <= 1.1
    for number in range(CLIENTS):  # its first request in the storm was refused, and the next one came a second later
        own = [(index, request) for index, request in enumerate(requests) if request.headers["x-client"] == str(number)]
        for (index, request), (_, following) in pairwise(own):
            if 600 <= index < 700:
                assert following.received_at - request.received_at >= 0.95
    assert time.monotonic() - started < 60


@pytest.mark.parametrize("header", ["", "nonsense", "-1", "99999999999999999999"])
def test_beside_a_source_that_is_always_busy_the_other_delivers(tmp_path: Path, header: str) -> None:
    layout = file_dag(DATA)[0]
    (tmp_path / "x").write_bytes(DATA)
    kept: dict[int, bytes] = {}

    class Keep:
        def write(self, leaf: int, data: memoryview) -> None:
            kept[leaf] = bytes(data)

    with (
        FaultServer(tmp_path, Behaviour("UNREACHABLE", "429", retry_after=header)) as busy,
        FaultServer(tmp_path) as good,
    ):
        sources = [Mirror("busy", Endpoint(busy.url)), Mirror("good", Endpoint(good.url))]
        with FetchEngine(sources, policy=FetchPolicy(progress_deadline_s=5)) as engine:
            handle = engine.open_file(FileRef(layout.cid, "x", layout), Keep())
            engine.want(handle, range(LEAVES), 0.0)
            engine.wait(handle, range(LEAVES))
        assert busy.stats().requests <= 3
    assert b"".join(kept[leaf] for leaf in range(LEAVES)) == DATA
