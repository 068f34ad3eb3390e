"""An import of a CAR file that was killed goes on: nothing is copied twice, and nothing torn or rotten is taken."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from holdfast.storage.blocks import car_resume
from holdfast.storage.blocks.car_file import CarSummary, import_car
from holdfast.storage.blocks.car_spool import Spool
from holdfast.storage.blocks.collect import collect
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.blocks.journal import Journal
from holdfast.storage.cid import CID
from holdfast.storage.errors import FormatError
from support.ageing import age
from support.car_imports import Counted, ends_well, files_of_store, killed, part_of
from support.trees import LEAF


def test_what_was_copied_is_not_read_and_not_hashed_again(
    repo: DiskStore, car: Path, whole: tuple[CarSummary, dict[str, bytes]], counted: Counted
) -> None:
    """Of the CAR, that is: the copy is read and hashed in its place, for the disk may have changed it since."""
    assert not repo.has(whole[0].roots[0])
    with counted:
        found = import_car(repo, car)
    assert counted.hashed == found.blocks - 60
    size = car.stat().st_size
    assert counted.written < size * 0.6, "forty sections of a hundred, and the catalogue"
    assert counted.read < size * 1.35, "each byte once, of the file or of the copy, and heads"
    ends_well(repo, found, whole)


@pytest.mark.parametrize(
    ("module", "name", "times"),
    [
        ("Resume", "note_end", 1),
        ("car_file", "sync_folder", 1),
        ("DiskStore", "adopt_car", 1),
        ("car_file", "_take", 1),
    ],
)
def test_behind_the_last_section_nothing_is_read_again(
    tmp_path: Path, car: Path, whole: tuple[CarSummary, dict[str, bytes]], counted: Counted, module: str, name: str,
    times: int,
) -> None:  # fmt: skip
    killed(tmp_path / "repo", car, module, name, times)
    with DiskStore(tmp_path / "repo").open() as store:
        with counted:
            found = import_car(store, car)
        assert counted.hashed == 0
        ends_well(store, found, whole)


def test_each_of_many_kills_loses_little(
    tmp_path: Path, car: Path, whole: tuple[CarSummary, dict[str, bytes]], counted: Counted
) -> None:
    for _ in range(7):
        killed(tmp_path / "repo", car, times=12)
    with DiskStore(tmp_path / "repo").open() as store:
        with counted:
            found = import_car(store, car)
        assert counted.hashed == found.blocks - 7 * 12
        ends_well(store, found, whole)


def test_a_file_that_changed_is_imported_from_its_beginning(repo: DiskStore, car: Path, counted: Counted) -> None:
    about, data = car.stat(), bytearray(car.read_bytes())
    car.write_bytes(data)
    os.utime(car, ns=(about.st_atime_ns, about.st_mtime_ns))  # the change time tells
    with counted:
        found = import_car(repo, car)
    assert counted.hashed == found.blocks
    data[len(data) // 4] ^= 1  # in what was copied already
    car.write_bytes(data)
    with pytest.raises(Exception, match=r"byte \d+"):
        import_car(repo, car)


def test_what_lies_behind_the_last_note_is_cut_off(
    repo: DiskStore, car: Path, whole: tuple[CarSummary, dict[str, bytes]], counted: Counted
) -> None:
    with part_of(repo).open("ab") as file:
        file.write(random.Random(1).randbytes(3 * LEAF))
    with counted:
        found = import_car(repo, car)
    assert counted.hashed == found.blocks - 60
    ends_well(repo, found, whole)


@pytest.mark.parametrize("text", ["", "{}", "[]", "[[1, 2], 3]", '[[1, 2, 3, 4, 5], -1, 100, "ab", true]', "[" * 9999])
@pytest.mark.parametrize("signed", [True, False])
def test_an_entry_that_makes_no_sense_is_ignored(
    repo: DiskStore, car: Path, whole: tuple[CarSummary, dict[str, bytes]], counted: Counted, text: str, signed: bool
) -> None:
    ((key,),) = repo.catalog.rows("SELECT key FROM journal")
    assert isinstance(key, bytes)
    if signed:
        Journal(repo.catalog).write(key, text)
    else:
        with repo.catalog.transaction() as connection:
            connection.execute("UPDATE journal SET state = ?", (text.encode()[:50] + b"\xff",))
    with counted:
        found = import_car(repo, car)
    assert counted.hashed == found.blocks
    ends_well(repo, found, whole)


def test_a_flipped_bit_in_the_entry_is_noticed(repo: DiskStore, car: Path, counted: Counted) -> None:
    ((key, state),) = repo.catalog.rows("SELECT key, state FROM journal")
    assert isinstance(key, bytes)
    assert isinstance(state, str)
    for at in range(0, len(state), 7):
        with repo.catalog.transaction() as connection:
            odd = state[:at] + chr(ord(state[at]) ^ 1) + state[at + 1 :]
            connection.execute("UPDATE journal SET state = ?", (odd,))
        assert Journal(repo.catalog).read(key) is None


def test_an_interrupted_import_goes_on_and_a_failed_one_leaves_nothing(
    tmp_path: Path, car: Path, whole: tuple[CarSummary, dict[str, bytes]], counted: Counted,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    real = Spool.add

    def interrupted(error: BaseException) -> None:
        def add(self: Spool, cid: CID, data: bytes) -> None:
            if len(self.sections) == 50:
                raise error
            real(self, cid, data)

        monkeypatch.setattr(Spool, "add", add)
        with DiskStore(tmp_path / "repo").open() as store, pytest.raises(type(error)):
            import_car(store, car)
        monkeypatch.setattr(Spool, "add", real)

    monkeypatch.setattr(car_resume, "_BATCH_S", -1.0)
    interrupted(KeyboardInterrupt())
    with DiskStore(tmp_path / "repo").open() as store:
        with counted:
            found = import_car(store, car)
        assert counted.hashed == found.blocks - 50
        ends_well(store, found, whole)
        age(store)
        collect(store)
    interrupted(FormatError("no CAR"))
    with DiskStore(tmp_path / "repo").open() as store:
        assert files_of_store(store) == {}
        assert store.catalog.rows("SELECT * FROM journal") == []


def test_of_a_pipe_and_of_a_file_of_this_moment_nothing_is_noted(tmp_path: Path, car: Path) -> None:
    (tmp_path / "young.car").write_bytes(car.read_bytes())
    future = time.time_ns() + 10**12
    os.utime(tmp_path / "young.car", ns=(future, future))
    with DiskStore(tmp_path / "repo").open() as store, car.open("rb") as stream:
        import_car(store, Path("-"), stream)
        import_car(store, tmp_path / "young.car")
        assert store.catalog.rows("SELECT * FROM journal") == []
        assert len(files_of_store(store)) == 1
