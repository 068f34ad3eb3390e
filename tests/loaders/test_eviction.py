"""A file that somebody has leased is never evicted, whoever evicts at the same moment."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import Any

import pytest

from holdfast.loaders.cache import Lease, ShardCache
from holdfast.storage.dag.layout import FileLayout
from support.trees import file_dag

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
