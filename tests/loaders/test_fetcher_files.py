"""What the cache has and a client does not see, what nobody takes, what is given back: bytes come, or an error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from holdfast.loaders.cache import ShardCache
from holdfast.loaders.fetcher.client import FetcherClient
from holdfast.loaders.fetcher.shelf import Shelf
from holdfast.loaders.fetcher.wire import NoFetcherError
from holdfast.loaders.shard_file import ShardFile
from holdfast.loaders.spare import CachedFile, SpareMemory
from holdfast.storage.cid import CID
from holdfast.storage.errors import UnavailableError
from support.fetcher_clients import (
    BUDGET,
    file_without_room,
    make_connected,
    shard_bytes,
    wait_for,
)
from support.fetchers import running
from support.mirror_server import MirrorServer

Serve = Callable[..., MirrorServer]


def test_a_cache_folder_that_was_replaced_gets_the_bytes_by_the_line(texts: Any, serve: Serve, tmp_path: Path) -> None:
    _, published = texts
    url, cache = serve(published.folder).url, tmp_path / "cache"
    with running(cache):
        first, second = (make_connected(published, cache, url) for _ in range(2))
        shard = next(first.dataset.shards())
        there = first.open_shard(shard)
        assert there.read(0, 100) == shard_bytes(published, shard.path)[:100]
        cache.rename(tmp_path / "moved")
        here = second.open_shard(shard)
        assert here.read(0, shard.bytes) == shard_bytes(published, shard.path)
        assert (cache / "shards" / str(shard.cid)).read_bytes() == shard_bytes(published, shard.path)
        second.close()
        first.close()


def test_who_found_no_room_for_a_file_gets_the_bytes_by_the_line(texts: Any, serve: Serve, tmp_path: Path) -> None:
    _, published = texts
    with running(tmp_path):
        runtime = make_connected(published, tmp_path, serve(published.folder).url)
        ref = runtime.dataset.shard_file(next(runtime.dataset.shards()))
        cached = CachedFile(ref.layout, None, SpareMemory(tmp_path, BUDGET))
        file = ShardFile(ref, None, cached, runtime.fetching.supply(ref, cached, None))
        assert file.read(0, ref.layout.size) == shard_bytes(published, ref.path)
        file.close()
        runtime.close()


class _Vain:
    """A `Supply` that says that it brought something."""

    def ask(self, missing: Sequence[int], urgency: float) -> list[int]:
        return []

    def bring(self, missing: Sequence[int]) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


def test_leaves_that_never_come_are_an_error(texts: Any, serve: Serve, tmp_path: Path) -> None:
    ref, cached = file_without_room(texts, serve, tmp_path)
    file = ShardFile(ref, None, cached, _Vain())
    with pytest.raises(UnavailableError, match="leaf 0 of data/.* is not in the cache") as caught:
        file.read(0, 10)
    assert "open it again" in caught.value.hint


def test_a_file_that_is_dropped_is_given_back_later_not_in_the_middle_of_something(
    texts: Any, serve: Serve, tmp_path: Path
) -> None:
    """A finalizer may run inside a `send` of the same thread."""
    from holdfast.loaders.shard_file import Dropped

    ref, cached = file_without_room(texts, serve, tmp_path)
    supply, dropped = _Vain(), Dropped()
    supply.closed = False
    file = ShardFile(ref, None, cached, supply, dropped=dropped)
    del file
    assert not supply.closed
    dropped.close()
    assert supply.closed


def test_a_cache_over_its_budget_is_emptied_when_its_last_reader_closes(
    texts: Any, serve: Serve, tmp_path: Path
) -> None:
    """The fetcher has given its leases back by then."""
    _, published = texts
    with running(tmp_path):
        runtime = make_connected(published, tmp_path, serve(published.folder).url, max_bytes=1)
        for shard in list(runtime.dataset.shards())[:5]:
            runtime.open_shard(shard).read(0, 1)
        runtime.close()
        assert ShardCache(tmp_path, 1).used_bytes() == 0


def test_a_lease_is_given_back_when_nobody_supplies(texts: Any, serve: Serve, tmp_path: Path) -> None:
    _, published = texts
    with running(tmp_path):
        runtime = make_connected(published, tmp_path, serve(published.folder).url)
        ref = runtime.dataset.shard_file(next(runtime.dataset.shards()))
        assert isinstance(runtime.fetching, FetcherClient)
        runtime.fetching.close()
        with pytest.raises(NoFetcherError):
            runtime.tree.open(ref)
        runtime.close()
    assert ShardCache(tmp_path, 0).evict(0)
    assert not list((tmp_path / "shards").iterdir())


def test_leaves_that_nobody_reads_are_bounded(tmp_path: Path) -> None:
    memory, cid = SpareMemory(tmp_path, 100, max_unread_bytes=200), CID.of(0x55, b"x")
    for leaf in range(10):
        memory.put((cid, leaf), bytes(40))
    assert memory.used_bytes == 200
    assert memory.crowded
    assert [leaf for leaf in range(10) if memory.has((cid, leaf))] == [5, 6, 7, 8, 9], "the last ones"
    assert [memory.take((cid, leaf)) for leaf in (4, 9, 8, 7)] == [None] + 3 * [bytes(40)]
    assert not memory.crowded
    memory.forget(cid)
    memory.put((cid, 1), bytes(40))
    memory.settle()
    assert memory.used_bytes == 40
    assert not memory.crowded


def test_what_was_put_off_while_memory_was_crowded_comes_afterwards(
    texts: Any, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, published = texts
    crowded = [True]
    monkeypatch.setattr(Shelf, "crowded", property(lambda _: crowded[0]))
    with running(tmp_path):
        runtime = make_connected(published, tmp_path, serve(published.folder).url)
        file = runtime.open_shard(next(runtime.dataset.shards()))
        assert file.prefetch(0, 50_000, 1.0)
        assert file.read(0, 1) == shard_bytes(published, file.ref.path)[:1]
        assert not file.prefetch(20_000, 50_000, 1.0)
        assert not file.holds(0, 50_000)
        crowded[0] = False
        runtime.fetching.report()
        wait_for(lambda: file.holds(0, 50_000))
        file.close()
        runtime.close()


def test_a_leaf_that_had_to_leave_our_memory_is_asked_for_again(texts: Any, serve: Serve, tmp_path: Path) -> None:
    _, published = texts
    with running(tmp_path):
        runtime = make_connected(published, tmp_path, serve(published.folder).url)
        ref = runtime.dataset.shard_file(next(runtime.dataset.shards()))
        cached = CachedFile(ref.layout, None, SpareMemory(tmp_path, BUDGET))
        supply = runtime.fetching.supply(ref, cached, None)
        assert supply.ask([0], 1.0) == [0]
        supply.bring([0])
        assert cached.has(0)
        cached.close()
        assert supply.ask([0], 1.0) == [0]
        supply.close()
        runtime.close()
