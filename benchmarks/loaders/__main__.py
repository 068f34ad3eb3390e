"""`python -m benchmarks.loaders [--only PATTERN] [--rounds N] [--scale X]`: the loader beside its peers, and its goals.

Each run is a process of its own, on this machine, from one nginx on loopback; rounds are interleaved. Results are
merged into `results/loaders.json`, and from there `loaders.md` and `loaders.png` are made anew.
"""

from __future__ import annotations

import argparse
import importlib
import re
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from ..measure import in_memory, machine
from . import cells, materials, shuffling
from .environments import PACKAGES, prepare, versions
from .goals.setting import Setting
from .measuring import Plan, measure, say
from .report import write_report
from .results import Results

GOALS = ("sources", "jpeg", "window", "shards")


def main() -> None:
    """Measure what was asked for; say what came out."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loaders", description=__doc__)
    parser.add_argument("--only", default="", help="a regular expression on “cell: loader”, or on a goal's name")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="of all sizes: 0.05 is a trial")
    parser.add_argument("--cap", type=float, default=120.0, metavar="SECONDS", help="a run that takes longer is ended")
    parser.add_argument("--contenders", action="store_true", help="leave peers that are far behind out of later rounds")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # gigabytes in memory are not left behind
    plan = Plan(re.compile(options.only), options.rounds, options.scale, options.cap, options.contenders)
    results = Results()
    for corpus in cells.CORPORA:
        _corpus(corpus, plan, results)
    _goals(plan, results)
    _shuffling(plan, results)
    if results.empty:
        parser.error(f"--only {options.only!r} names no cell, no goal, and nothing was measured before")
    write_report(results)


def _corpus(corpus: str, plan: Plan, results: Results) -> None:
    found = [cells.wanted(cell, plan.only) for cell in cells.cells(corpus)]
    loaders = {loader for halves in found for rows in halves.values() for loader in rows}
    by_hand = corpus == "images" and any(
        plan.only.search(f"{c.name('cold')}: {cells.BY_HAND}") for c in cells.cells(corpus)
    )
    if not loaders and not by_hand:
        return
    prepare(
        sorted({loader.peer for loader in loaders} & set(PACKAGES) | ({"webdataset"} if corpus == "images" else set()))
    )
    about = {**machine(), **versions()}
    kinds = sorted({loader.kind for loader in loaders} - {""})
    with tempfile.TemporaryDirectory(prefix="holdfast-loaders-", dir=in_memory(int(plan.scale * (7 << 30)))) as folder:
        work = Path(folder)
        served = work / "served"
        served.mkdir()
        work.chmod(0o755)
        material = materials.make(corpus, max(64, int(cells.COUNTS[corpus] * plan.scale)), served, work, kinds, say)
        measure(material, plan, work, results, lambda: results.save(about))
        shutil.rmtree(served)


def _goals(plan: Plan, results: Results) -> None:
    """Each by the name of its module: `--only "goal: window"`."""
    for name in GOALS:
        if not plan.only.search(f"goal: {name}"):
            continue
        with tempfile.TemporaryDirectory(
            prefix="holdfast-loaders-", dir=in_memory(int(plan.scale * (2 << 30)))
        ) as folder:
            work = Path(folder)
            work.chmod(0o755)
            module = importlib.import_module(f".goals.{name}", __package__)
            for goal in module.goals(Setting(work, plan.scale, plan.rounds, say)):
                results.put_goal(goal)
        results.save({**machine(), **versions()})


def _shuffling(plan: Plan, results: Results) -> None:
    if plan.only.search("shuffling"):
        for count in shuffling.COUNTS:
            samples = max(5_000, int(count * plan.scale))
            with tempfile.TemporaryDirectory(prefix="holdfast-loaders-") as folder:
                results.tables[f"Shuffling {samples:,} samples"] = shuffling.measure(samples, Path(folder), say)
        results.save({**machine(), **versions()})


if __name__ == "__main__":
    main()
