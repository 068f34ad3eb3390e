"""The demo's claims can fail: each one breaks when what it says is not so."""

from dataclasses import replace
from typing import Any, cast

import pytest

from holdfast.demo.meter import Mark, Meter
from holdfast.demo.report import Outcome, judge, phases
from holdfast.demo.trainer import Run
from holdfast.storage.fetch.scoreboard import SourceStats


def _stats(name: str, wrong: int = 0, count: int = 1000) -> SourceStats:
    return SourceStats(name, f"http://{name}", 5, count, wrong, {"OK": 5}, "good")


def _outcome(**changes: Any) -> Outcome:
    meter = Meter(cast("Any", None), [float(n) for n in range(9)], [n * 100 for n in range(9)])
    meter.marks = [Mark("a", 4, 2.0, 200), Mark("b", 8, 4.0, 400), Mark("c", 12, 6.0, 600)]
    losses = [3.0 - n / 10 for n in range(16)]
    run = Run(digest="abc", losses=losses, samples=128, longest_stall_ms=3, seconds=8)
    outcome = Outcome(run, meter, [_stats("alice"), _stats("bob", wrong=2), _stats("carol")])
    return replace(outcome, **changes)


def _held(calm: Outcome, rough: Outcome, before: int = 500, gone: bool = True) -> dict[str, bool]:
    return {claim.what: claim.held for claim in judge(calm, rough, 16, "bob", ("alice", before), gone)}


def test_a_good_run_holds_every_claim() -> None:
    assert all(_held(_outcome(), _outcome()).values())


def _run(**changes: Any) -> Outcome:
    outcome = _outcome()
    return replace(outcome, run=replace(outcome.run, **changes))


def _unfetched() -> Outcome:
    outcome = _outcome()
    outcome.meter.marks[-1] = replace(outcome.meter.marks[-1], bytes=outcome.meter.bytes[-1])
    return outcome


@pytest.mark.parametrize(
    ("rough", "broken"),
    [
        (_run(digest="other"), "same samples"),
        (_run(losses=[1.0] * 8), "finished their steps"),
        (_run(losses=[1.0 + n for n in range(16)]), "loss went down (disturbed)"),
        (_unfetched(), "still being fetched"),
        (_outcome(peers=[_stats("alice"), _stats("bob"), _stats("carol")]), "wrong bytes were caught"),
        (_outcome(peers=[_stats("alice", 1), _stats("bob", 1), _stats("carol")]), "nobody else"),
        (_outcome(peers=[_stats("alice", count=500), _stats("bob", 1), _stats("carol")]), "alice was used again"),
    ],
)
def test_each_claim_breaks_when_it_is_not_so(rough: Outcome, broken: str) -> None:
    assert [what for what, held in _held(_outcome(), rough).items() if not held and broken in what]


def test_a_publisher_that_is_still_there_breaks_its_claim() -> None:
    assert not _held(_outcome(), _outcome(), gone=False)["the publisher was gone before training began"]


def test_phases_measure_between_events() -> None:
    first, _, last = phases(_outcome())
    assert first["before_bytes_s"] == 100
    assert first["bytes_after"] == 200
    assert last["bytes_after"] == 200
