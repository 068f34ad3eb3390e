"""What a publisher suggests for the order of a dataset, and what it may be told."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.pipeline.assemble import order_hints
from holdfast.pipeline.publish import publish
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.errors import ConfigError
from holdfast.storage.manifest import Shard
from holdfast.storage.order_hints import BLOCK_BYTES
from support.sources import manifest_of, tokens, tree_of


def _shard(size: int, samples: int) -> Shard:
    return Shard(path="data/0", cid="bafkqaaa", bytes=size, samples=samples, first_sample=0)


def test_formats_that_are_decoded_have_few_lanes() -> None:
    """64 GiB: a reader of all lanes has a block of each at hand, decoded."""
    rows = order_hints("parquet", [_shard(1 << 36, 100_000_000)], 1500, BLOCK_BYTES)
    assert (rows.run, rows.block, rows.lanes) == (1500, 8, 8)
    lines = order_hints("jsonl.zst", [_shard(1 << 26, 100_000)] * 1000, 1, BLOCK_BYTES)
    assert (lines.run, lines.block, lines.lanes) == (100_000, 1, 8)
    assert order_hints("tar", [_shard(1 << 36, 1 << 20)], 1, BLOCK_BYTES).lanes == 64
    assert order_hints("tokens", [_shard(1 << 36, 1 << 35)], 1, BLOCK_BYTES).lanes == 64


def test_the_publisher_may_choose_the_lanes(tmp_path: Path) -> None:
    source, repo = tokens(tmp_path / "src"), tmp_path / "repo"
    result = publish(source, name="t", repo=repo, format="tokens", dtype="uint16", lanes=6)
    with DiskStore(repo).open(create=False) as store:
        assert manifest_of(tree_of(store, result.root))[0].order.lanes == 6
    for lanes in (0, 1025):
        with pytest.raises(ConfigError, match=f"{lanes} lanes are not possible"):
            publish(source, name="t", repo=repo, format="tokens", dtype="uint16", lanes=lanes)
