"""What a source sends trips a bug of ours. Its requests fail; the run of the others goes on. Our disk is ours."""

from __future__ import annotations

import logging
import random
from pathlib import Path

import pytest

from holdfast.storage.cid import CID
from holdfast.storage.errors import FormatError, MissingError, StoreError, UnavailableError
from holdfast.storage.fetch.engine import FetchEngine
from holdfast.storage.fetch.policy import FetchPolicy
from holdfast.storage.sources.source import FileRef, OnLeaf, Place
from holdfast.storage.sources.transfer import Transfer
from support.trees import LEAF, file_dag

DATA = random.Random(3).randbytes(6 * LEAF)
LAYOUT = file_dag(DATA)[0]
FILE = FileRef(LAYOUT.cid, "x", LAYOUT)


class Memory:
    """A `Source` of `DATA`."""

    max_rate: int | None = None
    trusted = True

    def __init__(self, name: str, failure: Exception | None = None) -> None:
        self.name = self.url = name
        self.failure, self.asked = failure, 0

    def fetch_block(self, cid: CID, root: CID, transfer: Transfer, place: Place | None = None) -> bytes:
        raise self.failure or MissingError("only leaves")

    def fetch_leaves(self, file: FileRef, first: int, last: int, transfer: Transfer, on_leaf: OnLeaf) -> None:
        self.asked += 1
        if self.failure:
            raise self.failure
        for leaf in range(first, last):
            start, end = LAYOUT.leaf_range(leaf)
            transfer.received += end - start
            if not on_leaf(leaf, memoryview(DATA)[start:end]):
                return

    def close(self) -> None:
        pass


class Sink:
    """Keeps leaves, or fails."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.kept: set[int] = set()
        self.failure = failure

    def write(self, leaf: int, data: memoryview) -> None:
        if self.failure:
            raise self.failure
        self.kept.add(leaf)


def _run(sources: list[Memory], sink: Sink, deadline_s: float = 10.0) -> None:
    with FetchEngine(sources, policy=FetchPolicy(progress_deadline_s=deadline_s)) as engine:
        handle = engine.open_file(FILE, sink)
        engine.want(handle, range(6), 0.0)
        engine.wait(handle, range(6))


@pytest.mark.parametrize("failure", [ZeroDivisionError("secret"), FormatError("odd"), KeyError("secret")])
def test_the_others_complete_the_run(failure: Exception, caplog: pytest.LogCaptureFixture) -> None:
    bad, good, sink = Memory("bad", failure), Memory("good"), Sink()
    with caplog.at_level(logging.ERROR, "holdfast.fetch"):
        _run([bad, good], sink)
    assert sink.kept == set(range(6))
    assert bad.asked
    ours = not isinstance(failure, FormatError)
    assert len(caplog.records) == ours, "one traceback for each kind of failure"
    assert all(record.exc_info and "bad" in record.getMessage() for record in caplog.records)


def test_alone_it_is_unavailable_with_the_type_in_the_sentence(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(UnavailableError, match="ZeroDivisionError"):
        _run([Memory("bad", ZeroDivisionError("x"))], Sink(), deadline_s=0.3)


@pytest.mark.parametrize("failure", [StoreError("no disk"), OSError("no disk"), ValueError("no disk")])
def test_what_the_sink_raises_ends_the_run_and_blames_no_source(failure: Exception) -> None:
    source = Memory("good")
    with pytest.raises(StoreError, match="no disk"):
        _run([source], Sink(failure))


def test_a_source_that_nothing_can_wake_holds_up_the_end_for_all_threads_together(tmp_path: Path) -> None:
    import threading
    import time

    hang = threading.Event()

    class Deaf(Memory):
        def fetch_leaves(self, file: FileRef, first: int, last: int, transfer: Transfer, on_leaf: OnLeaf) -> None:
            hang.wait(30)

    engine = FetchEngine([Deaf(f"deaf{n}") for n in range(6)], policy=FetchPolicy(progress_deadline_s=0.3)).start()
    threads = list(engine._threads)
    handle = engine.open_file(FILE, Sink())
    engine.want(handle, range(6), 0.0)
    with pytest.raises(UnavailableError):
        engine.wait(handle, range(6))
    started = time.monotonic()
    engine.close()
    assert time.monotonic() - started < 8
    hang.set()
    for thread in threads:
        thread.join(5)
