"""What a message says of each source when something could not be had: nothing that is not true."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from holdfast.storage.errors import MissingError, StoreError
from holdfast.storage.fetch.account import account
from holdfast.storage.fetch.engine import FetchEngine
from holdfast.storage.fetch.planner import Planner
from holdfast.storage.fetch.policy import FetchPolicy
from holdfast.storage.fetch.scoreboard import Score
from holdfast.storage.sources.source import FileRef
from support.trees import LEAF, file_dag

LENGTH = 1000
POLICY = FetchPolicy(progress_deadline_s=5.0, run_bytes=LENGTH)


def _failed(planner: Planner, leaf: int, now: float) -> str:
    planner.tick(now)
    return account(planner, planner.failed[(1, leaf)])


def test_a_source_that_has_not_got_the_file_is_said_to_miss_it() -> None:
    """Also for a leaf that it was not asked for, and whatever it answered well before."""
    planner = Planner([Score("a")], POLICY)
    planner.want(2, 0, LENGTH, 0.0, 0.0)
    planner.want(1, 0, LENGTH, 1.0, 0.0)
    good, bad = planner.next(0.0), planner.next(0.0)
    assert good is not None
    assert bad is not None
    planner.arrived(good.flight, 0, 0.1)
    planner.ended(good.flight, None, 0.1)
    planner.ended(bad.flight, MissingError("404"), 0.1)
    planner.want(1, 1, LENGTH, 1.0, 0.2)
    assert _failed(planner, 1, 9.0) == "a: MISSING (404)"
    planner.forget(1)
    planner.want(1, 1, LENGTH, 1.0, 20.0)
    assert _failed(planner, 1, 26.0) == "a: not asked for this; its last answer: MISSING (404)"


def test_a_source_that_is_silent_is_said_to_be_asked() -> None:
    planner = Planner([Score("a"), Score("b")], POLICY)
    planner.want(1, 0, LENGTH, 0.0, 0.0)
    start = planner.next(0.0)
    assert start is not None
    assert _failed(planner, 0, 6.0) == "a: asked, and no answer came; b: not asked"
    planner.want(1, 0, LENGTH, 0.0, 7.0)
    planner.progressed(start.flight, 10, 7.0)
    assert _failed(planner, 0, 20.0) == "a: its answer did not come to an end; b: not asked"


def test_a_wait_ends_when_the_clock_of_the_engine_does() -> None:
    """Nothing else would end it: deadlines are its business."""
    go = threading.Event()

    class Silent:
        name, url, max_rate, trusted = "one", "http://one", None, True

        def fetch_leaves(self, file: FileRef, first: int, last: int, *_: Any) -> None:
            go.wait(20)
            raise MissingError("404")

        def close(self) -> None:
            go.set()

    wrong: Any = replace(FetchPolicy(), progress_deadline_s="2s")  # type: ignore[arg-type]
    layout = file_dag(bytes(LEAF))[0]
    with FetchEngine([Silent()], policy=wrong) as engine:  # type: ignore[list-item]
        handle = engine.open_file(FileRef(layout.cid, "f", layout), Any)  # type: ignore[arg-type]
        engine.want(handle, [0], 0.0)
        with pytest.raises(StoreError, match="TypeError"):
            engine.wait(handle, [0], timeout_s=20)
        go.set()
