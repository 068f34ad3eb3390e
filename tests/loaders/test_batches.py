"""Batches as columns are what torch's own collation makes of the samples, in the same order, with the same state."""

from __future__ import annotations

import random
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


@pytest.mark.parametrize("drop_last", [False, True])
def test_rebatch_keeps_order_and_counts(drop_last: bool) -> None:
    rng = random.Random(3)
    for _ in range(200):
        parts = [np.arange(rng.randrange(9)) + 100 * at for at in range(rng.randrange(6))]
        size, whole = rng.randrange(1, 12), [int(x) for part in parts for x in part]
        found = [batch.tolist() for batch in rebatch(iter(parts), size, drop_last=drop_last)]
        expected = [whole[at : at + size] for at in range(0, len(whole), size)]
        assert found == [batch for batch in expected if len(batch) == size or not drop_last]
