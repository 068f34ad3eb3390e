"""What befalls a fetcher and its clients, and what becomes of it: no wait is for ever, and bytes come all the same."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from holdfast import StreamingDataset
from holdfast.configs.roster import Provider, Roster
from holdfast.loaders.cache import ShardCache
from holdfast.loaders.fetcher.client import FetcherClient
from holdfast.loaders.fetcher.place import Place
from holdfast.loaders.fetcher.service import Fetcher
from holdfast.loaders.fetcher.session import Session
from holdfast.loaders.fetcher.shared import SharedFetching
from holdfast.loaders.fetcher.shelf import Shelf
from holdfast.loaders.fetcher.start import Begun, begin, reach
from holdfast.loaders.fetcher.surroundings import surroundings
from holdfast.loaders.fetcher.terms import Terms
from holdfast.loaders.fetcher.user_terms import terms_of
from holdfast.loaders.fetcher.wire import PROTOCOL, HungUpError, Line, NoFetcherError, SilentError
from holdfast.loaders.fetching import Fetching, OwnFetching
from holdfast.loaders.runtime import CacheOptions, Runtime
from holdfast.loaders.shard_file import ShardFile
from holdfast.loaders.spare import CachedFile, SpareMemory
from holdfast.loaders.stats import LoaderStats
from holdfast.loaders.supply import OwnSupply
from holdfast.storage.cid import CID
from holdfast.storage.errors import StoreError, UnavailableError
from holdfast.storage.fetch.engine import FetchEngine
from holdfast.storage.fetch.policy import FetchPolicy
from holdfast.storage.sources.from_urls import sources_of_urls
from holdfast.storage.sources.netguard import NetGuard
from holdfast.storage.sources.source import FileRef
from holdfast.storage.uri import DatasetUri
from support.fetchers import alive, hang_up, pretending, processes, refuse, running, wait_until_gone, work
from support.mirror_server import MirrorServer

Serve = Callable[..., MirrorServer]
BUDGET = 1 << 30


@pytest.fixture
def texts(text: Any) -> tuple[dict[str, str], Any]:
    source, published = text
    return {path.name: path.read_text() for path in source.iterdir()}, published


def _terms(url: str = "http://127.0.0.1:1") -> Terms:
    return terms_of([url], NetGuard.parse([]), FetchPolicy(), {})


def _client(cache: Path, url: str, **options: Any) -> FetcherClient:
    return FetcherClient(cache, _terms(url), 0.2, **options)


def _runtime(published: Any, cache: Path, fetching: Fetching, max_bytes: int = BUDGET) -> Runtime:
    return Runtime(DatasetUri.parse(published.uri).root, fetching, CacheOptions(cache, max_bytes, 11)).open()


def _connected(published: Any, cache: Path, url: str, max_bytes: int = BUDGET) -> Runtime:
    client = _client(cache, url)
    assert client.connect(start=False)
    return _runtime(published, cache, client, max_bytes)


def _own(url: str) -> Callable[[], OwnFetching]:
    return lambda: OwnFetching(FetchEngine(sources_of_urls([url], NetGuard.parse([]))).start(), 3)


def _shard(published: Any, path: str) -> bytes:
    return (published.folder / path).read_bytes()


# -- what the fetcher has and the client does not see


def test_a_cache_folder_that_was_replaced_gets_the_bytes_by_the_line(texts: Any, serve: Serve, tmp_path: Path) -> None:
    _, published = texts
    url, cache = serve(published.folder).url, tmp_path / "cache"
    with running(cache):
        first, second = (_connected(published, cache, url) for _ in range(2))
        shard = next(first.dataset.shards())
        there = first.open_shard(shard)
        assert there.read(0, 100) == _shard(published, shard.path)[:100]
        cache.rename(tmp_path / "moved")
        here = second.open_shard(shard)
        assert here.read(0, shard.bytes) == _shard(published, shard.path)
        assert (cache / "shards" / str(shard.cid)).read_bytes() == _shard(published, shard.path)
        second.close()
        first.close()


def test_who_found_no_room_for_a_file_gets_the_bytes_by_the_line(texts: Any, serve: Serve, tmp_path: Path) -> None:
    _, published = texts
    with running(tmp_path):
        runtime = _connected(published, tmp_path, serve(published.folder).url)
        ref = runtime.dataset.shard_file(next(runtime.dataset.shards()))
        cached = CachedFile(ref.layout, None, SpareMemory(tmp_path, BUDGET))
        file = ShardFile(ref, None, cached, runtime.fetching.supply(ref, cached, None))
        assert file.read(0, ref.layout.size) == _shard(published, ref.path)
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


def _vain_file(texts: Any, serve: Serve, tmp_path: Path) -> tuple[FileRef, CachedFile]:
    _, published = texts
    runtime = _runtime(published, tmp_path, _own(serve(published.folder).url)())
    ref = runtime.dataset.shard_file(next(runtime.dataset.shards()))
    runtime.close()
    return ref, CachedFile(ref.layout, None, SpareMemory(tmp_path, BUDGET))


def test_leaves_that_never_come_are_an_error(texts: Any, serve: Serve, tmp_path: Path) -> None:
    ref, cached = _vain_file(texts, serve, tmp_path)
    file = ShardFile(ref, None, cached, _Vain())
    with pytest.raises(UnavailableError, match="leaf 0 of data/.* is not in the cache") as caught:
        file.read(0, 10)
    assert "open it again" in caught.value.hint


def test_a_file_that_is_dropped_is_given_back_later_not_in_the_middle_of_something(
    texts: Any, serve: Serve, tmp_path: Path
) -> None:
    """A finalizer may run inside a `send` of the same thread."""
    from holdfast.loaders.shard_file import Dropped

    ref, cached = _vain_file(texts, serve, tmp_path)
    supply, dropped = _Vain(), Dropped()
    supply.closed = False
    file = ShardFile(ref, None, cached, supply, dropped=dropped)
    del file
    assert not supply.closed
    dropped.close()
    assert supply.closed


# -- engines


def test_a_disk_error_breaks_an_engine_for_nobody_who_comes_later(
    texts: Any, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, published = texts
    real, failed = os.pwrite, []

    def once(fd: int, data: Any, offset: int) -> int:
        if not failed:
            failed.append(fd)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(fd, data, offset)

    url = serve(published.folder).url
    with running(tmp_path):
        first, second = (_connected(published, tmp_path, url) for _ in range(2))
        shard = next(first.dataset.shards())
        file, whole = first.open_shard(shard), _shard(published, shard.path)
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", once)
            with pytest.raises(StoreError, match="Input/output error"):
                file.read(0, 1)
        assert second.open_shard(shard).read(0, 50_000) == whole[:50_000]
        assert file.read(0, shard.bytes) == whole, "who met it goes on too"
        first.close()
        second.close()


def test_engines_without_clients_are_closed_and_broken_ones_at_once(tmp_path: Path) -> None:
    def threads() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name.startswith("holdfast-fetch")]

    shelf = Shelf(tmp_path, 1)
    idle, used, broken = (shelf.desk(_terms(f"http://127.0.0.1:{port}")) for port in (1, 2, 3))
    shelf.retire(broken)
    assert shelf.desk(broken.terms) is not broken
    shelf.leave(broken)
    shelf.leave(idle)
    shelf.sweep(60)
    assert len(threads()) == 3 * idle.engine.policy.threads
    shelf.sweep(-1)
    for thread in threading.enumerate():
        if thread.name == "holdfast-sweep":
            thread.join(10)
    assert len(threads()) == 2 * used.engine.policy.threads
    assert shelf.desk(idle.terms) is not idle
    shelf.close_all()
    assert not threads()
    with pytest.raises(HungUpError):
        shelf.desk(used.terms)
    shelf.leave(used)


class _SlowEngine:
    """Of a `FetchEngine`, what a wait needs: done at the third look."""

    policy = FetchPolicy()
    looks = 0

    def open_file(self, ref: FileRef, sink: object) -> int:
        return 1

    def want(self, *_: object) -> None:
        pass

    def wait(self, handle: int, leaves: Sequence[int], *, timeout_s: float) -> bool:
        self.looks += 1
        return self.looks == 3


def test_a_wait_says_that_it_goes_on(texts: Any, serve: Serve, tmp_path: Path) -> None:
    ref, cached = _vain_file(texts, serve, tmp_path)
    beats: list[int] = []
    OwnSupply(ref, cached, _SlowEngine()).bring([0], lambda: beats.append(1))  # type: ignore[arg-type]
    assert len(beats) == 2


def test_who_says_that_it_goes_on_is_waited_for_and_who_says_nothing_is_not(tmp_path: Path) -> None:
    client = _client(tmp_path, "http://127.0.0.1:1", silence_s=0.2)
    report = {"sources": [], "useful": 5, "hedged": 0}
    with pretending(tmp_path, work({"wait": True}, {"wait": True}, report), refuse):
        assert client.connect(start=False)
        assert client.report().useful_bytes == 5
        with pytest.raises(NoFetcherError):
            client.report()
    client.close()


# -- who fetches when the fetcher is gone


def test_a_successor_that_refuses_is_replaced_by_an_engine_of_our_own(
    texts: Any, serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, published = texts
    url = serve(published.folder).url
    client = _client(tmp_path, url)
    with running(tmp_path):
        assert client.connect(start=False)
        runtime = _runtime(published, tmp_path, SharedFetching(client, _own(url)))
        shard = next(runtime.dataset.shards())
        file, whole = runtime.open_shard(shard), _shard(published, shard.path)
        assert file.read(0, 1) == whole[:1]
    with pretending(tmp_path, refuse):
        assert file.prefetch(50_000, 50_001, 1.0)
    assert file.read(0, shard.bytes) == whole
    assert runtime.open_shard(shard).whole
    assert runtime.fetching.report().useful_bytes > shard.bytes / 2
    runtime.close()
    assert [record.levelname for record in caplog.records if record.name == "holdfast.fetcher"] == ["WARNING"]
    assert "fetches for itself" in caplog.text


def test_blocks_that_were_asked_of_a_fetcher_come_from_our_own_engine(texts: Any, serve: Serve, tmp_path: Path) -> None:
    _, published = texts
    url, root = serve(published.folder).url, DatasetUri.parse(published.uri).root
    client = _client(tmp_path, url)
    fetching = SharedFetching(client, _own(url))
    with running(tmp_path):
        assert client.connect(start=False)
        asked, dropped = (fetching.want_block(root, root) for _ in range(2))
    with pretending(tmp_path, refuse):
        assert fetching.take_block(asked).cid == root
    fetching.close_file(dropped)
    assert fetching.take_block(fetching.want_block(root, root)).cid == root
    fetching.close()
    fetching.close()


def test_a_fetcher_that_leaves_as_we_come_is_followed_by_another(tmp_path: Path) -> None:
    client = _client(tmp_path, "http://127.0.0.1:1")
    with pretending(tmp_path, hang_up, hang_up, work({"sources": [], "useful": 1, "hedged": 0})):
        assert client.connect(start=True)
        assert client.report().useful_bytes == 1
        client.close()


def test_what_cannot_be_started_is_tried_three_times_and_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\necho >> {tmp_path}/starts\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    assert reach(tmp_path / "cache", start=True, linger_s=1) is None
    assert (tmp_path / "starts").read_text() == "\n" * 3
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "fetcher.log" in caplog.text


def test_a_queue_that_is_full_is_waited_for(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(place.socket))
        listener.listen(1)
        waiting = []
        with suppress(BlockingIOError):
            while True:
                waiting.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                waiting[-1].setblocking(False)
                waiting[-1].connect(str(place.socket))
        with pytest.raises(TimeoutError):
            place.connect(0.05)
        found: list[socket.socket] = []
        late = threading.Thread(target=lambda: found.append(place.connect(20)), daemon=True)
        late.start()
        listener.accept()[0].close()
        late.join(20)
        for sock in (*waiting, *found):
            sock.close()
        assert found


def test_a_closed_client_stays_closed(texts: Any, serve: Serve, tmp_path: Path) -> None:
    _, published = texts
    url = serve(published.folder).url
    with running(tmp_path) as fetcher:
        client = _client(tmp_path, url)
        assert client.connect(start=False)
        runtime = _runtime(published, tmp_path, SharedFetching(client, lambda: pytest.fail("an engine of our own")))
        left = runtime.tree.open(runtime.dataset.shard_file(next(runtime.dataset.shards())))
        runtime.close()
        with pytest.raises(RuntimeError, match="closed"):
            left.read(0, 1)
        left.close()
        assert client.fetchers == 1
        fetcher.stop()


def test_a_cache_over_its_budget_is_emptied_when_its_last_reader_closes(
    texts: Any, serve: Serve, tmp_path: Path
) -> None:
    """The fetcher has given its leases back by then."""
    _, published = texts
    with running(tmp_path):
        runtime = _connected(published, tmp_path, serve(published.folder).url, max_bytes=1)
        for shard in list(runtime.dataset.shards())[:5]:
            runtime.open_shard(shard).read(0, 1)
        runtime.close()
        assert ShardCache(tmp_path, 1).used_bytes() == 0


# -- locks, memory, descriptors


def test_a_lease_is_given_back_when_nobody_supplies(texts: Any, serve: Serve, tmp_path: Path) -> None:
    _, published = texts
    with running(tmp_path):
        runtime = _connected(published, tmp_path, serve(published.folder).url)
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


def test_a_fetcher_has_the_descriptors_that_it_may_have_and_survives_without(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    try:
        assert begin(tmp_path, time.monotonic() + 60, 1.0) is Begun.LISTENS
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    [pid] = processes(tmp_path)
    assert Path(f"/proc/{pid}/cwd").readlink() == Path("/"), "it keeps no mount busy"
    assert resource.prlimit(pid, resource.RLIMIT_NOFILE)[0] == min(hard, 65536)
    few = max(int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir()) + 1
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (few, hard))
    crowd = [Place(tmp_path).connect(10) for _ in range(few)]
    limit = time.monotonic() + 20
    while "nobody can connect now" not in (tmp_path / "fetcher.log").read_text():
        assert time.monotonic() < limit
        time.sleep(0.01)
    for sock in crowd:
        sock.close()
    client = _client(tmp_path, "http://127.0.0.1:1")
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
    assert client.connect(start=False)
    client.close()
    assert alive(tmp_path)
    wait_until_gone(tmp_path)


# -- folders that are renamed or cleared


def _wait_for(happened: Callable[[], object]) -> None:
    limit = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_a_fetcher_whose_folder_was_renamed_leaves_the_socket_of_its_successor(tmp_path: Path) -> None:
    cache, moved = tmp_path / "cache", tmp_path / "moved"
    with running(cache) as first:
        cache.rename(moved)
        with running(cache):
            first.stop()
            _wait_for(lambda: not alive(moved))
            client = _client(cache, "http://127.0.0.1:1")
            assert client.connect(start=False)
            client.close()
        assert not (cache / "fetcher.sock").exists(), "and that one takes it away"


def test_a_fetcher_whose_folder_was_renamed_serves_those_who_are_there_and_nobody_else(tmp_path: Path) -> None:
    cache, moved = tmp_path / "cache", tmp_path / "moved"
    cache.mkdir()
    fetcher, ready = Fetcher(cache, 60.0), threading.Event()
    thread = threading.Thread(target=fetcher.run, args=(ready.set,), daemon=True)
    thread.start()
    assert ready.wait(10)
    client = _client(cache, "http://127.0.0.1:1")
    assert client.connect(start=False)
    cache.rename(moved)
    _wait_for(lambda: not alive(moved))
    with pytest.raises(ConnectionError):
        Place(moved).connect(1)
    with running(moved):  # which may have a fetcher by its new name
        assert client.report().useful_bytes == 0
        assert client.fetchers == 1
        client.close()
        thread.join(10)
        assert not thread.is_alive()
        Place(moved).connect(1).close()


def test_a_fetcher_whose_socket_was_removed_binds_it_again(tmp_path: Path) -> None:
    with running(tmp_path):
        (tmp_path / "fetcher.sock").unlink()
        _wait_for((tmp_path / "fetcher.sock").exists)
        Place(tmp_path).connect(1).close()
    assert not (tmp_path / "fetcher.sock").exists()


def test_a_folder_that_was_cleared_has_another_fetcher_for_who_comes(tmp_path: Path) -> None:
    with running(tmp_path):
        for path in tmp_path.iterdir():
            if not path.is_dir():
                path.unlink()
        first = reach(tmp_path, start=True, linger_s=0.5)
        assert first is not None
    Place(tmp_path).connect(1).close()  # the one before has ended
    first.close()
    wait_until_gone(tmp_path)


def test_a_folder_that_was_removed_ends_its_fetcher(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert begin(cache, time.monotonic() + 60, 60.0) is Begun.LISTENS
    shutil.rmtree(cache)
    wait_until_gone(cache)


# -- what nobody waits for


@contextmanager
def _interrupted() -> Iterator[None]:
    """By a signal handler a hundred times a second; not for ever, for who fails here must end."""
    until = time.monotonic() + 5

    def handle(*_: object) -> None:
        if time.monotonic() > until:
            signal.setitimer(signal.ITIMER_REAL, 0)

    before = signal.signal(signal.SIGALRM, handle)
    old = signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *old)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("sends", [False, True])
def test_signal_handlers_do_not_prolong_a_wait(sends: bool) -> None:
    ours, theirs = socket.socketpair()
    line, began = Line(ours), time.monotonic()
    line.patience(0.3, 0.3)
    with _interrupted(), pytest.raises(SilentError):
        while True:
            if sends:
                line.send({}, bytes(1 << 20))
            else:
                line.receive()
    assert time.monotonic() - began < 4
    line.close()
    theirs.close()


def test_who_takes_a_little_now_and_then_is_waited_for(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    line, size = Line(ours), 2 << 20
    line.patience(1, 0.5)

    def take() -> None:
        taken = 0
        while taken < size:
            taken += len(theirs.recv(1 << 17))
            time.sleep(0.1)

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    began = time.monotonic()
    line.send({}, bytes(size))
    assert time.monotonic() - began > 0.5
    thread.join(20)
    line.close()
    theirs.close()


@contextmanager
def _waits(client: FetcherClient) -> Iterator[list[NoFetcherError]]:
    """A thread that waits for an answer that does not come; what it was told in the end."""
    told: list[NoFetcherError] = []

    def wait() -> None:
        try:
            client.report()
        except NoFetcherError as error:
            told.append(error)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    _wait_for(lambda: not client._lock.acquire(blocking=False) or client._lock.release())
    time.sleep(0.1)
    yield told
    thread.join(20)
    assert not thread.is_alive()


def test_a_client_that_is_closed_waits_for_no_thread_that_waits(tmp_path: Path) -> None:
    client = _client(tmp_path, "http://127.0.0.1:1", silence_s=10)
    with pretending(tmp_path, work()):
        assert client.connect(start=False)
        began = time.monotonic()
        with _waits(client) as told:
            client.close()
        assert time.monotonic() - began < 5
        assert len(told) == 1, "it woke, and came to no other fetcher"


def test_who_falls_back_waits_for_no_thread_that_waits(tmp_path: Path) -> None:
    client = _client(tmp_path, "http://127.0.0.1:1", silence_s=10)
    fetching = SharedFetching(client, _own("http://127.0.0.1:1"))
    with pretending(tmp_path, work()):
        assert client.connect(start=False)
        began = time.monotonic()
        with _waits(client) as told:
            own = fetching.fall_back(NoFetcherError("gone"))
        assert fetching.fall_back(NoFetcherError("gone")) is own is fetching.now
        assert time.monotonic() - began < 5
        assert told
    fetching.close()


def test_who_closes_does_not_wait_for_an_engine_that_is_being_made(tmp_path: Path) -> None:
    making, go, told = threading.Event(), threading.Event(), []
    made = _own("http://127.0.0.1:1")()

    def make() -> Fetching:
        making.set()
        go.wait(20)
        return made

    fetching = SharedFetching(_client(tmp_path, "http://127.0.0.1:1"), make)

    def fall_back() -> None:
        try:
            fetching.fall_back(NoFetcherError("gone"))
        except RuntimeError as error:
            told.append(error)

    thread = threading.Thread(target=fall_back, daemon=True)
    thread.start()
    assert making.wait(10)
    began = time.monotonic()
    fetching.close()
    assert time.monotonic() - began < 5
    go.set()
    thread.join(10)
    assert len(told) == 1
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith("holdfast-fetch")], "it was closed, for nobody has it"


def test_what_was_put_off_while_memory_was_crowded_comes_afterwards(
    texts: Any, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, published = texts
    crowded = [True]
    monkeypatch.setattr(Shelf, "crowded", property(lambda _: crowded[0]))
    with running(tmp_path):
        runtime = _connected(published, tmp_path, serve(published.folder).url)
        file = runtime.open_shard(next(runtime.dataset.shards()))
        assert file.prefetch(0, 50_000, 1.0)
        assert file.read(0, 1) == _shard(published, file.ref.path)[:1]
        assert not file.prefetch(20_000, 50_000, 1.0)
        assert not file.holds(0, 50_000)
        crowded[0] = False
        runtime.fetching.report()
        _wait_for(lambda: file.holds(0, 50_000))
        file.close()
        runtime.close()


def test_a_leaf_that_had_to_leave_our_memory_is_asked_for_again(texts: Any, serve: Serve, tmp_path: Path) -> None:
    _, published = texts
    with running(tmp_path):
        runtime = _connected(published, tmp_path, serve(published.folder).url)
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


# -- sessions


def _session(tmp_path: Path, **options: float) -> tuple[Line, socket.socket, Shelf, threading.Thread]:
    ours, theirs = socket.socketpair()
    shelf = Shelf(tmp_path, 1)
    thread = threading.Thread(target=Session(Line(theirs), shelf, **options).serve, daemon=True)
    thread.start()
    return Line(ours), ours, shelf, thread


def _greeting(**changes: Any) -> dict[str, Any]:
    return {"protocol": PROTOCOL, "surroundings": surroundings(), "terms": _terms().words(), **changes}


def test_who_greets_nobody_is_hung_up_on(tmp_path: Path) -> None:
    line, _, _, thread = _session(tmp_path, greet_s=0.05)
    thread.join(10)
    assert not thread.is_alive()
    line.close()


def test_who_reads_no_answer_is_hung_up_on(tmp_path: Path) -> None:
    line, _, shelf, thread = _session(tmp_path, send_s=0.05)
    line.send(_greeting())
    line.receive()
    line.patience(10, 10)
    with pytest.raises(HungUpError):
        while True:
            line.send({"op": "report"})
    thread.join(10)
    assert not thread.is_alive()
    line.close()
    shelf.close_all()


def test_a_bug_in_a_session_is_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    line, _, shelf, thread = _session(tmp_path)
    line.send(_greeting())
    assert "lineage" in line.receive()[0]
    line.send({"op": "ask", "file": 5, "leaves": [], "urgency": 0})
    thread.join(10)
    [record] = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[0] is KeyError
    line.close()
    shelf.close_all()


def test_a_fetcher_with_other_certificates_does_not_fetch_for_us(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", "mine.pem")
    assert surroundings()["SSL_CERT_FILE"] == str(tmp_path / "mine.pem")
    theirs = surroundings()
    monkeypatch.setenv("SSL_CERT_FILE", "other.pem")
    line, _, _, thread = _session(tmp_path)
    line.send(_greeting(surroundings=theirs))
    assert "refused" in line.receive()[0]
    thread.join(10)
    line.close()


def test_paths_of_a_roster_reach_the_fetcher_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    provider = Provider(name="a", kind="mirror", url="https://a.example", ca_file=Path("ca.pem"))
    terms = terms_of(Roster(providers=(provider,)), NetGuard.parse([]), FetchPolicy(), {})
    assert isinstance(terms.given, str)
    assert str(tmp_path / "ca.pem") in terms.given


def test_a_forked_child_has_no_statistics_of_its_parent(texts: Any, serve: Serve, tmp_path: Path) -> None:
    _, published = texts
    dataset = StreamingDataset(published.uri, sources=[serve(published.folder).url], cache=tmp_path)
    next(iter(dataset))
    assert dataset.stats() != LoaderStats()
    child = os.fork()
    if not child:
        same = False
        with suppress(Exception):
            same = dataset.stats() == LoaderStats()
        os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    dataset.close()
