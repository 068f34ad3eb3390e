"""T13: the disk is full, at every place where something is written. Nothing wrong stays there; what can go on does.

Training goes on from memory and says so once. What must be on disk ends in one `DiskFullError`, and the same command
completes when there is room again.
"""

import logging
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from holdfast import StreamingDataset
from holdfast.demo.faults.server import FaultServer
from holdfast.loaders.spare import CachedFile, SpareMemory
from holdfast.pipeline.publish import publish
from holdfast.storage.blocks.car_file import export_car, import_car
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.cid import CID
from holdfast.storage.errors import DiskFullError, HashMismatchError
from holdfast.storage.get import get
from support.disk import check_copy, files_of
from support.full_disk import FullDisk, small_disk
from support.published import publish_mirror
from support.samples import collect
from support.trees import LEAF, file_dag, mirror_folder
from support.victim import python_path

SAMPLES = 60
FILES = {"data/a.bin": random.Random(7).randbytes(5 * LEAF + 77), "data/b.bin": b"b" * 100, "c.txt": b"c"}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    place, rng = tmp_path_factory.mktemp("t13"), random.Random(6)
    (place / "src").mkdir()
    for number in range(SAMPLES):
        (place / f"src/{number}.txt").write_text("".join(rng.choices("abcdefgh ", k=2000)))
    return publish_mirror(place, place / "src", leaf_size=LEAF, shard_size=2 * LEAF), place / "mirror"


@pytest.fixture(scope="module")
def server(published: tuple[str, Path]) -> Iterator[FaultServer]:
    with FaultServer(published[1]) as server:
        yield server


def _train(published: tuple[str, Path], server: FaultServer, cache: Path, **options: Any) -> list[str]:
    dataset = StreamingDataset(published[0], sources=[server.url], cache=cache, deadline_s=20, **options)
    return [f"{sample['__index__']} {sample['path']} {sample['text']}" for sample in collect(dataset)]


@pytest.fixture(scope="module")
def reference(
    published: tuple[str, Path], server: FaultServer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[str], int]:
    """What training delivers, and how often it takes room on disk."""
    cache = tmp_path_factory.mktemp("cache") / "cache"
    with FullDisk(cache, at=-1, stays=False).on() as disk:
        found = _train(published, server, cache)
    assert len(found) == SAMPLES
    return found, disk.count


def _check_cache(published: tuple[str, Path], cache: Path) -> None:
    whole = {path.read_bytes() for path in published[1].rglob("*") if path.is_file()}
    leaves = {data[at : at + LEAF] for data in whole for at in range(0, len(data), LEAF)}
    for name, data in files_of(cache).items():
        if name.startswith("shards/") and not name.endswith(".marks"):
            marks = (cache / f"{name}.marks").read_bytes()[72:]
            for leaf, mark in enumerate(marks):
                assert not mark or data[leaf * LEAF : (leaf + 1) * LEAF] in leaves, "marked, and wrong"
    assert not [name for name in files_of(cache) if name.endswith(".tmp")]


@pytest.mark.parametrize("stays", [False, True], ids=["once", "from then on"])
def test_training_delivers_every_sample_wherever_the_disk_is_full(
    published: tuple[str, Path], server: FaultServer, reference: tuple[list[str], int], tmp_path: Path,
    caplog: pytest.LogCaptureFixture, stays: bool,
) -> None:  # fmt: skip
    found, count = reference
    places = range(count) if not stays else range(0, count, 3)
    for at in places:
        cache = tmp_path / f"cache{at}"
        caplog.clear()
        with caplog.at_level(logging.WARNING), FullDisk(cache, at, stays=stays).on() as disk:
            assert _train(published, server, cache) == found, f"full at write {at}"
        assert disk.refused, f"write {at} was refused"
        assert [record.getMessage().split(":")[0] for record in caplog.records] == [f"no space left in {cache}"]
        assert disk.refused < 40, "not tried again for every leaf"
        _check_cache(published, cache)
    assert _train(published, server, cache) == found, "and with room again"


def test_with_little_memory_what_was_read_is_dropped_and_what_was_not_is_kept(
    published: tuple[str, Path], server: FaultServer, reference: tuple[list[str], int], tmp_path: Path
) -> None:
    with FullDisk(tmp_path / "cache", 0, stays=True).on():
        assert _train(published, server, tmp_path / "cache", prefetch_bytes=1) == reference[0]
    memory, cid = SpareMemory(tmp_path, 100), CID.of(0x55, b"x")
    for leaf in range(5):
        memory.put((cid, leaf), bytes(40))
    assert memory.used_bytes == 200
    assert all(memory.has((cid, leaf)) for leaf in range(5)), "nobody read them yet"
    assert memory.take((cid, 0))
    memory.put((cid, 5), bytes(40))
    assert not memory.has((cid, 0))
    memory.settle()
    memory.put((cid, 6), bytes(40))
    assert memory.used_bytes <= 100
    memory.forget(cid)
    assert memory.used_bytes == 0


def test_the_disk_is_tried_again_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    memory = SpareMemory(tmp_path, 100, clock=lambda: now[0])
    memory.disk_was_full()
    memory.disk_was_full()
    assert len(caplog.records) == 1
    assert memory.disk_is_full
    now[0] = 31.0
    assert not memory.disk_is_full


def test_workers_on_a_disk_that_is_really_full(
    published: tuple[str, Path], server: FaultServer, tmp_path: Path
) -> None:
    """A tmpfs of 80 KiB: less than the dataset. Two epochs, two workers."""
    before = small_disk(tmp_path / "disk", 80 << 10)
    program = """
import sys, logging
logging.basicConfig(stream=sys.stderr)
from holdfast import StreamingDataset
from support.samples import collect
if __name__ == "__main__":
    for epoch in range(2):
        dataset = StreamingDataset(sys.argv[1], sources=[sys.argv[2]], cache=sys.argv[3], batch_size=4, deadline_s=20)
        found = collect(dataset, workers=2)
        assert len({sample["path"] for sample in found}) == len(found) == 60, len(found)
    print("delivered")
"""
    done = subprocess.run(
        [*before, sys.executable, "-c", program, published[0], server.url, tmp_path / "disk"],
        capture_output=True, text=True, timeout=90, env={**os.environ, "PYTHONPATH": python_path()},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "delivered\n"), done.stderr
    assert "no space left" in done.stderr
    assert "Traceback" not in done.stderr


# -- what must be on disk


@contextmanager
def _attempts(folder: Path, stays: bool, work: Callable[[], object], step: int = 1) -> Iterator[None]:
    """Run `work` with every write refused in turn, until one run has none refused. Then the body."""
    at = 0
    while True:
        with FullDisk(folder, at, stays=stays).on() as disk:
            try:
                work()
            except DiskFullError as error:
                assert "no space left" in error.message
            else:
                if not disk.refused:
                    break
        assert disk.refused < 10, "never retried in a loop"
        assert not list(folder.rglob("*.tmp")), f"a temporary file is left, write {at}"
        at += step
        assert at < 2000
    yield


@pytest.mark.parametrize("stays", [False, True])
def test_get_ends_at_every_write_and_completes_afterwards(tmp_path: Path, stays: bool) -> None:
    root = mirror_folder(tmp_path / "origin", FILES)
    with FaultServer(tmp_path / "origin") as server:
        number = iter(range(10_000))

        def work() -> None:
            dest = tmp_path / "copies" / str(next(number))
            try:
                get(str(root), dest, sources=[server.url])
            except DiskFullError:
                check_copy(dest, FILES, complete=False)
                failed.append(dest)
                raise

        failed: list[Path] = []
        (tmp_path / "copies").mkdir()
        with _attempts(tmp_path / "copies", stays, work, step=1 + stays):
            assert len(failed) > 5
        for dest in failed:
            get(str(root), dest, sources=[server.url])
            check_copy(dest, FILES, complete=True)


@pytest.mark.parametrize("stays", [False, True])
def test_publish_ends_at_every_write_and_completes_afterwards(tmp_path: Path, stays: bool) -> None:
    source = tmp_path / "src"
    source.mkdir()
    for number in range(8):
        (source / f"{number}.txt").write_text(f"text {number} " * 300)
    before = files_of(source)
    root = publish(source, name="x", repo=tmp_path / "reference", leaf_size=LEAF).root
    (tmp_path / "repo").mkdir()
    with _attempts(tmp_path / "repo", stays, lambda: publish(source, name="x", repo=tmp_path / "repo", leaf_size=LEAF)):
        assert publish(source, name="x", repo=tmp_path / "repo", leaf_size=LEAF).root == root
    assert files_of(source) == before
    with DiskStore(tmp_path / "repo").open(create=False) as store:
        get(str(root), tmp_path / "copy", store=store, sources=["http://127.0.0.1:9"])


@pytest.mark.parametrize("stays", [False, True])
def test_importing_and_exporting_a_car_end_at_every_write_and_complete_afterwards(tmp_path: Path, stays: bool) -> None:
    source = tmp_path / "src"
    source.mkdir()
    (source / "a.txt").write_text("a" * 5000)
    root = publish(source, name="x", repo=tmp_path / "origin", leaf_size=LEAF).root
    car = tmp_path / "out" / "x.car"
    car.parent.mkdir()
    with DiskStore(tmp_path / "origin").open(create=False) as store:
        with _attempts(car.parent, stays, lambda: export_car(store, root, car)):
            assert [path.name for path in car.parent.iterdir()] == ["x.car"]
    (tmp_path / "repo").mkdir()

    def work() -> None:
        with DiskStore(tmp_path / "repo").open() as target:
            import_car(target, car)

    with _attempts(tmp_path / "repo", stays, work), DiskStore(tmp_path / "repo").open() as target:
        assert target.get(root).cid == root
        left = sorted((tmp_path / "repo/files").rglob("*"))
        assert len([path for path in left if path.is_file()]) <= 2, "what failed was removed"


def test_ten_epochs_stop_in_the_middle_and_hold_no_memory(
    published: tuple[str, Path], server: FaultServer, tmp_path: Path
) -> None:
    with FullDisk(tmp_path / "cache", 3, stays=True).on():
        dataset = StreamingDataset(published[0], sources=[server.url], cache=tmp_path / "cache", prefetch_bytes=1 << 16)
        for epoch in range(10):
            dataset.set_epoch(epoch)
            assert len(list(islice(iter(dataset), 7))) == 7
        assert dataset._access._runtime is not None
        assert dataset._access._runtime._spare.used_bytes < 4 << 20
        dataset.close()


def test_what_is_kept_in_memory_is_hashed_first(tmp_path: Path) -> None:
    layout = file_dag(bytes(2 * LEAF))[0]
    file = CachedFile(layout, None, SpareMemory(tmp_path, 1 << 20))
    for wrong in (b"\1" * LEAF, bytes(LEAF - 1), b""):
        with pytest.raises(HashMismatchError):
            file.write(0, memoryview(wrong))
    assert not file.has(0)
    file.write(0, memoryview(bytes(LEAF)))
    assert file.view(5, 9) == bytes(4)
