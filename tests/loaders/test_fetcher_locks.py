"""Locks of the cache: nobody else can hold them, and nobody waits for ever. And what a disk does while it is read."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from holdfast.loaders.cache import Lease, ShardCache
from holdfast.loaders.cache_contents import contents
from holdfast.storage.blocks.byte_lock import lock_byte
from holdfast.storage.blocks.verified_file import VerifiedFile
from holdfast.storage.dag.layout import FileLayout
from holdfast.storage.errors import StoreError
from support.trees import file_dag

LEAF = 1 << 10
DATA = bytes(range(256)) * 16


@pytest.fixture
def layout() -> FileLayout:
    return file_dag(DATA, leaf_size=LEAF)[0]


@contextmanager
def _open(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


def test_marks_can_be_opened_by_their_owner_alone(tmp_path: Path, layout: FileLayout) -> None:
    """Whoever can open a file can hold its locks."""
    ShardCache(tmp_path, 1 << 20).open(layout, 1).close()
    VerifiedFile(tmp_path / "f", tmp_path / "f.marks", layout).open(1).close()
    Lease(tmp_path / "g.marks").take()
    marks = [*tmp_path.rglob("*.marks")]
    assert [path.stat().st_mode & 0o777 for path in marks] == [0o600] * 3


def test_a_lease_that_cannot_be_had_is_an_error(tmp_path: Path) -> None:
    marks = tmp_path / "f.marks"
    with _open(marks) as fd:
        fcntl.flock(fd, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match=r"f\.marks: another process has held its lock for 0\.02 s") as caught:
            Lease(marks).take(0.02)
        assert "lslocks" in caught.value.hint
        fcntl.flock(fd, fcntl.LOCK_SH)
        lease = Lease(marks)
        lease.take(0.02)
        lease.close()


def test_marks_that_another_locks_are_an_error(tmp_path: Path, layout: FileLayout) -> None:
    marks = tmp_path / "f.marks"
    with _open(marks) as fd:
        assert lock_byte(fd, fcntl.F_WRLCK, 0, wait=False)
        with pytest.raises(StoreError, match="held its lock"):
            VerifiedFile(tmp_path / "f", marks, layout).open(1, lock_s=0.02)
    VerifiedFile(tmp_path / "f", marks, layout).open(1, lock_s=0.02).close()


def test_a_lease_is_no_link_to_somebody_s_file(tmp_path: Path) -> None:
    (tmp_path / "f.marks").symlink_to(tmp_path / "victim")
    with pytest.raises(StoreError):
        Lease(tmp_path / "f.marks").take()
    assert not (tmp_path / "victim").exists()


def test_what_the_disk_cannot_read_is_an_error_of_ours(
    tmp_path: Path, layout: FileLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with VerifiedFile(tmp_path / "f", tmp_path / "f.marks", layout).open(1) as file:
        file.write(0, DATA[:LEAF])
        with monkeypatch.context() as patch:
            patch.setattr(os, "pread", fails)
            with pytest.raises(StoreError, match="Input/output error"):
                file.copy(0, LEAF)
    with VerifiedFile(tmp_path / "f", tmp_path / "f.marks", layout).open(2) as file, monkeypatch.context() as patch:
        patch.setattr(os, "pread", fails)
        with pytest.raises(StoreError, match="Input/output error"):
            file.has(0)


def test_a_read_that_comes_in_parts_is_whole(
    tmp_path: Path, layout: FileLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel reads at most 2 GiB less a page at a time."""
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, offset: real(fd, min(size, 100), offset))
    with VerifiedFile(tmp_path / "f", tmp_path / "f.marks", layout).open(1) as file:
        for leaf in range(layout.leaves):
            file.write(leaf, DATA[leaf * LEAF : (leaf + 1) * LEAF])
        assert file.copy(5, len(DATA) - 5) == DATA[5:-5]
    with VerifiedFile(tmp_path / "f", tmp_path / "f.marks", layout).open(2, distrust=True) as file:
        assert not file.missing(range(layout.leaves))
        os.truncate(tmp_path / "f", 50)
        with pytest.raises(StoreError, match="shorter"):
            file.copy(0, 60)


def test_marks_of_another_user_are_left_alone(
    tmp_path: Path, layout: FileLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, real = ShardCache(tmp_path, 0), os.open
    cache.open(layout, 1).close()

    def forbidden(path: object, *arguments: object) -> int:
        if str(path).endswith(".marks"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", forbidden)
        assert cache.evict(0) == 0
        with pytest.raises(StoreError, match="Permission denied"):
            contents(cache)
    assert cache.evict(0)
