"""Goals of publishing: in place beside sha256 alone; loose files beside `tar` and one sha256 pass."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from . import child
from .goal import Goal
from .measure import hash_file
from .ready_memory import ReadyMemory

TOKENS = ("format=tokens", "dtype=uint16")


def in_place(shards: list[Path], work: Path, rounds: int, say: Callable[[str], None]) -> list[Goal]:
    """2 GB in 64 MB shards, warm page cache."""
    rate = Goal("publish in place / sha256 in as many processes", 0.85)
    memory = Goal("publish in place: memory", 200, at_least=False, unit="MB (PSS)")
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(hash_file, shards))
        for _ in range(rounds):
            started = time.perf_counter()
            list(pool.map(hash_file, shards))
            floor = time.perf_counter() - started
            done = child.run("publish", shards[0].parent, work / "repo", *TOKENS)
            shutil.rmtree(work / "repo")
            rate.runs.append(floor / done.seconds)
            memory.runs.append(done.peak_pss / 1e6)
            say(f"publish in place: {done.seconds:.2f} s, sha256 {floor:.2f} s, {done.peak_pss / 1e6:.0f} MB")
    return [rate, memory]


def loose(
    work: Path, source: Path, count: int, rounds: int, ready: ReadyMemory, say: Callable[[str], None]
) -> list[Goal]:
    """`count` files of 2 KB in `source`."""
    rate = Goal(f"publish {count:,} files of 2 KB / tar and one sha256 pass", 0.5)
    memory = Goal(f"publish {count:,} files: memory", 200, at_least=False, unit="MB (PSS)")
    data = random.Random(1).randbytes(2048 + count)
    for number in range(count):
        path = source / f"{number // 1000:04d}/{number:07d}.jpg"
        if number % 1000 == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(data[number : number + 2048])
    for _ in range(rounds):
        with ready.lend():
            started = time.perf_counter()
            subprocess.run(["tar", "cf", work / "x.tar", "-C", source.parent, source.name], check=True)
            hash_file(work / "x.tar")
            floor = time.perf_counter() - started
        (work / "x.tar").unlink()
        with ready.lend():
            done = child.run("publish", source, work / "repo")
        shutil.rmtree(work / "repo")
        rate.runs.append(floor / done.seconds)
        memory.runs.append(done.peak_pss / 1e6)
        say(f"publish loose: {done.seconds:.2f} s, tar and sha256 {floor:.2f} s, {done.peak_pss / 1e6:.0f} MB")
    shutil.rmtree(source)
    return [rate, memory]
