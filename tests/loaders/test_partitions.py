"""Named partitions, which are the folders of what was published: each by every surface, and nothing of the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from holdfast import DataLoader, IndexedDataset, Mixture, StreamingDataset, TokenDataset
from holdfast.storage.errors import ConfigError
from support.mirror_server import MirrorServer

Serve = Callable[..., MirrorServer]
PARTS = {"test": range(40), "train": range(40, 340)}  # in the order of their names


def test_rows_of_one_partition_are_all_that_comes(publish_folder: Any, serve: Serve, tmp_path: Path) -> None:
    for name, numbers in PARTS.items():
        (tmp_path / "src" / name).mkdir(parents=True)
        pq.write_table(pa.table({"n": list(numbers)}), tmp_path / "src" / name / "a.parquet", row_group_size=25)
    published = publish_folder(tmp_path / "src", leaf_size=16384)
    server = serve(published.folder)
    given = {"sources": [server.url], "cache": tmp_path / "c"}
    for name, numbers in PARTS.items():
        stream = StreamingDataset(published.uri, partition=name, seed=1, **given)
        found = list(stream)
        assert sorted(sample["n"] for sample in found) == list(numbers)
        assert all(sample["__index__"] == sample["n"] for sample in found), "numbered in the whole dataset"
        assert [n for batch in DataLoader(stream, 7) for n in batch["n"].tolist()] == [one["n"] for one in found]
        indexed = IndexedDataset(published.uri, partition=name, **given)
        assert [indexed[0]["n"], indexed[-1]["n"], len(indexed)] == [numbers[0], numbers[-1], len(numbers)]
        mixture = Mixture([stream], (1,))
        assert sorted(sample["n"] for sample in mixture) == list(numbers)
        for one in (stream, indexed):
            one.close()
    only = StreamingDataset(published.uri, partition="test", sources=[server.url], cache=tmp_path / "other")
    server.requests.clear()
    assert len(list(only)) == 40
    assert not [path for path in server.requests if path.startswith("data/train/")]
    only.close()
    with pytest.raises(ConfigError, match="no partition 'val'"):
        len(IndexedDataset(published.uri, partition="val", **given))


def test_tokens_of_a_partition_are_one_stream(publish_folder: Any, serve: Serve, tmp_path: Path) -> None:
    streams = {"a": np.arange(5000, dtype=np.uint16), "b": np.arange(5000, 9000, dtype=np.uint16)}
    for name, tokens in streams.items():
        (tmp_path / "src" / name).mkdir(parents=True)
        for half in range(2):
            part = tokens[half * len(tokens) // 2 : (half + 1) * len(tokens) // 2]
            part.tofile(tmp_path / "src" / name / f"{half}.bin")
    published = publish_folder(tmp_path / "src", format="tokens", dtype="uint16", leaf_size=16384)
    for name, tokens in streams.items():
        rows = TokenDataset(
            published.uri, partition=name, seq_len=99, sources=[serve(published.folder).url], cache=tmp_path / "c"
        )
        assert len(rows) == (len(tokens) - 1) // 99
        found = rows.read(0, len(rows))
        assert (found == tokens[np.arange(len(rows))[:, None] * 99 + np.arange(100)]).all(), "also across its shards"
        rows.close()
