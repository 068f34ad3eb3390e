"""`python -m benchmarks.pieces [--rounds N]`: Filecoin's pieces beside sha256 of the same bytes.

Rates on one core are of the process's own CPU time; those of a whole pass are of the clock, with all cores. In turns
within a round; the median of the rounds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from statistics import median

import numpy as np

from holdfast.pipeline.audit.pieces import SubtreeQuestion
from holdfast.pipeline.pieces.pack import pack
from holdfast.pipeline.publish import publish
from holdfast.storage.blocks.car_file import cars
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.cid import CID, DAG_PB
from holdfast.storage.pieces import kernel, pure
from holdfast.storage.pieces.block_table import ROW, BlockTable
from holdfast.storage.pieces.hasher import PieceHasher
from holdfast.storage.pieces.manifest import PieceManifest
from holdfast.storage.pieces.piece import SUBTREE_BYTES, SUBTREE_HEIGHT
from holdfast.storage.sources.http import Endpoint
from holdfast.storage.sources.piece import PieceSource
from holdfast.storage.sources.transfer import Transfer

from .goal import Goal
from .measure import in_memory, machine
from .servers import static_host

RESULTS = Path(__file__).parent / "results"
_SUBTREES = 512  # 533 MB
_SHARDS = 8
_SLOW = 16  # of them in Python
_GB = 1_000_000_000

Subtree = Callable[[bytes, int], bytes]


def main() -> None:
    """Measure, and say what came out."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pieces", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    data = np.random.default_rng(9).bytes(_SUBTREES * SUBTREE_BYTES)
    compiled = Goal(f"CommP, compiled ({kernel.KIND}), one core", 400, unit="MB/s")
    python = Goal("CommP in Python, one core", 35, unit="MB/s")
    one_pass = Goal("packing, sha256 and CommP in one pass / the slowest of them alone: rate", 0.6)
    memory = Goal("memory of `piece cid` of 1 GB", 300, at_least=False, unit="MB")
    challenge = Goal("a range challenge on loopback", 50, at_least=False, unit="ms")
    moved = Goal("a range challenge: bytes", 1.1, at_least=False, unit="MB")
    with tempfile.TemporaryDirectory(prefix="holdfast-pieces-", dir=in_memory(3 * len(data))) as folder:
        _measure(data, Path(folder), options.rounds, compiled, python, one_pass, memory)
        _challenge(data, Path(folder), options.rounds, challenge, moved)
    found = [compiled, python, one_pass, memory, challenge, moved]
    RESULTS.mkdir(exist_ok=True)
    document = {
        "machine": machine(),
        "goals": [asdict(goal) | {"value": goal.value, "met": goal.met} for goal in found],
    }
    (RESULTS / "pieces.json").write_text(json.dumps(document, indent=2) + "\n")
    for goal in found:
        sign, verdict = "≥" if goal.at_least else "≤", "met" if goal.met else "MISSED"
        spread = f"{min(goal.runs):.2f} to {max(goal.runs):.2f}"
        print(f"{goal.name}: {goal.value:.2f} {goal.unit} ({spread}; goal {sign} {goal.goal:g}): {verdict}")


def _measure(
    data: bytes, folder: Path, rounds: int, compiled: Goal, python: Goal, one_pass: Goal, memory: Goal
) -> None:
    (folder / "src").mkdir()
    for number in range(_SHARDS):
        size = len(data) // _SHARDS // 2 * 2
        (folder / f"src/{number}.bin").write_bytes(data[number * size : (number + 1) * size])
    root = publish(folder / "src", name="b", repo=folder / "repo", format="tokens", dtype="uint16").root
    for _ in range(rounds):
        sha256 = _rate(lambda: hashlib.sha256(data), len(data))
        compiled.runs.append(_tree(kernel.subtree, data, _SUBTREES))
        python.runs.append(_tree(pure.subtree, data, _SLOW))
        memory.runs.append(_memory())
        with DiskStore(folder / "repo").open(create=False) as store:
            alone = {
                "packing": _clocked(lambda store=store: _drop(cars(store, [root], 1)[0])),
                "sha256": _clocked(lambda: hashlib.sha256(data)),
                "CommP": _clocked(lambda: _piece(data)),
            }
            together = _clocked(lambda store=store: pack(store, root))
        one_pass.runs.append(max(alone.values()) / together)
        spent = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in alone.items())
        print(
            f"sha256 {sha256:.0f} MB/s, compiled {compiled.runs[-1]:.0f} ({compiled.runs[-1] / sha256:.2f}),"
            f" Python {python.runs[-1]:.0f} ({python.runs[-1] / sha256:.3f}), {memory.runs[-1]:.0f} MB; {spent},"
            f" in one pass {together:.2f} s",
            file=sys.stderr,
        )


def _challenge(data: bytes, folder: Path, rounds: int, challenge: Goal, moved: Goal) -> None:
    """One after the other, each judged by the layer: asked, received and hashed. 50 a round; the median of a round."""
    with PieceHasher() as hasher:
        hasher.update(data)
        piece = hasher.finish()
    (folder / "sp/piece").mkdir(parents=True)
    (folder / f"sp/piece/{piece.cid}").write_bytes(data)
    manifest = PieceManifest(CID.of(DAG_PB, b""), (piece,), BlockTable(np.empty(0, ROW)))
    with static_host(folder / "sp") as url:
        source = PieceSource(url, Endpoint(url), manifest)
        for number in range(rounds):
            questions = [SubtreeQuestion(at, piece, (at * 7919 + number) % piece.subtrees) for at in range(50)]
            times, sizes = [], []
            for question in questions:
                transfer = Transfer()
                times.append(_clocked(lambda ask=question, over=transfer: _right(ask.put(source, over))))
                start, end = piece.range_of(question.index)
                sizes.append(end - start)
            challenge.runs.append(1e3 * median(times))
            moved.runs.append(max(sizes) / 1e6)
        source.close()


def _right(answer: bool) -> None:
    if not answer:
        raise RuntimeError("a right answer was judged wrong")


def _clocked(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _drop(parts: Iterable[bytes]) -> None:
    for _ in parts:
        pass


def _piece(data: bytes) -> None:
    with PieceHasher() as hasher:
        hasher.update(data)
        hasher.finish()


def _rate(work: Callable[[], object], size: int) -> float:
    before = time.process_time()
    work()
    return size / (time.process_time() - before) / 1e6


def _tree(subtree: Subtree, data: bytes, count: int) -> float:
    view = memoryview(data)
    parts = [view[at * SUBTREE_BYTES : (at + 1) * SUBTREE_BYTES] for at in range(count)]
    return _rate(lambda: [subtree(part, SUBTREE_HEIGHT) for part in parts], count * SUBTREE_BYTES)  # type: ignore[arg-type]


_PROGRAM = """
import re
from holdfast.cli.app import main
try:
    main()
finally:  # not ru_maxrss, in which what forked this process is counted
    print(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
"""


def _memory() -> float:
    """Peak of the whole command, in MB, over zeros out of a pipe."""
    with subprocess.Popen(["head", "-c", str(_GB), "/dev/zero"], stdout=subprocess.PIPE) as zeros:
        command = [sys.executable, "-c", _PROGRAM, "piece", "cid", "-"]
        out = subprocess.run(command, stdin=zeros.stdout, capture_output=True, text=True, check=True)
    return int(out.stdout.split()[-1]) * 1024 / 1e6


if __name__ == "__main__":
    main()
