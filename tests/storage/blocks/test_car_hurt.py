"""A copy of a CAR file that was hurt is made anew, and a fault of the disk is not blamed on the CAR."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.storage.blocks import car_file
from holdfast.storage.blocks.car_file import CarSummary, import_car, look
from holdfast.storage.blocks.car_spool import Spool
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.cid import CID, RAW
from holdfast.storage.dag.car import encode_header, encode_section
from holdfast.storage.errors import ConfigError, StoreError
from support.car_imports import Counted, ends_well, files_of_store, killed, part_of
from support.trees import LEAF


def _shortened(part: Path) -> None:
    os.truncate(part, part.stat().st_size // 2)


def _emptied(part: Path) -> None:
    os.truncate(part, 0)


def _with_another_header(part: Path) -> None:
    with part.open("r+b") as file:
        file.seek(20)
        file.write(b"?")


def _with_zeros(part: Path) -> None:
    with part.open("r+b") as file:
        file.seek(5 * LEAF)
        file.write(bytes(3 * LEAF))


def _with_a_flipped_bit(part: Path) -> None:
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 4  # of a leaf: the heads of the sections are as they were
    with part.open("r+b") as file:
        file.write(data)


HURTS = [_shortened, _emptied, _with_another_header, _with_zeros, _with_a_flipped_bit, Path.unlink]


@pytest.mark.parametrize("hurt", HURTS)
def test_a_copy_that_is_not_what_was_noted_is_made_anew(
    repo: DiskStore, car: Path, whole: tuple[CarSummary, dict[str, bytes]], counted: Counted, hurt: object
) -> None:
    hurt(part_of(repo))  # type: ignore[operator]
    with counted:
        found = import_car(repo, car)
    assert counted.hashed == found.blocks
    ends_well(repo, found, whole)


@pytest.mark.parametrize("name", ["sync_folder", "adopt_car"])
def test_a_copy_that_was_hurt_under_its_final_name_is_made_anew(
    tmp_path: Path, car: Path, whole: tuple[CarSummary, dict[str, bytes]], counted: Counted, name: str
) -> None:
    killed(tmp_path / "repo", car, "DiskStore" if name == "adopt_car" else "car_file", name, 1)
    with DiskStore(tmp_path / "repo").open() as store:
        (copy,) = store.files_folder.glob("*.car")
        _with_a_flipped_bit(copy)
        with counted:
            found = import_car(store, car)
        assert counted.hashed == found.blocks
        ends_well(store, found, whole)


def test_a_copy_that_is_hurt_between_two_looks_at_it_is_not_adopted(
    tmp_path: Path, car: Path, whole: tuple[CarSummary, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with DiskStore(tmp_path / "repo").open() as store:
        import_car(store, car)
        (copy,) = store.files_folder.glob("*.car")
        real = car_file._take

        def take(*given: object) -> None:
            _with_a_flipped_bit(copy)
            real(*given)  # type: ignore[arg-type]

        monkeypatch.setattr(car_file, "_take", take)
        with pytest.raises(StoreError, match=copy.name) as caught:
            import_car(store, car)
        assert caught.value.hint
        monkeypatch.undo()
        ends_well(store, import_car(store, car), whole)


@pytest.fixture
def of_another_hash(tmp_path: Path) -> tuple[Path, CID]:
    """A CAR of four blocks with sha2-512, which are kept as nodes and not in the copy."""
    blocks = [random.Random(n).randbytes(LEAF) for n in range(4)]
    cids = [CID(1, RAW, b"\x13\x40" + hashlib.sha512(data).digest()) for data in blocks]
    sections = b"".join(encode_section(cid, data) for cid, data in zip(cids, blocks, strict=True))
    (tmp_path / "512.car").write_bytes(encode_header(cids) + sections)
    time.sleep(0.03)
    return tmp_path / "512.car", cids[3]


def test_a_flipped_bit_in_a_block_of_another_hash_is_not_blamed_on_the_car(
    tmp_path: Path, of_another_hash: tuple[Path, CID]
) -> None:
    path, last = of_another_hash
    killed(tmp_path / "repo", path, times=3)
    with DiskStore(tmp_path / "repo").open() as store:
        _with_a_flipped_bit(part_of(store))
        found = import_car(store, path)
        assert (found.blocks, found.missing) == (4, None)
        assert last.matches(store.get(last).data)


def test_a_copy_that_the_disk_does_not_give_back_is_not_blamed_on_the_car(
    tmp_path: Path, of_another_hash: tuple[Path, CID], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, last = of_another_hash
    real = Spool.sync

    def sync(self: Spool) -> None:
        real(self)
        _with_a_flipped_bit(self.path)

    monkeypatch.setattr(Spool, "sync", sync)
    with DiskStore(tmp_path / "repo").open() as store:
        with pytest.raises(StoreError, match="part") as caught:
            import_car(store, path)
        assert "512.car" not in caught.value.message
        assert caught.value.hint
        assert files_of_store(store) == {}
        monkeypatch.undo()
        assert import_car(store, path).missing is None
        assert last.matches(store.get(last).data)


class _Failing(io.BytesIO):
    """A stream whose medium ends being readable at a byte."""

    def __init__(self, data: bytes, until: int) -> None:
        super().__init__(data)
        self._until = until

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() >= self._until:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().read(size)


@pytest.mark.parametrize("until", [0, 1000])
def test_a_car_that_cannot_be_read_is_named_and_not_the_repository(tmp_path: Path, car: Path, until: int) -> None:
    with DiskStore(tmp_path / "repo").open() as store:
        with pytest.raises(ConfigError, match=r"stick/x\.car cannot be read.*output error") as caught:
            import_car(store, Path("/stick/x.car"), _Failing(car.read_bytes(), until))
        assert "permissions" not in caught.value.hint
        assert files_of_store(store) == {}


@pytest.mark.parametrize("what", [import_car, lambda _, path: look(path)])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, what: Callable[[DiskStore, Path], object]) -> None:
    with DiskStore(tmp_path / "repo").open() as store:
        with pytest.raises(ConfigError, match="/proc/self/mem cannot be read"):  # EIO at its first byte
            what(store, Path("/proc/self/mem"))
