"""A file that somebody has leased is never evicted, whoever evicts at the same moment."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from holdfast.loaders import decoded_files
from holdfast.loaders.cache import Lease, ShardCache
from holdfast.loaders.decoded_files import DecodedFiles
from holdfast.loaders.shard_file import Dropped, Held
from holdfast.loaders.spare import CachedFile, SpareMemory
from holdfast.storage.blocks.byte_lock import lock_byte, lock_in_time
from holdfast.storage.dag.layout import FileLayout
from holdfast.storage.errors import StoreError
from support.trees import file_dag


class Forked:
    """A child that has what we have open, and does nothing, meanwhile."""

    def __enter__(self) -> None:
        self._pid = os.fork()
        if not self._pid:
            while True:
                signal.pause()

    def __exit__(self, *_: object) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


DATA = bytes(range(256)) * 256
LAYOUT: FileLayout = file_dag(DATA)[0]


def opened(cache: ShardCache) -> Lease:
    lease = cache.open(LAYOUT, 1)
    for leaf in range(LAYOUT.leaves):
        lease.file.write(leaf, DATA[slice(*LAYOUT.leaf_range(leaf))])
    return lease


def test_a_leased_file_stays_and_one_that_nobody_has_goes(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, 0)
    lease = opened(cache)
    assert cache.evict(0) == 0
    lease.close()
    assert cache.evict(0) >= len(DATA)
    assert not list(cache.shards.iterdir())


def test_who_evicts_late_does_not_take_what_was_opened_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two evict one file; between the look of the second and its lock a reader makes it anew, and has it."""
    cache = ShardCache(tmp_path, 0)
    opened(cache).close()
    lock, meanwhile = fcntl.flock, list[Lease]()

    def late(fd: int, how: int) -> Any:
        if how & fcntl.LOCK_EX and not meanwhile:
            monkeypatch.setattr(fcntl, "flock", lock)
            assert cache.evict(0) >= len(DATA)
            meanwhile.append(opened(cache))
        return lock(fd, how)

    monkeypatch.setattr(fcntl, "flock", late)
    assert cache.evict(0) == 0
    (lease,) = meanwhile
    assert lease.holds(cache.shards / f"{LAYOUT.cid}.marks")
    assert cache.open(LAYOUT, 1).file.complete, "whoever opens it now sees what the first one wrote"


def test_a_lease_that_was_given_back_is_not_kept_by_a_process_that_was_forked_meanwhile(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, 0)
    lease = opened(cache)
    with Forked():
        assert cache.evict(0) == 0
        lease.close()
        assert cache.evict(0) >= len(DATA)


def test_a_fork_while_something_is_decoded_keeps_no_lock(tmp_path: Path) -> None:
    """A worker has all open files of its parent, for as long as it lives."""
    cache = ShardCache(tmp_path, 1 << 30)
    files, begun, go_on = DecodedFiles(cache, 1, distrust=False), threading.Event(), threading.Event()

    def pieces() -> Iterator[bytes]:
        begun.set()
        assert go_on.wait(30)
        yield b"abc"

    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(files.make, "a", 3, pieces)
        assert begun.wait(30)
        with Forked():
            assert files.get("a") is None, "nobody waits for what is being made"
            go_on.set()
            assert bytes(made.result(30).view(0, 3)) == b"abc"
            again = files.get("a")
            assert again is not None
            assert bytes(files.make("b", 3, lambda: [b"def"]).view(0, 3)) == b"def"
    files.close()


def test_a_lock_that_is_never_given_back_is_an_error_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoded_files, "_MAKE_S", 0.1)
    monkeypatch.setattr(decoded_files, "lock_in_time", lambda take, limit_s=0.1: lock_in_time(take, limit_s))
    files = DecodedFiles(ShardCache(tmp_path, 1 << 30), 1, distrust=False)
    files.make("a", 3, lambda: [b"abc"]).close()
    for path in (tmp_path / "decoded.lock", tmp_path / "decoded" / "b.marks"):
        path.touch()
        with path.open("r+b") as held:
            assert lock_byte(held.fileno(), fcntl.F_WRLCK, 0, wait=False)
            with pytest.raises(StoreError, match="another process has held its lock"):
                files.make("b", 3, lambda: [b"def"])
    assert files.make("b", 3, lambda: [b"def"]).size == 3


def test_what_cannot_be_given_back_keeps_nothing_else(tmp_path: Path) -> None:
    lease = opened(ShardCache(tmp_path, 0))

    class Broken:
        def close(self) -> None:
            raise IndexError

    dropped, file = Dropped(), CachedFile(LAYOUT, lease.file, SpareMemory(tmp_path, 0))
    dropped.add(Held(Broken(), file, lease))  # type: ignore[arg-type]
    with pytest.raises(IndexError):
        dropped.close()
    assert ShardCache(tmp_path, 0).evict(0) >= len(DATA)
