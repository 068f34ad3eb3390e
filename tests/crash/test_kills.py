"""A few kills of everything that writes; `make crash` does a thousand."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from crash.killing import run
from crash.scenarios import World, scenarios, world

KILLS = 6
SLOW = {"LoaderEvicting": 2, "LoaderFetcher": 3}  # every run of it fetches for seconds
NAMES = (
    "publish tokens", "publish loose", "publish jsonl", "Get", "CarImport", "Pin", "LoaderCache", "LoaderEvicting",
    "LoaderFetcher", "Collect",
)  # fmt: skip
pytestmark = pytest.mark.xdist_group("crash")  # one world for all


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    seed = int(os.environ.get("CRASH_SEED", random.randrange(1 << 32)))
    with world(tmp_path_factory.mktemp("crash") / "world", 6 << 20, seed) as made:
        yield made


@pytest.mark.parametrize("name", NAMES)
def test_kills_lose_nothing_and_tear_nothing(made: World, tmp_path: Path, name: str) -> None:
    seed = int(os.environ.get("CRASH_SEED", random.randrange(1 << 32)))
    print(f"CRASH_SEED={seed}")
    (scenario,) = [scenario for scenario in scenarios(made) if scenario.name == name]
    kills = SLOW.get(name, KILLS)
    tally = run(scenario, tmp_path, kills, random.Random(seed))
    assert tally.wrong == []
    assert tally.kills >= kills
    assert tally.ends >= 1


def test_every_scenario_is_among_them(made: World) -> None:
    assert tuple(scenario.name for scenario in scenarios(made)) == NAMES
