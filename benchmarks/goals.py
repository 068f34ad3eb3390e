"""`python -m benchmarks.goals [--quick] [--only PART]`: the figures that holdfast promises, each beside its goal.

Rates are ratios to a peer or a floor measured in the same round; a figure is the median of its rounds. Everything
runs on this machine: servers share its cores with what is measured. Prints a table, keeps figures and a plot.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from holdfast import publish
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.get import get

from . import goals_get, goals_large, goals_publish, nginx
from .goal import Goal
from .goal_plot import plot
from .measure import in_memory, machine
from .ready_memory import ReadyMemory

RESULTS = Path(__file__).parent / "results"
PARTS = ("publish", "loose", "get", "many", "delay", "first", "shards", "clients")
_SHARD = 64 << 20


def main() -> None:
    """Measure what was asked for; say what came out."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.goals", description="Measure holdfast's promises.")
    parser.add_argument("--quick", action="store_true", help="an eighth of the data, one round: is it alive?")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=PARTS, action="append", help="this part only; again for more")
    options = parser.parse_args()
    about, started = machine(), time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # gigabytes in memory are not left behind
    with (
        tempfile.TemporaryDirectory(prefix="holdfast-goals-") as folder,
        tempfile.TemporaryDirectory(prefix="holdfast-goals-", dir=in_memory(6 << 30)) as inputs,
        ReadyMemory() as memory,
    ):
        parts, rounds, scale = tuple(options.only or PARTS), options.rounds, 1
        if options.quick:
            rounds, scale = 1, 8
        found = _measure(Path(folder), Path(inputs), memory, parts, rounds, scale)
    _print(found)
    document = {
        "machine": about,
        "quick": options.quick,
        "seconds": round(time.monotonic() - started, 1),
        "goals": [asdict(goal) | {"value": goal.value, "met": goal.met} for goal in found],
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "goals.json").write_text(json.dumps(document, indent=2) + "\n")
    plot(found, RESULTS / "goals.png")
    print(f"{document['seconds']} s; {RESULTS / 'goals.json'}, goals.png")


def _measure(
    work: Path, inputs: Path, memory: ReadyMemory, parts: tuple[str, ...], rounds: int, scale: int
) -> list[Goal]:
    """`inputs`: where what is read lies; what is written goes to `work`."""
    found: list[Goal] = []
    if {"publish", "get", "many", "delay", "clients"} & set(parts):
        shards = _shards(inputs / "tokens", 32 // scale)
    if "publish" in parts:
        found += goals_publish.in_place(shards, work, rounds, _say)
    if "loose" in parts:
        found += goals_publish.loose(work, inputs / "loose", 200_000 // scale, rounds, memory, _say)
    if {"get", "many", "delay", "clients"} & set(parts):
        repo, mirror = work / "repo", inputs / "mirror"
        uri = publish(inputs / "tokens", name="t", repo=repo, format="tokens", dtype="uint16").uri
        with DiskStore(repo).open(create=False) as store:
            get(uri, mirror, store=store)
        parts_of_get: list[tuple[str, Callable[[], list[Goal]]]] = [
            ("get", lambda: goals_get.whole(uri, repo, mirror, work, rounds, memory, _say)),
            ("many", lambda: goals_get.many(uri, mirror, work, rounds, memory, _say)),
            ("delay", lambda: goals_get.delayed(uri, mirror, work, rounds, memory, _say)),
            ("clients", lambda: goals_large.many_clients(uri, repo, rounds, _say)),
        ]
        for part, run in parts_of_get:
            if part == "get" and not nginx.available():
                _say("no nginx here (Debian: apt-get install nginx-light): its rows are left out")
            elif part in parts:
                found += run()
    if "first" in parts:
        (work / "first").mkdir()
        found += goals_large.first_leaf(work / "first", 1_000_000 // scale, rounds, _say)
    if "shards" in parts:
        found += goals_large.many_shards(work, 100_000 // scale, rounds, _say)
    return found


def _shards(folder: Path, count: int) -> list[Path]:
    folder.mkdir()
    numbers = np.random.default_rng(7)
    for number in range(count):
        (folder / f"{number:05d}.bin").write_bytes(numbers.bytes(_SHARD))
    return sorted(folder.iterdir())


def _print(found: list[Goal]) -> None:
    table = Table(box=None, pad_edge=False)
    for title in ("what", "measured", "min", "max", "goal", ""):
        table.add_column(title, justify="left" if title == "what" else "right")
    for goal in found:
        sign = "≥" if goal.at_least else "≤"
        table.add_row(
            goal.name, f"{goal.value:,.2f} {goal.unit}".strip(), f"{min(goal.runs):,.2f}", f"{max(goal.runs):,.2f}",
            f"{sign} {goal.goal:g}", "met" if goal.met else "MISSED",
        )  # fmt: skip
    Console(width=150).print(table)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
