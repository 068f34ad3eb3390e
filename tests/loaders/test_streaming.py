"""What training sees: every sample, once, in one order, whatever the workers, ranks, methods and formats."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
import torch
import webdataset
from PIL import Image

from holdfast import StreamingDataset
from support.mirror_server import MirrorServer
from support.samples import collect

Serve = Callable[..., MirrorServer]


def test_every_text_file_comes_once_and_unchanged(text: Any, serve: Serve, tmp_path: Path) -> None:
    source, published = text
    dataset = StreamingDataset(published.uri, sources=[serve(published.folder).url], cache=tmp_path)
    found = {sample["path"]: sample["text"] for sample in collect(dataset)}
    assert found == {path.name: path.read_text() for path in source.iterdir()}


def test_every_image_and_label_comes_once_and_unchanged(images: Any, serve: Serve, tmp_path: Path) -> None:
    source, published = images
    urls = [serve(published.folder).url, serve(published.folder).url]
    dataset = StreamingDataset(published.uri, sources=urls, cache=tmp_path, batch_size=16)
    found = collect(dataset, workers=2, batch=16)
    assert sorted(sample["__index__"] for sample in found) == list(range(2000))
    for sample in found:
        assert sample["jpg"] == (source / f"{sample['__key__']}.jpg").read_bytes()
        assert sample["cls"] == (source / f"{sample['__key__']}.cls").read_bytes()


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
def test_the_order_is_the_same_for_any_number_of_workers(text: Any, serve: Serve, tmp_path: Path, workers: int) -> None:
    _, published = text
    url = serve(published.folder).url
    make = lambda: StreamingDataset(published.uri, sources=[url], cache=tmp_path, batch_size=4, seed=9)
    alone = [sample["__index__"] for sample in collect(make())]
    assert [sample["__index__"] for sample in collect(make(), workers)] == alone
    assert alone != sorted(alone)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_of_every_start_method_fill_one_cache(text: Any, serve: Serve, tmp_path: Path, method: str) -> None:
    _, published = text
    server = serve(published.folder)
    dataset = StreamingDataset(published.uri, sources=[server.url], cache=tmp_path, batch_size=4)
    first = collect(dataset, 2, method)
    assert sorted(sample["__index__"] for sample in first) == list(range(300))
    asked = len(server.requests)
    again = collect(StreamingDataset(published.uri, sources=[server.url], cache=tmp_path, batch_size=4))
    assert [sample["text"] for sample in again] == [sample["text"] for sample in first]
    assert len(server.requests) == asked, "the second run found everything in the cache"


def test_ranks_partition_an_epoch(text: Any, serve: Serve, tmp_path: Path) -> None:
    _, published = text
    url = serve(published.folder).url
    make = lambda **ranks: StreamingDataset(published.uri, sources=[url], cache=tmp_path, **ranks)
    parts = [[sample["__index__"] for sample in collect(make(rank=rank, world_size=3))] for rank in range(3)]
    assert sorted(index for part in parts for index in part) == list(range(300))
    whole = [sample["__index__"] for sample in collect(make())]
    assert [whole[r::3] for r in range(3)] == parts


def test_epochs_and_seeds_shuffle_anew_and_unshuffled_is_the_order_of_the_shards(
    text: Any, serve: Serve, tmp_path: Path
) -> None:
    _, published = text
    url = serve(published.folder).url

    def order(epoch: int = 0, **options: Any) -> list[int]:
        dataset = StreamingDataset(published.uri, sources=[url], cache=tmp_path, **options)
        dataset.set_epoch(epoch)
        return [sample["__index__"] for sample in collect(dataset)]

    assert order(0) == order(0)
    assert order(0) != order(1)
    assert order(seed=1) != order(seed=2)
    assert order(shuffle=False) == list(range(300))


def test_a_new_epoch_reaches_workers_that_live_on(text: Any, serve: Serve, tmp_path: Path) -> None:
    _, published = text
    dataset = StreamingDataset(published.uri, sources=[serve(published.folder).url], cache=tmp_path, batch_size=4)
    loader = torch.utils.data.DataLoader(dataset, batch_size=4, num_workers=2, collate_fn=list, persistent_workers=True)
    orders = []
    for epoch in range(2):
        dataset.set_epoch(epoch)
        orders.append([sample["__index__"] for batch in loader for sample in batch])
    del loader
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(300))
    assert orders[0] != orders[1]


def test_tars_of_webdatasets_own_writer_read_back_equal(tmp_path: Path, publish_folder: Any, serve: Serve) -> None:
    (tmp_path / "src").mkdir()
    rng = random.Random(1)
    wanted = {}
    with webdataset.ShardWriter(str(tmp_path / "src" / "s-%03d.tar"), maxcount=25, verbose=0) as writer:
        for number in range(90):
            sample = {"__key__": f"k{number:04d}", "bin": rng.randbytes(rng.randrange(5000)), "json": {"n": number}}
            wanted[sample["__key__"]] = sample
            writer.write(sample)
    published = publish_folder(tmp_path / "src", leaf_size=16384)
    dataset = StreamingDataset(
        published.uri, sources=[serve(published.folder).url], cache=tmp_path / "cache", batch_size=4, decode="torch"
    )
    found = {sample["__key__"]: sample for sample in collect(dataset, 2)}
    assert found.keys() == wanted.keys()
    for key, sample in found.items():
        assert sample["bin"] == wanted[key]["bin"]
        assert sample["json"] == wanted[key]["json"]


def test_parquet_of_pyarrow_comes_back_by_loader_and_by_pyarrow_dataset(
    tmp_path: Path, publish_folder: Any, serve: Serve
) -> None:
    (tmp_path / "src" / "train").mkdir(parents=True)
    table = pa.table({
        "id": pa.array(range(1000)), "name": [f"n{n}" for n in range(1000)],
        "vec": [[float(n), n / 2] for n in range(1000)], "maybe": [None if n % 3 else n for n in range(1000)],
    })  # fmt: skip
    for part in range(4):
        pq.write_table(table.slice(part * 250, 250), tmp_path / "src" / "train" / f"{part}.parquet", row_group_size=60)
    published = publish_folder(tmp_path / "src", leaf_size=16384)
    dataset = StreamingDataset(
        published.uri, sources=[serve(published.folder).url], cache=tmp_path / "cache", batch_size=4, partition="train"
    )
    found = sorted(collect(dataset, 2), key=lambda sample: sample["id"])
    rows = table.to_pylist()
    assert [{key: value for key, value in sample.items() if not key.startswith("__")} for sample in found] == rows
    assert pads.dataset(published.folder / "data").to_table().sort_by("id").to_pylist() == rows


def test_a_token_bin_of_50_million_comes_back_window_by_window(
    tmp_path: Path, publish_folder: Any, serve: Serve
) -> None:
    (tmp_path / "src").mkdir()
    tokens = np.random.default_rng(2).integers(0, 50_000, 50_000_000, dtype=np.uint16)
    half = 23_456_789  # windows span the two files
    tokens[:half].tofile(tmp_path / "src" / "a.bin")
    tokens[half:].tofile(tmp_path / "src" / "b.bin")
    published = publish_folder(tmp_path / "src", format="tokens", dtype="uint16")
    server = serve(published.folder)
    length = 2048
    dataset = StreamingDataset(published.uri, sources=[server.url], cache=tmp_path / "cache", seq_len=length)
    seen = np.zeros((len(tokens) - 1) // length, dtype=bool)
    for sample in dataset:
        window = sample["__index__"]
        start = window * length
        assert sample["__key__"] == f"{start}:{length + 1}"
        assert sample["tokens"].dtype == torch.int64
        assert np.array_equal(sample["tokens"].numpy(), tokens[start : start + length + 1])
        assert not seen[window]
        seen[window] = True
    dataset.close()
    assert seen.all()


def test_images_decode_to_tensors_and_pil(images: Any, serve: Serve, tmp_path: Path) -> None:
    source, published = images
    url = serve(published.folder).url
    for decode, kind in (("torch", torch.Tensor), ("pil", Image.Image)):
        dataset = StreamingDataset(published.uri, sources=[url], cache=tmp_path, decode=decode)  # type: ignore[arg-type]
        sample = next(iter(dataset))
        dataset.close()
        assert isinstance(sample["jpg"], kind)
        assert sample["cls"] == int((source / f"{sample['__key__']}.cls").read_text())


def test_a_callable_decodes_and_its_failure_names_the_sample(text: Any, serve: Serve, tmp_path: Path) -> None:
    _, published = text
    url = serve(published.folder).url
    lengths = StreamingDataset(published.uri, sources=[url], cache=tmp_path, decode=lambda sample: len(sample["text"]))
    assert all(isinstance(length, int) for length in collect(lengths))
    broken = StreamingDataset(published.uri, sources=[url], cache=tmp_path, decode=lambda sample: 1 / 0)
    with pytest.raises(Exception, match=r"data/.*parquet#\d+.*division by zero"):
        next(iter(broken))
    broken.close()
