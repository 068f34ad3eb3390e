"""Clients of fetchers as tests make them: their terms, a runtime over one, an engine of their own."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from holdfast.loaders.fetcher.client import FetcherClient
from holdfast.loaders.fetcher.session import Session
from holdfast.loaders.fetcher.shelf import Shelf
from holdfast.loaders.fetcher.surroundings import surroundings
from holdfast.loaders.fetcher.terms import Terms
from holdfast.loaders.fetcher.user_terms import terms_of
from holdfast.loaders.fetcher.wire import PROTOCOL, Line
from holdfast.loaders.fetching import Fetching, OwnFetching
from holdfast.loaders.runtime import CacheOptions, Runtime
from holdfast.loaders.spare import CachedFile, SpareMemory
from holdfast.storage.fetch.engine import FetchEngine
from holdfast.storage.fetch.policy import FetchPolicy
from holdfast.storage.sources.from_urls import sources_of_urls
from holdfast.storage.sources.netguard import NetGuard
from holdfast.storage.sources.source import FileRef
from holdfast.storage.uri import DatasetUri
from support.mirror_server import MirrorServer

BUDGET = 1 << 30
Serve = Callable[..., MirrorServer]


def make_terms(url: str = "http://127.0.0.1:1") -> Terms:
    return terms_of([url], NetGuard.parse([]), FetchPolicy(), {})


def make_client(cache: Path, url: str, **options: Any) -> FetcherClient:
    return FetcherClient(cache, make_terms(url), 0.2, **options)


def make_runtime(published: Any, cache: Path, fetching: Fetching, max_bytes: int = BUDGET) -> Runtime:
    return Runtime(DatasetUri.parse(published.uri).root, fetching, CacheOptions(cache, max_bytes, 11)).open()


def make_connected(published: Any, cache: Path, url: str, max_bytes: int = BUDGET) -> Runtime:
    client = make_client(cache, url)
    assert client.connect(start=False)
    return make_runtime(published, cache, client, max_bytes)


def make_own(url: str) -> Callable[[], OwnFetching]:
    return lambda: OwnFetching(FetchEngine(sources_of_urls([url], NetGuard.parse([]))).start(), 3)


def shard_bytes(published: Any, path: str) -> bytes:
    return (published.folder / path).read_bytes()


def wait_for(happened: Callable[[], object]) -> None:
    limit = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < limit
        time.sleep(0.01)


def file_without_room(texts: Any, serve: Serve, tmp_path: Path) -> tuple[FileRef, CachedFile]:
    _, published = texts
    runtime = make_runtime(published, tmp_path, make_own(serve(published.folder).url)())
    ref = runtime.dataset.shard_file(next(runtime.dataset.shards()))
    runtime.close()
    return ref, CachedFile(ref.layout, None, SpareMemory(tmp_path, BUDGET))


def make_session(tmp_path: Path, **options: float) -> tuple[Line, socket.socket, Shelf, threading.Thread]:
    ours, theirs = socket.socketpair()
    shelf = Shelf(tmp_path, 1)
    thread = threading.Thread(target=Session(Line(theirs), shelf, **options).serve, daemon=True)
    thread.start()
    return Line(ours), ours, shelf, thread


def greeting(**changes: Any) -> dict[str, Any]:
    return {"protocol": PROTOCOL, "surroundings": surroundings(), "terms": make_terms().words(), **changes}
