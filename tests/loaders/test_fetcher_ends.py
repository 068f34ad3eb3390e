"""How fetchers end and are followed: by another one, by an engine of our own, and under a folder that was renamed."""

from __future__ import annotations

import resource
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from holdfast.loaders.fetcher.place import Place
from holdfast.loaders.fetcher.service import Fetcher
from holdfast.loaders.fetcher.shared import SharedFetching
from holdfast.loaders.fetcher.start import Begun, begin, reach
from holdfast.storage.uri import DatasetUri
from support.fetcher_clients import (
    make_client,
    make_own,
    make_runtime,
    shard_bytes,
    wait_for,
)
from support.fetchers import alive, hang_up, pretending, processes, refuse, running, wait_until_gone, work
from support.mirror_server import MirrorServer

Serve = Callable[..., MirrorServer]


def test_a_successor_that_refuses_is_replaced_by_an_engine_of_our_own(
    texts: Any, serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, published = texts
    url = serve(published.folder).url
    client = make_client(tmp_path, url)
    with running(tmp_path):
        assert client.connect(start=False)
        runtime = make_runtime(published, tmp_path, SharedFetching(client, make_own(url)))
        shard = next(runtime.dataset.shards())
        file, whole = runtime.open_shard(shard), shard_bytes(published, shard.path)
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
    client = make_client(tmp_path, url)
    fetching = SharedFetching(client, make_own(url))
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
    client = make_client(tmp_path, "http://127.0.0.1:1")
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
        client = make_client(tmp_path, url)
        assert client.connect(start=False)
        runtime = make_runtime(published, tmp_path, SharedFetching(client, lambda: pytest.fail("an engine of our own")))
        left = runtime.tree.open(runtime.dataset.shard_file(next(runtime.dataset.shards())))
        runtime.close()
        with pytest.raises(RuntimeError, match="closed"):
            left.read(0, 1)
        left.close()
        assert client.fetchers == 1
        fetcher.stop()


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
    client = make_client(tmp_path, "http://127.0.0.1:1")
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
    assert client.connect(start=False)
    client.close()
    assert alive(tmp_path)
    wait_until_gone(tmp_path)


def test_a_fetcher_whose_folder_was_renamed_leaves_the_socket_of_its_successor(tmp_path: Path) -> None:
    cache, moved = tmp_path / "cache", tmp_path / "moved"
    with running(cache) as first:
        cache.rename(moved)
        with running(cache):
            first.stop()
            wait_for(lambda: not alive(moved))
            client = make_client(cache, "http://127.0.0.1:1")
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
    client = make_client(cache, "http://127.0.0.1:1")
    assert client.connect(start=False)
    cache.rename(moved)
    wait_for(lambda: not alive(moved))
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
        wait_for((tmp_path / "fetcher.sock").exists)
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
