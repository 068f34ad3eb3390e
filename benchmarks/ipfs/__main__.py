"""`python -m benchmarks.ipfs [--only PART] [--scale X] [--rounds N]`: holdfast beside Kubo, and its goals.

Ratios within a round; the median of the rounds. All on loopback, repositories in memory. Needs `make daemons`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ..goal import Goal
from ..measure import in_memory, machine
from ..ready_memory import ReadyMemory
from .setting import SHARD_BYTES, Setting, published, there

RESULTS = Path(__file__).parents[1] / "results"
PARTS = ("push", "read", "serve", "pins", "versions")
_LARGE = {"push", "read", "serve"}  # move the whole dataset
_SHARDS = 32  # 2 GB
_NEEDED_BYTES, _SMALL_BYTES = 12_000_000_000, 1_000_000_000  # source, CAR, three Kubos and what they give back


def main() -> None:
    """Measure what was asked for; say what came out."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ipfs", description=__doc__)
    parser.add_argument("--only", choices=PARTS, action="append", help="this part only; again for more")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="of all sizes: 0.1 is a trial")
    options = parser.parse_args()
    if not there():
        parser.error("no Kubo here: make daemons")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # gigabytes in memory are not left behind
    parts = options.only or PARTS
    is_large = bool(_LARGE.intersection(parts))
    shards = max(2, int(_SHARDS * options.scale)) if is_large else 2
    folder = in_memory(int(_NEEDED_BYTES * options.scale) if is_large else _SMALL_BYTES)
    if folder is None:
        _say("no room in memory: repositories lie on a disk, which is measured too; --scale 0.5 needs half as much")
    found: list[Goal] = []
    with (
        tempfile.TemporaryDirectory(prefix="holdfast-ipfs-", dir=folder) as place,
        ReadyMemory(int(3e9 * options.scale)) as memory,
    ):
        work = Path(place)
        source = work / "source"
        source.mkdir()
        numbers = np.random.default_rng(7)
        for number in range(shards):
            (source / f"{number:05d}.bin").write_bytes(numbers.bytes(SHARD_BYTES))
        root = published(source, work / "first", work / "set.car")
        setting = Setting(
            source, work / "first", work / "set.car", root, shards * SHARD_BYTES, work, options.rounds, memory, _say
        )
        for part in parts:
            found += importlib.import_module(f".{part}", __package__).goals(setting)
    RESULTS.mkdir(exist_ok=True)
    document = {
        "machine": machine(), "scale": options.scale,
        "goals": [asdict(goal) | {"value": goal.value, "met": goal.met} for goal in found],
    }  # fmt: skip
    (RESULTS / "ipfs.json").write_text(json.dumps(document, indent=2) + "\n")
    for goal in found:
        sign, verdict = "≥" if goal.at_least else "≤", "met" if goal.met else "MISSED"
        spread = f"{min(goal.runs):.2f} to {max(goal.runs):.2f}"
        print(f"{goal.name}: {goal.value:.2f} {goal.unit} ({spread}; goal {sign} {goal.goal:g}): {verdict}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
