"""Imports of CAR files as tests make and kill them, and what they read, wrote and hashed."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

from holdfast.storage.blocks.block import Block
from holdfast.storage.blocks.car_file import CarSummary
from holdfast.storage.blocks.check import Checked, check
from holdfast.storage.blocks.disk import DiskStore
from support.programs import Program
from support.sources import tree_of
from support.trees import LEAF

COUNT = 100


FILES = {"a.bin": random.Random(51).randbytes(COUNT * LEAF + 1), "b.txt": b"hello"}


# dies when `holdfast.storage.blocks.<module>.<name>` has been called so many times
KILLED = """
import os, signal, sys
from pathlib import Path
from holdfast.storage.blocks import car_file, car_resume
from holdfast.storage.blocks.disk import DiskStore
car_resume._BATCH_S = -1.0  # noted behind every section
repo, car, module, name, times = sys.argv[1:]
where = {"Resume": car_resume.Resume, "car_file": car_file, "DiskStore": DiskStore}[module]
real, count = getattr(where, name), 0
def die(*given, **named):
    global count
    found = real(*given, **named)
    count += 1
    if count == int(times):
        os.kill(os.getpid(), signal.SIGKILL)
    return found
setattr(where, name, die)
with DiskStore(Path(repo)).open() as store:
    car_file.import_car(store, Path(car))
"""


def killed(repo: Path, car: Path, module: str = "Resume", name: str = "_note", times: int = 60) -> None:
    """An import that dies behind its sixtieth note, or where it is told."""
    assert Program(KILLED, repo, car, module, name, times).wait(60) == -signal.SIGKILL


class Counted:
    """Bytes that this process reads and writes, and blocks of the CAR that it hashes, inside of it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.read = self.written = self.hashed = 0
        real = Block.verify
        patch.setattr("holdfast.storage.dag.car.Block.verify", lambda *given: self._hash() or real(*given))

    def _hash(self) -> None:
        self.hashed += 1

    def __enter__(self) -> Counted:
        self.hashed, self._before = 0, _moved_bytes()
        return self

    def __exit__(self, *_: object) -> None:
        now = _moved_bytes()
        self.read, self.written = now[0] - self._before[0], now[1] - self._before[1]


def _moved_bytes() -> tuple[int, int]:
    read, written, *_ = (int(line.split()[1]) for line in Path("/proc/self/io").read_text().splitlines())
    return read, written


def files_of_store(store: DiskStore) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.files_folder.iterdir()}


def part_of(store: DiskStore) -> Path:
    (part,) = store.files_folder.glob("*.part")
    return part


def ends_well(store: DiskStore, found: CarSummary, whole: tuple[CarSummary, dict[str, bytes]]) -> None:
    assert (found, files_of_store(store)) == whole
    assert tree_of(store, found.roots[0]) == FILES
    assert list(check(store, Checked())) == []
