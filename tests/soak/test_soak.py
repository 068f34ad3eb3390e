"""The long run, for a few seconds: so that it still runs when somebody wants it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from soak.report import words, write
from soak.soak import Result, soak
from soak.vitals import MAX_MEMORY_GAIN, MIB, Vitals

SEED = 20


@pytest.mark.xdist_group("soak")
def test_hosts_die_lie_and_freeze_and_training_goes_on(tmp_path: Path) -> None:
    result = soak(6.0, mib=6, seed=SEED, reading_s=0.5, say=print)
    print("\n".join(words(result)))
    assert not result.wrong
    assert result.ok
    assert len(result.epochs) >= 3
    assert result.chaos
    assert result.housework["get: done"]
    assert result.housework["audit: done"] + result.housework["audit: exit 1"]
    assert result.housework["repo verify: done"] == 2
    assert all(vitals.memory for vitals in result.vitals)
    write(result, tmp_path)
    assert json.loads((tmp_path / "soak.json").read_text())["ok"]
    assert (tmp_path / "soak.png").stat().st_size > 1000


def line(rise: float) -> Vitals:
    """Ten hours of readings that swing by 8 MiB and rise by so many bytes an hour."""
    seconds = [60.0 * minute for minute in range(600)]
    return Vitals(
        "x", seconds, [int(400 * MIB + (n % 7 - 3) * 8 * MIB / 3 + rise * at / 3600) for n, at in enumerate(seconds)],
        [50 + n % 5 for n in range(600)],
    )  # fmt: skip


def test_a_rise_is_told_from_a_swing() -> None:
    for rise, is_flat in ((0.0, True), (0.5 * MIB, True), (4.0 * MIB, False), (-9.0 * MIB, True)):
        vitals = line(rise)
        trend = vitals.trend(vitals.memory)
        assert trend is not None
        assert trend.is_flat(MAX_MEMORY_GAIN) is is_flat, (rise, trend)
        assert abs(trend.slope_per_hour - rise) < MIB / 2


def test_too_few_readings_say_nothing() -> None:
    assert Vitals("x", [1.0] * 10, [1] * 10).trend([1] * 10) is None


@pytest.mark.parametrize("kind", ["wrong", "missing", "doubled", "misplaced"])
def test_one_bad_sample_is_enough(kind: str) -> None:
    good = {"epoch": 0, "reader": "workers", "samples": 9, "wrong": 0, "missing": 0, "doubled": 0, "misplaced": 0}
    assert Result(1, epochs=[good, good]).ok
    bad = Result(1, epochs=[good, good | {kind: 1}, good])
    assert not bad.ok
    assert words(bad)[-1] == "NOT everything held"
    assert not Result(1).ok, "no epoch at all"
    assert not Result(1, epochs=[good], wrong=["a peer ended by itself"]).ok
    assert not Result(1, epochs=[good], vitals=[line(4.0 * MIB)]).ok
