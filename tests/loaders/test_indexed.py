"""Samples and rows by their number: what comes, and how little is fetched for it."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from holdfast import IndexedDataset, StreamingDataset, TokenDataset
from holdfast.storage.errors import ConfigError
from support.mirror_server import MirrorServer
from support.samples import collect

Serve = Callable[..., MirrorServer]


def test_any_sample_by_its_number(text: Any, serve: Serve, tmp_path: Path) -> None:
    _, published = text
    url = serve(published.folder).url
    whole = collect(StreamingDataset(published.uri, sources=[url], cache=tmp_path / "a", shuffle=False))
    dataset = IndexedDataset(published.uri, sources=[url], cache=tmp_path / "b")
    assert len(dataset) == 300
    assert dataset[17] == whole[17]
    assert dataset[-1] == whole[299]
    assert dataset[np.int64(5)] == whole[5]
    assert dataset[10:20:3] == whole[10:20:3]
    assert dataset[290:400] == whole[290:]
    assert dataset.__getitems__([299, 0, 0, 7]) == [whole[299], whole[0], whole[0], whole[7]]
    assert dataset.__getitems__([]) == []
    for wrong in (300, -301):
        with pytest.raises(IndexError, match="of 300"):
            dataset[wrong]
    with pytest.raises(TypeError):
        dataset["1"]  # type: ignore[call-overload]
    dataset.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_torchs_own_sampler_and_workers(text: Any, serve: Serve, tmp_path: Path, workers: int) -> None:
    _, published = text
    dataset = IndexedDataset(published.uri, sources=[serve(published.folder).url], cache=tmp_path)
    loader = torch.utils.data.DataLoader(dataset, batch_size=16, shuffle=True, num_workers=workers, collate_fn=list)
    found = [sample["__index__"] for batch in loader for sample in batch]
    assert sorted(found) == list(range(300))
    assert found != sorted(found)
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy[3]["__index__"] == 3
    copy.close()
    dataset.close()


@pytest.fixture(scope="module")
def stream_of_tokens(tmp_path_factory: pytest.TempPathFactory, publish_folder: Any) -> Any:
    """Four million tokens in three files, leaves of 16 KiB."""
    source = tmp_path_factory.mktemp("tokens")
    tokens = np.random.default_rng(4).integers(0, 60_000, 4_000_000, dtype=np.uint16)
    for number, part in enumerate(np.split(tokens, [1_234_567, 2_000_001])):
        part.tofile(source / f"{number}.bin")
    return tokens, publish_folder(source, format="tokens", dtype="uint16", leaf_size=16384)


def rows_of(tokens: Any, seq_len: int, numbers: Any) -> Any:
    return np.stack([tokens[row * seq_len : (row + 1) * seq_len + 1] for row in numbers]).astype(np.int64)


def test_rows_and_strided_rows_are_those_of_the_stream(stream_of_tokens: Any, serve: Serve, tmp_path: Path) -> None:
    tokens, published = stream_of_tokens
    dataset = TokenDataset(published.uri, seq_len=512, sources=[serve(published.folder).url], cache=tmp_path)
    assert len(dataset) == (4_000_000 - 1) // 512
    over = 1_234_567 // 512
    for start, stride, rows in ((0, 1, 1), (over - 3, 1, 7), (7, 1001, 7), (over - 5, 2, 6), (len(dataset) - 1, 1, 1)):
        found = dataset.read_strided(start, stride, rows)
        assert found.dtype == np.int64
        assert np.array_equal(found, rows_of(tokens, 512, range(start, start + rows * stride, stride)))
        if stride == 1:
            assert np.array_equal(dataset.read(start, rows), found)
    assert np.array_equal(dataset[over]["tokens"].numpy(), rows_of(tokens, 512, [over])[0])
    assert dataset.read(0, 0).shape == (0, 513)
    assert np.array_equal(dataset.read(0, len(dataset)), rows_of(tokens, 512, range(len(dataset))))
    with pytest.raises(IndexError, match="of 7812"):
        dataset.read(len(dataset) - 1, 2)
    with pytest.raises(ConfigError, match="stride=0"):
        dataset.read_strided(0, 0, 1)
    dataset.close()


def test_a_read_fetches_the_leaves_it_needs_and_no_others(stream_of_tokens: Any, serve: Serve, tmp_path: Path) -> None:
    _, published = stream_of_tokens
    dataset = TokenDataset(published.uri, seq_len=2048, sources=[serve(published.folder).url], cache=tmp_path)
    len(dataset)
    dataset.read(3, 1)  # head, manifest, and the node of the first shard are here
    (before,) = dataset.stats().sources
    dataset.read(100, 1)  # 4,098 bytes from 409,600 on: in one leaf of 16 KiB
    (after,) = dataset.stats().sources
    assert after.bytes - before.bytes == 16384
    dataset.read(100, 3)  # all that ends in the same leaf
    assert dataset.stats().sources == (after,), "nothing was asked for again"
    dataset.close()


def test_a_dataset_without_tokens_has_no_rows(text: Any, serve: Serve, tmp_path: Path) -> None:
    _, published = text
    url = serve(published.folder).url
    with pytest.raises(ConfigError, match="seq_len is for token datasets"):
        len(TokenDataset(published.uri, seq_len=8, sources=[url], cache=tmp_path))
