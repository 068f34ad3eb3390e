"""Several imports of one CAR file at a time, and collections beside them."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from holdfast.storage.blocks import car_file, car_resume
from holdfast.storage.blocks.car_file import CarSummary, import_car
from holdfast.storage.blocks.car_spool import Spool
from holdfast.storage.blocks.catalog import Catalog
from holdfast.storage.blocks.collect import collect
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.blocks.lease import lease
from holdfast.storage.blocks.stamp import Stamp
from holdfast.storage.cid import CID
from support.ageing import age
from support.car_imports import FILES, Counted, ends_well, files_of_store, killed, part_of
from support.sources import tree_of


def test_who_goes_on_does_not_touch_the_file_that_another_import_adopts(
    tmp_path: Path, car: Path, whole: tuple[CarSummary, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(tmp_path / "repo", car, "car_file", "sync_folder", 1)  # has its name, and is not in the catalogue
    same = tmp_path / "same.car"
    same.write_bytes(car.read_bytes())
    stamped, adopt, at_the_end, end = (threading.Event() for _ in range(4))
    real_add, real_take = Catalog.add_file, car_file._take

    def add_file(*given: object, **named: object) -> int:
        stamped.set()
        assert adopt.wait(30)
        return real_add(*given, **named)  # type: ignore[arg-type]

    def take(*given: object) -> None:
        if threading.current_thread().name == "second":
            at_the_end.set()
            assert end.wait(30)
        real_take(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(Catalog, "add_file", add_file)
    monkeypatch.setattr(car_file, "_take", take)
    with DiskStore(tmp_path / "repo").open() as store:
        first = threading.Thread(target=import_car, args=(store, same))
        second = threading.Thread(target=import_car, args=(store, car), name="second")
        first.start()
        assert stamped.wait(30)
        second.start()
        try:
            at_the_end.wait(0.5)  # it gets there only if it did not wait for the first
            adopt.set()
            first.join()
            (copy,) = store.files_folder.glob("*.car")
            row = store.catalog.file_at(copy)
            with copy.open("rb") as file:
                assert row is not None
                assert row.trusted(Stamp.of(file.fileno()))
        finally:
            adopt.set()
            end.set()
            first.join()
            second.join()
        ends_well(store, import_car(store, car), whole)


def test_two_imports_of_one_file_at_the_same_time_do_not_meet(
    repo: DiskStore, car: Path, whole: tuple[CarSummary, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_the_middle, go_on = threading.Event(), threading.Event()
    real, found = Spool.add, []

    def add(self: Spool, cid: CID, data: bytes) -> None:
        real(self, cid, data)
        if threading.current_thread().name == "first" and len(self.sections) == 80:
            in_the_middle.set()
            assert go_on.wait(30)

    monkeypatch.setattr(Spool, "add", add)
    monkeypatch.setattr(car_resume, "_BATCH_S", -1.0)
    first = threading.Thread(target=lambda: found.append(import_car(repo, car)), name="first")
    first.start()
    assert in_the_middle.wait(30)
    before = part_of(repo).read_bytes()
    try:
        _ = import_car(repo, car)
        assert tree_of(repo, _.roots[0]) == FILES
        assert part_of(repo).read_bytes() == before, "the second had a copy of its own"
    finally:
        go_on.set()
        first.join()
    ends_well(repo, found[0], whole)


def test_many_imports_of_one_file_at_the_same_time_keep_one(
    tmp_path: Path, car: Path, whole: tuple[CarSummary, dict[str, bytes]]
) -> None:
    with DiskStore(tmp_path / "repo").open() as store:
        threads = [threading.Thread(target=import_car, args=(store, car)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ends_well(store, import_car(store, car), whole)


def test_a_gc_takes_what_nobody_goes_on_with_and_nothing_under_a_lease(
    repo: DiskStore, car: Path, whole: tuple[CarSummary, dict[str, bytes]], counted: Counted,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    with lease(repo.folder, "import"):
        os.utime(part_of(repo))
        assert collect(repo).files == 0
    real = car_file._take

    def take(*given: object) -> None:
        collect(repo)
        real(*given)  # type: ignore[arg-type]

    os.utime(part_of(repo), ns=(1, 1))
    monkeypatch.setattr(car_file, "_take", take)
    with counted:
        found = import_car(repo, car)
    assert counted.hashed == found.blocks - 60
    ends_well(repo, found, whole)
    monkeypatch.undo()
    age(repo)
    collect(repo)
    assert files_of_store(repo) == {}
    assert repo.catalog.rows("SELECT * FROM journal") == []
    ends_well(repo, import_car(repo, car), whole)


def test_a_gc_takes_what_a_kill_left(repo: DiskStore, car: Path) -> None:
    age(repo)
    assert collect(repo, dry_run=True).files == 1
    assert len(files_of_store(repo)) == len(repo.catalog.rows("SELECT * FROM journal")) == 1
    assert collect(repo).files == 1
    assert (files_of_store(repo), repo.catalog.rows("SELECT * FROM journal")) == ({}, [])
