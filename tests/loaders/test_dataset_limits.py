"""What a dataset is told and what it runs into: arguments, lost sources, workers, budgets, descriptors, rot."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import pickle
import resource
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from holdfast import DataLoader, IndexedDataset, Mixture, Provider, Roster, StreamingDataset, TokenDataset
from holdfast.configs.roster import write_roster
from holdfast.storage.errors import ConfigError, IntegrityError, UnavailableError
from support.mirror_server import MirrorServer, Reply
from support.samples import collect

Serve = Callable[..., MirrorServer]


def test_two_workers_without_batch_size_are_a_clear_error(text: Any, serve: Serve, tmp_path: Path) -> None:
    _, published = text
    dataset = StreamingDataset(published.uri, sources=[serve(published.folder).url], cache=tmp_path)
    with pytest.raises(ConfigError, match="needs batch_size with 2 workers"):
        collect(dataset, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 3, "world_size": 2}, "rank=3: expected a whole number, 0 to 1"),
        ({"rank": 1}, "belong together"),
        ({"partition": "nope"}, "no partition 'nope'"),
        ({"seq_len": 5}, "token datasets"),
        ({"decode": "numpy"}, "expected 'torch'"),
        ({"deadline_s": "2s"}, "deadline_s='2s': expected seconds"),
        ({"deadline_s": float("nan")}, "deadline_s=nan"),
        ({"deadline_s": 0}, "deadline_s=0"),
        ({"batch_size": 0}, "batch_size=0: expected a whole number, 1 or more"),
        ({"batch_size": "8"}, "batch_size='8'"),
        ({"rank": 0.5, "world_size": 2}, "rank=0.5"),
        ({"rank": 0, "world_size": 0}, "world_size=0"),
        ({"seq_len": "8"}, "seq_len='8'"),
        ({"prefetch_bytes": "64MB"}, "prefetch_bytes='64MB'"),
        ({"prefetch_bytes": -5}, "prefetch_bytes=-5"),
        ({"cache_bytes": "1GB"}, "cache_bytes='1GB'"),
        ({"cache": __file__}, "is no folder"),
        ({"sources": 5}, "sources=5: expected a list of texts"),
        ({"sources": [5]}, r"sources=\[5\]"),
        ({"allow_net": "10.0.0.0/8"}, "allow_net='10.0.0.0/8': expected a list"),
        ({"shuffle": "no"}, "shuffle='no': expected True or False"),
        ({"columns": 5}, "columns=5"),
        ({"seed": True}, "seed=True"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_said_in_one_sentence(
    text: Any, serve: Serve, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    _, published = text
    given = {"sources": [serve(published.folder).url], "cache": tmp_path, **options}
    with pytest.raises(ConfigError, match=message) as caught:
        next(iter(StreamingDataset(published.uri, **given)))
    assert caught.value.hint


@pytest.mark.parametrize("uri", [5, None, b"ipfs://x", ["ipfs://x"]])
def test_what_is_no_uri_is_said(uri: Any) -> None:
    with pytest.raises(ConfigError, match="is no URI of a dataset"):
        StreamingDataset(uri, sources=["http://127.0.0.1:9"])


def test_what_is_no_dataset_of_ours_is_said(text: Any, serve: Serve, tmp_path: Path) -> None:
    _, published = text
    options = {"sources": [serve(published.folder).url], "cache": tmp_path}
    indexed = IndexedDataset(published.uri, **options)
    with pytest.raises(ConfigError, match="IndexedDataset is no dataset of this loader") as caught:
        DataLoader(indexed)  # type: ignore[arg-type]
    assert "torch's own DataLoader" in caught.value.hint
    with pytest.raises(ConfigError, match="made of StreamingDatasets"):
        Mixture([indexed, indexed], (1, 1))  # type: ignore[list-item]


def test_all_sources_of_a_leaf_gone_is_a_typed_error_within_the_deadline(
    text: Any, serve: Serve, tmp_path: Path
) -> None:
    _, published = text
    gone = lambda path, reply: Reply(503, {}, b"") if path.startswith("data/") else None
    url = serve(published.folder, gone).url
    dataset = StreamingDataset(published.uri, sources=[url], cache=tmp_path, deadline_s=1.0, batch_size=4)
    with pytest.raises(UnavailableError, match=r"leaf \d+ .* of data/.*UNREACHABLE"):
        next(iter(dataset))
    dataset.close()


def test_an_error_crosses_from_a_worker_whole(text: Any, serve: Serve, tmp_path: Path) -> None:
    _, published = text
    gone = lambda path, reply: Reply(404, {}, b"") if path.startswith("data/") else None
    url = serve(published.folder, gone).url
    dataset = StreamingDataset(published.uri, sources=[url], cache=tmp_path, deadline_s=1.0, batch_size=4)
    with pytest.raises(Exception, match="MISSING"):
        collect(dataset, 2)


def test_after_an_error_no_worker_is_left_to_wait_for(text: Any, serve: Serve, tmp_path: Path) -> None:
    _, published = text
    gone = lambda path, reply: Reply(404, {}, b"") if path.startswith("data/") else None
    url = serve(published.folder, gone).url
    loader = DataLoader(
        published.uri, sources=[url], cache=tmp_path, deadline_s=0.5, batch_size=4, num_workers=2, collate_fn=list
    )
    try:
        next(iter(loader))
        pytest.fail("it has no source")
    except UnavailableError:
        assert not multiprocessing.active_children(), "torch would wait 5 s for each when they are collected"


def test_a_dataset_pickles_without_its_threads(text: Any, serve: Serve, tmp_path: Path) -> None:
    _, published = text
    dataset = StreamingDataset(published.uri, sources=[serve(published.folder).url], cache=tmp_path)
    next(iter(dataset))
    copy = pickle.loads(pickle.dumps(dataset))
    assert [s["__index__"] for s in collect(copy)] == [s["__index__"] for s in collect(dataset)]


def test_a_small_cache_budget_is_kept_and_the_epoch_still_exact(images: Any, serve: Serve, tmp_path: Path) -> None:
    _, published = images
    options: dict[str, Any] = {"sources": [serve(published.folder).url], "rank": 1, "world_size": 4}
    wanted = [sample["__index__"] for sample in StreamingDataset(published.uri, cache=tmp_path / "whole", **options)]
    dataset = StreamingDataset(published.uri, cache=tmp_path / "small", cache_bytes=1 << 20, **options)
    assert [sample["__index__"] for sample in collect(dataset)] == wanted
    assert len(wanted) == 500


def test_statistics_count_what_each_source_sent(text: Any, serve: Serve, tmp_path: Path) -> None:
    _, published = text
    server = serve(published.folder)
    dataset = StreamingDataset(published.uri, sources=[server.url], cache=tmp_path)
    for _ in dataset:
        pass
    (stats,) = dataset.stats().sources
    dataset.close()
    assert 0 < stats.requests <= len(server.requests), "a probe is part of the first request"
    assert stats.bytes > json.loads((published.folder / "dataset.json").read_text())["bytes"]
    assert stats.wrong == 0


def test_workers_forked_after_an_unfinished_pass_do_not_wait_for_its_claims(
    text: Any, serve: Serve, tmp_path: Path
) -> None:
    _, published = text
    slow = lambda path, reply: setattr(reply, "pause_s", 0.3) if path.startswith("data/") else None
    server = serve(published.folder, slow)
    dataset = StreamingDataset(published.uri, sources=[server.url], cache=tmp_path, batch_size=4)
    next(iter(dataset))  # leaves are asked for, and claimed, that nobody waits for
    loader = torch.utils.data.DataLoader(dataset, batch_size=4, num_workers=2, collate_fn=list)
    batches = iter(loader)  # the fork
    server.script = None
    dataset.close()
    found = [sample["__index__"] for batch in batches for sample in batch]
    assert sorted(found) == list(range(300))


def test_sources_may_be_urls_a_roster_its_path_or_the_default_one(
    text: Any, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, published = text
    path = tmp_path / "roster.toml"
    (tmp_path / "token").write_text("s3cret\n")
    server = serve(published.folder)
    providers = [Provider(name="m", kind="mirror", url=server.url, token_file=tmp_path / "token")]
    path.write_text(write_roster(providers))
    orders = []
    for number, sources in enumerate([server.url, [server.url], path, Roster.load(path), None]):
        if sources is None:
            monkeypatch.setenv("HOLDFAST_ROSTER", str(path))
        dataset = StreamingDataset(published.uri, sources=sources, cache=tmp_path / str(number))
        orders.append([sample["__index__"] for sample in collect(dataset)])
    assert all(order == orders[0] for order in orders)
    assert server.headers_seen[-1]["Authorization"] == "Bearer s3cret"
    monkeypatch.delenv("HOLDFAST_ROSTER")
    with pytest.raises(ConfigError, match="no source is named"):
        StreamingDataset(published.uri, cache=tmp_path)


def test_many_shards_need_few_descriptors_cold_and_warm(tmp_path: Path, publish_folder: Any, serve: Serve) -> None:
    (tmp_path / "src").mkdir()
    for number in range(80):
        np.full(300, number, dtype=np.uint16).tofile(tmp_path / "src" / f"{number:04d}.bin")
    for kind in ("tokens", "tar"):
        source = tmp_path / "src"
        options: dict[str, Any] = {"format": "tokens", "dtype": "uint16"}
        if kind == "tar":
            source, options = tmp_path / "tars", {}
            source.mkdir()
            for number in range(80):
                with tarfile.open(source / f"{number:04d}.tar", "w") as tar:
                    info = tarfile.TarInfo(f"{number}.txt")
                    info.size = 3
                    tar.addfile(info, io.BytesIO(b"abc"))
        published = publish_folder(source, leaf_size=16384, **options)
        url = serve(published.folder).url
        before, most = len(os.listdir("/proc/self/fd")), 0
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (before + 350, hard))
        try:
            for _ in range(2):
                dataset = StreamingDataset(
                    published.uri, sources=[url], cache=tmp_path / kind, seq_len=30 if kind == "tokens" else None
                )
                count = 0
                for _ in dataset:
                    count += 1
                    most = max(most, len(os.listdir("/proc/self/fd")) - before) if count % 10 == 0 else most
                assert count == (799 if kind == "tokens" else 80)
                dataset.close()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert 50 < most <= (before + 350) // 2 + 50, "a shard takes five: not all 80 are open"


def test_the_cache_stays_within_its_budget_and_a_shard(tmp_path: Path, publish_folder: Any, serve: Serve) -> None:
    (tmp_path / "src").mkdir()
    rng = np.random.default_rng(4)
    for number in range(12):
        rng.integers(0, 9, 25_000, dtype=np.uint16).tofile(tmp_path / "src" / f"{number:02d}.bin")
    published = publish_folder(tmp_path / "src", leaf_size=16384, format="tokens", dtype="uint16")
    budget = 150_000
    dataset = StreamingDataset(
        published.uri, sources=[serve(published.folder).url], cache=tmp_path / "c", cache_bytes=budget, seq_len=500
    )
    most = 0
    for count, _ in enumerate(dataset):
        if count % 25 == 0:
            most = max(most, sum(path.stat().st_size for path in (tmp_path / "c" / "shards").iterdir()))
    dataset.close()
    assert most <= budget + 50_000 + 10_000
    assert sum(path.stat().st_size for path in (tmp_path / "c" / "shards").iterdir()) <= budget


def test_a_byte_changed_between_two_passes_of_one_dataset_is_noticed(
    publish_folder: Any, serve: Serve, tmp_path: Path
) -> None:
    (tmp_path / "src").mkdir()
    with tarfile.open(tmp_path / "src" / "a.tar", "w") as tar:
        for number in range(30):
            info, data = tarfile.TarInfo(f"s{number:02d}.bin"), bytes([number]) * 5000
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    published = publish_folder(tmp_path / "src", leaf_size=16384)
    server = serve(published.folder)
    dataset = StreamingDataset(published.uri, sources=[server.url], cache=tmp_path / "c")
    wanted = [sample["bin"] for sample in dataset]
    assert sorted(wanted) == [bytes([number]) * 5000 for number in range(30)]
    victim = max((tmp_path / "c" / "shards").glob("*[!s]"), key=lambda path: path.stat().st_size)
    with victim.open("r+b") as file:
        file.seek(20_000)
        file.write(bytes(3))
    os.utime(victim, (1, 1))  # as any write moves it, however coarse the clock of the disk is
    asked = len(server.requests)
    assert [sample["bin"] for sample in dataset] == wanted
    assert len(server.requests) == asked + 1, "the leaf was fetched again, and no other"
    dataset.close()
    again = StreamingDataset(published.uri, sources=[server.url], cache=tmp_path / "c")
    assert [sample["bin"] for sample in again] == wanted
    again.close()


@pytest.mark.parametrize("tail", ["drop", "exact"])
def test_a_rank_without_a_sample_is_a_clear_error(text: Any, serve: Serve, tmp_path: Path, tail: Any) -> None:
    _, published = text
    options = {"sources": [serve(published.folder).url], "cache": tmp_path, "rank": 400, "world_size": 500}
    dataset = StreamingDataset(published.uri, tail=tail, **options)
    for read in (dataset, DataLoader(dataset, batch_size=4)):
        with pytest.raises(ConfigError, match="rank 400 of 500 has no sample: there are 300"):
            next(iter(read))
    repeated = StreamingDataset(published.uri, **options)
    assert len(list(repeated)) == 1
    for one in (dataset, repeated):
        one.close()


def test_a_dataset_without_a_window_is_a_clear_error(publish_folder: Any, serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    np.arange(100, dtype=np.uint16).tofile(tmp_path / "src" / "a.bin")
    published = publish_folder(tmp_path / "src", format="tokens", dtype="uint16")
    options = {"sources": [serve(published.folder).url], "cache": tmp_path / "c", "seq_len": 100}
    stream, rows = StreamingDataset(published.uri, **options), TokenDataset(published.uri, **options)
    for read in (lambda: next(iter(stream)), lambda: next(iter(DataLoader(stream))), lambda: len(rows)):
        with pytest.raises(ConfigError, match="100 tokens hold no window of seq_len") as caught:
            read()
        assert caught.value.hint == "take a smaller seq_len"
    for one in (stream, rows):
        one.close()


def test_a_batch_over_the_dataset_is_a_clear_error_where_it_is_none(text: Any, serve: Serve, tmp_path: Path) -> None:
    _, published = text
    options = {"sources": [serve(published.folder).url], "cache": tmp_path, "collate_fn": len}
    with pytest.raises(ConfigError, match="this rank has 300 samples, and batches of 301 with drop_last=True"):
        next(iter(DataLoader(published.uri, batch_size=301, drop_last=True, **options)))
    assert list(DataLoader(published.uri, batch_size=301, **options)) == [300]


def test_a_state_beyond_the_epoch_is_a_clear_error(text: Any, serve: Serve, tmp_path: Path) -> None:
    _, published = text
    loader = DataLoader(published.uri, sources=[serve(published.folder).url], cache=tmp_path, collate_fn=len)
    state = loader.state_dict()
    loader.load_state_dict({**state, "start": 301})
    with pytest.raises(ConfigError, match="says that 301 samples were delivered, and an epoch has 300"):
        next(iter(loader))
    with pytest.raises(ConfigError, match="not a state of a dataset"):
        loader.load_state_dict({**state, "start": 3.5})
    loader.load_state_dict({**state, "start": 300})
    assert list(loader) == [], "all of it was delivered"
    with pytest.raises(ConfigError, match="the state is of a dataset with root="):
        loader.load_state_dict({**state, "root": "bafyelse"})
    loader.dataset.close()


def test_a_shard_whose_index_nobody_has_is_named(images: Any, serve: Serve, tmp_path: Path) -> None:
    _, published = images
    gone = lambda path, reply: Reply(404, {}, b"") if path.startswith("index/") else None
    dataset = StreamingDataset(
        published.uri, sources=[serve(published.folder, gone).url], cache=tmp_path, deadline_s=0.5
    )
    with pytest.raises(UnavailableError, match=r"of index/.* could not be had\. http://.*: MISSING \(404\)"):
        next(iter(dataset))
    dataset.close()


def test_a_dataset_that_changes_at_its_source_changes_nothing(text: Any, serve: Serve, tmp_path: Path) -> None:
    """Between two epochs other bytes are put under the same names: what was published comes, or a typed error."""
    _, published = text
    changed = threading.Event()
    garble = lambda path, reply: (
        Reply(reply.status, reply.headers, bytes(len(reply.body))) if changed.is_set() else None
    )
    server = serve(published.folder, lambda path, reply: garble(path, reply) if path.startswith("data/") else None)
    dataset = StreamingDataset(published.uri, sources=[server.url], cache=tmp_path / "a", deadline_s=0.5)
    wanted = [sample["text"] for sample in dataset]
    changed.set()
    dataset.set_epoch(1)
    assert sorted(sample["text"] for sample in dataset) == sorted(wanted), "from the cache"
    dataset.close()
    cold = StreamingDataset(published.uri, sources=[server.url], cache=tmp_path / "b", deadline_s=0.5)
    with pytest.raises((IntegrityError, UnavailableError), match="WRONG_BYTES"):
        list(cold)
    cold.close()


def test_the_order_is_the_same_whoever_is_reachable(text: Any, serve: Serve, tmp_path: Path) -> None:
    _, published = text
    urls = [serve(published.folder).url for _ in range(3)]
    orders = []
    for number, sources in enumerate((urls, urls[:1], urls[2:], [urls[1], "http://127.0.0.1:9"])):
        dataset = StreamingDataset(published.uri, sources=sources, cache=tmp_path / str(number), seed=5)
        orders.append([sample["__index__"] for sample in dataset])
        dataset.close()
    assert len(orders[0]) == 300
    assert all(order == orders[0] for order in orders)
