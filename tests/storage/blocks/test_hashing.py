"""Hashing files where they lie: the same digests on any number of threads, and nothing of a file that moves."""

from __future__ import annotations

import gc
import hashlib
import os
import random
from pathlib import Path

import pytest

from holdfast.storage.blocks.hashing import hash_file, hash_files
from holdfast.storage.errors import ConfigError, FileChangedError
from holdfast.storage.limits import MIB
from support.sources import write

SIZES = [0, 1, 16383, 16384, 16385, 4 * MIB - 1, 4 * MIB, 9 * MIB + 5]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("files")
    write(folder, {f"{size}.bin": random.Random(size).randbytes(size) for size in SIZES})
    return [folder / f"{size}.bin" for size in SIZES]


def _expected(path: Path, leaf_size: int) -> bytes:
    data = path.read_bytes()
    parts = [data[at : at + leaf_size] for at in range(0, len(data), leaf_size)] or [b""]
    return b"".join(hashlib.sha256(part).digest() for part in parts)


@pytest.mark.parametrize("leaf_size", [1000, 16384, 100_003, MIB])
@pytest.mark.parametrize("workers", [1, 2, 8])
def test_the_digests_are_those_of_the_leaves_on_any_number_of_threads(
    files: list[Path], leaf_size: int, workers: int
) -> None:
    counted: list[int] = []
    found = list(hash_files(files, leaf_size, workers=workers, on_bytes=counted.append))
    assert [file.path for file in found] == files, "in the order given"
    assert sum(counted) == sum(SIZES)
    for file in found:
        assert file.stamp.size == file.path.stat().st_size
        assert file.leaf_size == leaf_size
        assert file.digests == _expected(file.path, leaf_size)


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("how", ["grows", "shrinks", "is written", "is touched"])
def test_a_file_that_changes_meanwhile_is_named_and_nothing_stays_open(tmp_path: Path, how: str) -> None:
    path, opened, size = tmp_path / "moving.bin", _descriptors(), 40 * MIB
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    os.truncate(path, size)  # ten chunks, of which one thread has read at most three when the first is counted
    os.utime(path, ns=(1, 1))

    def change(_: int) -> None:
        if how == "grows":
            os.truncate(path, size + 1)
        elif how == "shrinks":
            os.truncate(path, 0)
        elif how == "is written":
            with path.open("r+b") as file:
                file.write(b"x")
        else:
            os.utime(path)

    with pytest.raises(FileChangedError, match=r"moving\.bin"):
        list(hash_files([path], MIB, workers=1, on_bytes=change))
    assert _descriptors() == opened


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    gc.collect()  # what other tests left to the collector is not ours
    opened = _descriptors()
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "good").write_bytes(b"good")
    for name in ("absent", "folder", "pipe", "dangling"):
        with pytest.raises(ConfigError, match=name):
            list(hash_files([tmp_path / "good", tmp_path / name], 16384))
    assert _descriptors() == opened


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_named(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    (tmp_path / "secret").chmod(0)
    with pytest.raises(ConfigError, match="secret.*ermission"):
        hash_file(tmp_path / "secret", 16384)


def test_leaving_early_closes_everything(files: list[Path]) -> None:
    opened = _descriptors()
    found = hash_files(files * 3, 16384, workers=2)
    next(found)
    found.close()  # type: ignore[attr-defined]
    assert _descriptors() == opened


def test_no_files_are_no_files() -> None:
    assert list(hash_files([], 16384)) == []
