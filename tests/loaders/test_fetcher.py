"""One process fetches for all that share a cache folder: exact, once, and whatever becomes of it or of them."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from holdfast import StreamingDataset
from holdfast.loaders.fetcher.place import Place
from holdfast.loaders.fetcher.wire import Line
from holdfast.storage.errors import ConfigError, IntegrityError, UnavailableError
from support.fetchers import processes, wait_until_gone
from support.mirror_server import MirrorServer, Reply
from support.programs import Program, answers
from support.samples import collect

Serve = Callable[..., MirrorServer]

READ = """
import sys
from holdfast import StreamingDataset
uri, url, cache, rank, world = sys.argv[1:]
dataset = StreamingDataset(
    uri, sources=[url], cache=cache, rank=int(rank), world_size=int(world), fetcher=True, tail="exact"
)
answer([[sample["__index__"], sample["path"], sample["text"]] for sample in dataset])
"""


def test_workers_share_a_fetcher_that_ends_when_they_are_done(texts: Any, serve: Serve, tmp_path: Path) -> None:
    expected, published = texts
    server = serve(published.folder)
    dataset = StreamingDataset(published.uri, sources=[server.url], cache=tmp_path, batch_size=4)
    assert {sample["path"]: sample["text"] for sample in collect(dataset, workers=3, batch=4)} == expected
    wait_until_gone(tmp_path)
    assert not (tmp_path / "fetcher.sock").exists()
    assert "Traceback" not in (tmp_path / "fetcher.log").read_text()
    shards = [path for path in server.requests if path.endswith(".parquet")]
    size = sum(path.stat().st_size for path in published.folder.glob("data/*.parquet"))
    assert len(shards) <= size / 16384 + len(set(shards)) + 2, "each leaf was asked for once"


def test_ranks_that_start_at_once_share_one_fetcher(texts: Any, serve: Serve, tmp_path: Path) -> None:
    expected, published = texts
    world, url = 4, serve(published.folder).url
    found = answers(READ, [[published.uri, url, tmp_path, rank, world] for rank in range(world)])
    assert {path: text for part in found for _, path, text in part} == expected
    assert sorted(index for part in found for index, _, _ in part) == list(range(len(expected)))
    assert len(processes(tmp_path)) <= 1
    wait_until_gone(tmp_path)


def test_a_fetcher_that_is_killed_is_started_again(texts: Any, serve: Serve, tmp_path: Path) -> None:
    expected, published = texts
    killed: list[int] = []

    def script(path: str, reply: Reply) -> None:
        # in the middle of an answer, three times: nobody is told, and what was not written is asked for again
        if path.endswith(".parquet") and len(killed) < 3 and processes(tmp_path):
            killed.extend(processes(tmp_path))
            for pid in processes(tmp_path):
                os.kill(pid, signal.SIGKILL)

    server = serve(published.folder, script)
    dataset = StreamingDataset(published.uri, sources=[server.url], cache=tmp_path, fetcher=True)
    assert {sample["path"]: sample["text"] for sample in dataset} == expected
    dataset.close()
    assert len(set(killed)) >= 3
    wait_until_gone(tmp_path)


def test_sigterm_in_the_middle_is_survived_too(texts: Any, serve: Serve, tmp_path: Path) -> None:
    expected, published = texts
    dataset = StreamingDataset(published.uri, sources=[serve(published.folder).url], cache=tmp_path, fetcher=True)
    found = {}
    for number, sample in enumerate(dataset):
        found[sample["path"]] = sample["text"]
        if number % 100 == 50:
            for pid in processes(tmp_path):
                os.kill(pid, signal.SIGTERM)
    dataset.close()
    assert found == expected
    wait_until_gone(tmp_path)


def test_a_client_that_is_killed_leaves_nothing(texts: Any, serve: Serve, tmp_path: Path) -> None:
    _, published = texts
    reached, release = threading.Event(), threading.Event()

    def script(path: str, reply: Reply) -> None:
        if path.endswith(".parquet"):
            reached.set()
            release.wait(30)

    server = serve(published.folder, script)
    reader = Program(READ, published.uri, server.url, tmp_path, 0, 1)
    assert reached.wait(60)
    reader.kill()
    release.set()
    wait_until_gone(tmp_path)
    dataset = StreamingDataset(published.uri, sources=[server.url], cache=tmp_path)
    assert len(collect(dataset)) == 300


def test_what_goes_wrong_there_is_raised_here(texts: Any, serve: Serve, tmp_path: Path) -> None:
    _, published = texts
    server = serve(published.folder, lambda path, reply: Reply(404, {}, b"") if path.endswith(".parquet") else None)
    dataset = StreamingDataset(published.uri, sources=[server.url], cache=tmp_path / "a", fetcher=True, deadline_s=0.5)
    with pytest.raises(UnavailableError, match=f"leaf .* of data/.*{server.url}: MISSING"):
        next(iter(dataset))
    dataset.close()

    def flip(path: str, reply: Reply) -> None:
        if path.endswith(".parquet"):
            reply.body = bytes([reply.body[0] ^ 1]) + reply.body[1:]

    liar = serve(published.folder, flip)
    dataset = StreamingDataset(published.uri, sources=[liar.url], cache=tmp_path / "b", fetcher=True, deadline_s=5)
    with pytest.raises(IntegrityError, match="WRONG_BYTES"):
        next(iter(dataset))
    assert dataset.stats().sources[0].wrong
    dataset.close()
    assert list((tmp_path / "b/evidence").iterdir())
    for cache in (tmp_path / "a", tmp_path / "b"):
        wait_until_gone(cache)


def test_a_roster_that_names_no_secret_is_refused_before_anything_is_started(texts: Any, tmp_path: Path) -> None:
    _, published = texts
    roster = tmp_path / "roster.toml"
    roster.write_text('[[provider]]\nname = "a"\nkind = "mirror"\nurl = "http://127.0.0.1:1"\ntoken_env = "NOT_SET"\n')
    with pytest.raises(ConfigError, match="NOT_SET"):
        StreamingDataset(published.uri, sources=roster, cache=tmp_path / "cache", fetcher=True)
    assert not (tmp_path / "cache").exists()


def test_secrets_of_a_roster_reach_the_fetcher_and_no_file(
    texts: Any, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, published = texts
    server = serve(published.folder)
    roster = tmp_path / "roster.toml"
    roster.write_text(f'[[provider]]\nname = "a"\nkind = "mirror"\nurl = "{server.url}"\ntoken_env = "MY_TOKEN"\n')
    cache = tmp_path / "cache"
    for token in ("first-secret", "second-secret"):  # the fetcher of the first is running when the second comes
        monkeypatch.setenv("MY_TOKEN", token)
        server.headers_seen.clear()
        dataset = StreamingDataset(published.uri, sources=roster, cache=cache, fetcher=True, cache_bytes=1)
        assert len(collect(dataset)) == len(expected)
        dataset.close()
        assert {headers["Authorization"] for headers in server.headers_seen} == {f"Bearer {token}"}
    wait_until_gone(cache)
    for path in cache.rglob("*"):
        assert not path.is_file() or b"-secret" not in path.read_bytes()


def test_a_folder_with_a_long_path_has_a_fetcher_too(texts: Any, serve: Serve, tmp_path: Path) -> None:
    expected, published = texts
    cache = tmp_path / ("x" * 120) / ("y" * 120)
    dataset = StreamingDataset(published.uri, sources=[serve(published.folder).url], cache=cache, fetcher=True)
    assert len(collect(dataset)) == len(expected)
    assert len(processes(cache)) == 1
    dataset.close()
    wait_until_gone(cache)


@pytest.mark.parametrize("answer", [b"", b"\0" * 64, b"\xff" * 64, b"\x02\0\0\0\0\0\0\0[]", b"\x02\0\0\0\0\0\0\0{}"])
def test_whoever_else_listens_there_is_passed_over(texts: Any, serve: Serve, tmp_path: Path, answer: bytes) -> None:
    expected, published = texts
    listener = Place(tmp_path).listen()

    def talk() -> None:
        sock, _ = listener.accept()
        Line(sock).receive()
        sock.sendall(answer)
        sock.close()

    thread = threading.Thread(target=talk)
    thread.start()
    dataset = StreamingDataset(published.uri, sources=[serve(published.folder).url], cache=tmp_path)
    assert len(collect(dataset)) == len(expected)
    thread.join()
    listener.close()
    dataset.close()
    assert not processes(tmp_path)


@pytest.mark.parametrize("words", [b"", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0[]", b'\x08\0\0\0\0\0\0\0{"op":1}'])
def test_nonsense_from_a_client_disturbs_no_other(texts: Any, serve: Serve, tmp_path: Path, words: bytes) -> None:
    expected, published = texts
    dataset = StreamingDataset(published.uri, sources=[serve(published.folder).url], cache=tmp_path, fetcher=True)
    samples = iter(dataset)
    found = [next(samples)]
    with Place(tmp_path).connect(10) as sock:
        sock.sendall(words)
        sock.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):  # of what it did not read
            while sock.recv(1024):  # what it says before it hangs up
                pass
    found.extend(samples)
    assert {sample["path"]: sample["text"] for sample in found} == expected
    dataset.close()
    wait_until_gone(tmp_path)
    assert "Traceback" not in (tmp_path / "fetcher.log").read_text()


def test_a_rotten_leaf_of_a_sealed_file_is_found_and_healed(texts: Any, serve: Serve, tmp_path: Path) -> None:
    expected, published = texts
    url = serve(published.folder).url
    make = lambda **options: StreamingDataset(published.uri, sources=[url], cache=tmp_path, fetcher=True, **options)
    first = make()
    assert len(collect(first)) == len(expected)
    first.close()
    for path in (tmp_path / "shards").iterdir():
        if not path.name.endswith(".marks"):
            stat = path.stat()
            data = bytearray(path.read_bytes())
            data[100] ^= 1
            with path.open("r+b") as file:  # in place, and with the times of before
                file.write(data)
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    for options in ({}, {"reverify": True}):
        dataset = make(**options)
        assert {sample["path"]: sample["text"] for sample in dataset} == expected
        dataset.close()
    wait_until_gone(tmp_path)


def test_the_main_process_sees_what_was_fetched_for_its_workers(texts: Any, serve: Serve, tmp_path: Path) -> None:
    _, published = texts
    server = serve(published.folder)
    dataset = StreamingDataset(published.uri, sources=[server.url], cache=tmp_path, batch_size=4)
    assert not dataset.stats().sources, "nobody has asked for anything"
    collect(dataset, workers=2, batch=4)
    stats = dataset.stats()
    size = sum(path.stat().st_size for path in published.folder.glob("data/*.parquet"))
    assert size <= stats.verified_bytes <= 1.5 * size + 100_000
    assert [source.url for source in stats.sources] == [server.url]
    wait_until_gone(tmp_path)


def test_a_log_that_is_a_link_is_not_followed(texts: Any, serve: Serve, tmp_path: Path) -> None:
    """Who may write into the folder could have any file of ours cut to nothing: an engine of our own reads on."""
    expected, published = texts
    victim, cache = tmp_path / "victim", tmp_path / "cache"
    victim.write_bytes(bytes(2 << 20))
    cache.mkdir()
    (cache / "fetcher.log").symlink_to(victim)
    dataset = StreamingDataset(published.uri, sources=[serve(published.folder).url], cache=cache, fetcher=True)
    assert len(collect(dataset)) == len(expected)
    dataset.close()
    assert victim.read_bytes() == bytes(2 << 20)
    assert not processes(cache)
