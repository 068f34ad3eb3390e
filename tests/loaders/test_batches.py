"""Batches as columns are what torch's own collation makes of the samples, in the same order, with the same state."""

from __future__ import annotations

import os
import random
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch.utils.data import DataLoader as TorchLoader
from torch.utils.data import default_collate

from holdfast import DataLoader, StreamingDataset
from holdfast.loaders.batches import rebatch
from holdfast.loaders.errors import SampleError
from holdfast.loaders.readers import parquet_columns
from holdfast.loaders.readers.parquet_columns import ParquetColumns
from holdfast.storage.errors import UnavailableError
from support.mirror_server import MirrorServer, Reply

Serve = Callable[..., MirrorServer]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory, publish_folder: Any) -> Any:
    source, rng = tmp_path_factory.mktemp("tables"), random.Random(11)
    for number in range(3):
        rows = 211 + number
        pq.write_table(
            pa.table(
                {
                    "text": ["ü" * rng.randrange(40) + str(row) for row in range(rows)],
                    "number": pa.array(range(rows), pa.int32()),
                    "share": [rng.random() for _ in range(rows)],
                    "raw": [rng.randbytes(rng.randrange(9)) for _ in range(rows)],
                    "flag": [rng.random() < 0.5 for _ in range(rows)],
                    "vector": [[rng.random(), 1.0] for _ in range(rows)],
                }
            ),
            source / f"{number}.parquet",
            row_group_size=50,
        )
    return publish_folder(source, leaf_size=16384)


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory, publish_folder: Any) -> Any:
    source, rng = tmp_path_factory.mktemp("streams"), np.random.default_rng(12)
    for number in range(3):
        rng.integers(0, 50_000, 20_000 + 7 * number, dtype=np.uint16).tofile(source / f"{number}.bin")
    return publish_folder(source, format="tokens", dtype="uint16", leaf_size=16384, shard_size=40_014)


def same(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)) and first and isinstance(first[0], torch.Tensor):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


def by_torch(published: Any, url: str, cache: Path, batch: int, drop_last: bool, **options: Any) -> list[Any]:
    dataset = StreamingDataset(published.uri, sources=[url], cache=cache, **options)
    return list(TorchLoader(dataset, batch, drop_last=drop_last, collate_fn=default_collate))


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["tables", "streams", "images"])
def test_batches_are_those_of_torch_cold_and_warm(
    kind: str, workers: int, drop_last: bool, request: pytest.FixtureRequest, serve: Serve, tmp_path: Path
) -> None:
    published = request.getfixturevalue(kind)
    published = published[1] if kind == "images" else published
    options = {"seq_len": 100} if kind == "streams" else {}
    url = serve(published.folder).url
    expected = by_torch(published, url, tmp_path / "torch", 7, drop_last, seed=5, **options)
    loader = DataLoader(
        published.uri, 7, workers, sources=[url], cache=tmp_path / "ours", seed=5, drop_last=drop_last, **options
    )
    for _ in range(2):
        found = list(loader)
        assert len(found) == len(expected)
        assert all(map(same, found, expected))
    loader.dataset.close()


@pytest.mark.parametrize("kind", ["tables", "streams"])
def test_a_state_in_the_middle_goes_on_there(
    kind: str, request: pytest.FixtureRequest, serve: Serve, tmp_path: Path
) -> None:
    published = request.getfixturevalue(kind)
    options = {"seq_len": 100} if kind == "streams" else {}
    make = lambda batch: DataLoader(
        published.uri, batch, sources=[serve(published.folder).url], cache=tmp_path, seed=5, **options
    )
    whole = [index for batch in make(8) for index in batch["__index__"].tolist()]
    first = make(8)
    batches = iter(first)
    seen = [index for _ in range(9) for index in next(batches)["__index__"].tolist()]
    state = first.state_dict()
    assert state == first.dataset.state_dict(), "the dataset has delivered as much"
    second = make(5)
    second.load_state_dict(state)
    seen += [index for batch in second for index in batch["__index__"].tolist()]
    assert seen == whole


def test_a_leaf_that_nobody_has_ends_a_pass_at_its_batch(tables: Any, serve: Serve, tmp_path: Path) -> None:
    missing = "data/2.parquet"
    server = serve(tables.folder, lambda path, _: Reply(404, {}, b"") if path == missing else None)
    loader = DataLoader(tables.uri, 16, sources=[server.url], cache=tmp_path, shuffle=False, deadline_s=0.5)
    seen = list[int]()
    with pytest.raises(UnavailableError, match=missing):
        for batch in loader:
            seen += batch["__index__"].tolist()
    assert seen == list(range(len(seen)))
    assert len(seen) >= 400
    loader.dataset.close()


def test_views_are_of_the_same_bytes(images: Any, serve: Serve, tmp_path: Path) -> None:
    _, published = images
    url = serve(published.folder).url
    copies = StreamingDataset(published.uri, sources=[url], cache=tmp_path)
    views = StreamingDataset(published.uri, sources=[url], cache=tmp_path, decode="memoryview")
    for copy, view in zip(copies, views, strict=True):
        assert copy == view
        assert isinstance(view["jpg"], memoryview)
        assert view["jpg"].readonly
        assert isinstance(copy["jpg"], bytes)
    views.close()
    assert bytes(view["jpg"]) == copy["jpg"], "a view outlives the dataset"


def test_a_batch_may_need_more_shards_than_can_be_open(publish_folder: Any, serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    for number in range(60):
        pq.write_table(pa.table({"n": range(2 * number, 2 * number + 2)}), tmp_path / "src" / f"{number:03d}.parquet")
    published = publish_folder(tmp_path / "src", leaf_size=16384)
    loader = DataLoader(published.uri, 50, sources=[serve(published.folder).url], cache=tmp_path / "c", seed=1)
    next(iter(loader))
    used, (soft, hard) = len(os.listdir("/proc/self/fd")), resource.getrlimit(resource.RLIMIT_NOFILE)
    loader.dataset.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 60, hard))
    try:
        assert sorted(number for batch in loader for number in batch["n"].tolist()) == list(range(120))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        loader.dataset.close()


@pytest.mark.parametrize("columns", [None, ["n"]])
def test_a_batch_has_the_columns_of_its_first_sample(
    publish_folder: Any, serve: Serve, tmp_path: Path, columns: list[str] | None
) -> None:
    """As torch's `default_collate`: the second shard has one more, and the third one less."""
    (tmp_path / "src").mkdir()
    for number, more in enumerate(({"a": [1, 2]}, {"a": [3, 4], "b": [5, 6]}, {})):
        table = pa.table({"n": [2 * number, 2 * number + 1], **more})
        pq.write_table(table, tmp_path / "src" / f"{number}.parquet")
    published = publish_folder(tmp_path / "src", leaf_size=16384)
    options = {"sources": [serve(published.folder).url], "cache": tmp_path / "c", "shuffle": False, "columns": columns}
    loader = DataLoader(published.uri, 4, **options)
    assert set(next(iter(loader))) - {"__key__", "__index__"} == ({"n"} if columns else {"n", "a"})
    whole = DataLoader(published.uri, 6, **options)
    if columns:
        assert next(iter(whole))["n"].tolist() == list(range(6))
    else:
        with pytest.raises(SampleError, match=r"^data/2\.parquet#0 has no column 'a', which the first sample"):
            next(iter(whole))


def test_a_batch_of_many_large_groups_holds_few_of_them_at_a_time(
    tables: Any, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = serve(tables.folder).url
    wanted = by_torch(tables, url, tmp_path, 40, drop_last=False)
    held: list[int] = []
    take = ParquetColumns._held

    def counted(self: Any, plan: Any, low: int) -> Any:
        found = take(self, plan, low)
        held.append(len(found))
        return found

    monkeypatch.setattr(ParquetColumns, "_held", counted)
    monkeypatch.setattr(parquet_columns, "_MAX_HELD_BYTES", 3500)
    dataset = StreamingDataset(tables.uri, sources=[url], cache=tmp_path)
    found = list(DataLoader(dataset, 40))
    assert len(found) == len(wanted)
    assert all(map(same, found, wanted))
    assert max(held) > 1
    assert len(held) > 3 * len(wanted)
    dataset.close()


def test_a_value_that_cannot_be_read_is_named_in_its_batch(publish_folder: Any, serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    raw = pa.array([b"good"] * 70 + [b"\xff"] + [b"good too"] * 29, pa.binary())
    text = pa.Array.from_buffers(pa.string(), 100, raw.buffers())
    table = pa.table({"n": range(100), "t": text})
    pq.write_table(table, tmp_path / "src" / "a.parquet", use_dictionary=False, write_statistics=False)
    published = publish_folder(tmp_path / "src", leaf_size=16384)
    url = serve(published.folder).url
    dataset = StreamingDataset(published.uri, sources=[url], cache=tmp_path / "c", shuffle=False)
    batches = iter(DataLoader(dataset, 32))
    assert [len(next(batches)["t"]) for _ in range(2)] == [32, 32]
    with pytest.raises(SampleError, match=r"^data/a\.parquet: its row 70 cannot be read: 'utf-8'"):
        next(batches)
    dataset.close()


@pytest.mark.parametrize("seed", range(4))
def test_batches_of_shards_that_differ_in_columns_are_torchs_or_an_error_of_both(
    publish_folder: Any, serve: Serve, tmp_path: Path, seed: int
) -> None:
    (tmp_path / "src").mkdir()
    for number in range(4):
        more = {"a": [number] * 3} if number % 2 else {}
        table = pa.table({"n": [3 * number + row for row in range(3)], **more})
        pq.write_table(table, tmp_path / "src" / f"{number}.parquet")
    published = publish_folder(tmp_path / "src", leaf_size=16384)
    options = {"sources": [serve(published.folder).url], "cache": tmp_path / "c", "seed": seed}
    samples = list(StreamingDataset(published.uri, **options))
    for at in range(0, len(samples), 3):
        loader = DataLoader(published.uri, 3, **options)
        loader.load_state_dict(loader.dataset.state_at(0, at, 0))
        try:
            wanted = default_collate(samples[at : at + 3])
        except KeyError:
            with pytest.raises(SampleError, match="which the first sample of its batch has"):
                next(iter(loader))
        else:
            assert same(next(iter(loader)), wanted)


class Init:
    """A `worker_init_fn` that leaves a trace."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __call__(self, worker: int) -> None:
        (self.place / str(worker)).touch()


def test_workers_are_started_for_whoever_says_what_they_do(tables: Any, serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "seen").mkdir()
    options = {"sources": [serve(tables.folder).url], "cache": tmp_path / "c", "seed": 5}
    plain = list(DataLoader(tables.uri, 50, 2, **options))
    for more in ({"worker_init_fn": Init(tmp_path / "seen")}, {"timeout": 60}):
        loader = DataLoader(tables.uri, 50, 2, **options, **more)
        assert loader._here() is None
        if "timeout" not in more:
            assert all(map(same, loader, plain))
    assert sorted(path.name for path in (tmp_path / "seen").iterdir()) == ["0", "1"]


@pytest.mark.parametrize("drop_last", [False, True])
def test_rebatch_keeps_order_and_counts(drop_last: bool) -> None:
    rng = random.Random(3)
    for _ in range(200):
        parts = [np.arange(rng.randrange(9)) + 100 * at for at in range(rng.randrange(6))]
        size, whole = rng.randrange(1, 12), [int(x) for part in parts for x in part]
        found = [batch.tolist() for batch in rebatch(iter(parts), size, drop_last=drop_last)]
        expected = [whole[at : at + size] for at in range(0, len(whole), size)]
        assert found == [batch for batch in expected if len(batch) == size or not drop_last]
