"""Engines of a fetcher, and for whom they work: one for each choice of terms, a new one when it broke."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from holdfast import StreamingDataset
from holdfast.configs.roster import Provider, Roster
from holdfast.loaders.fetcher.shelf import Shelf
from holdfast.loaders.fetcher.surroundings import surroundings
from holdfast.loaders.fetcher.user_terms import _files, terms_of
from holdfast.loaders.fetcher.wire import HungUpError
from holdfast.loaders.stats import LoaderStats
from holdfast.storage.errors import StoreError
from holdfast.storage.fetch.policy import FetchPolicy
from holdfast.storage.sources.netguard import NetGuard
from support.fetcher_clients import (
    greeting,
    make_connected,
    make_session,
    make_terms,
    shard_bytes,
)
from support.fetchers import running
from support.mirror_server import MirrorServer

Serve = Callable[..., MirrorServer]


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
        first, second = (make_connected(published, tmp_path, url) for _ in range(2))
        shard = next(first.dataset.shards())
        file, whole = first.open_shard(shard), shard_bytes(published, shard.path)
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
    idle, used, broken = (shelf.desk(make_terms(f"http://127.0.0.1:{port}")) for port in (1, 2, 3))
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


def test_a_bug_in_a_session_is_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    line, _, shelf, thread = make_session(tmp_path)
    line.send(greeting())
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
    line, _, _, thread = make_session(tmp_path)
    line.send(greeting(surroundings=theirs))
    assert "refused" in line.receive()[0]
    thread.join(10)
    line.close()


def test_paths_of_a_roster_reach_the_fetcher_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    provider = Provider(name="a", kind="mirror", url="https://a.example", ca_file=Path("ca.pem"))
    terms = terms_of(Roster(providers=(provider,)), NetGuard.parse([]), FetchPolicy(), {})
    assert isinstance(terms.given, str)
    assert str(tmp_path / "ca.pem") in terms.given
    for name in [name for name, field in Provider.model_fields.items() if "Path" in str(field.annotation)]:
        found = _files(provider.model_copy(update={"ca_file": None, name: Path("here")}))
        assert found[name] == tmp_path / "here", name


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
