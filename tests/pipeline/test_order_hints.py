"""What a publisher suggests for the order of a dataset, and what it may be told."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.pipeline.assemble import _AT_HAND_BYTES, crowded, order_hints
from holdfast.pipeline.publish import publish
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.errors import ConfigError
from holdfast.storage.limits import MIB
from holdfast.storage.manifest import Head, OrderHints, Shard
from holdfast.storage.order_hints import BLOCK_BYTES, suggest_hints
from support.sources import manifest_of, tokens, tree_of


def _shard(size: int, samples: int) -> Shard:
    return Shard(path="data/0", cid="bafkqaaa", bytes=size, samples=samples, first_sample=0)


def _hints(run: int, block: int, lanes: int, stretch: int) -> OrderHints:
    return OrderHints(version=2, run=run, block=block, lanes=lanes, stretch=stretch)


def test_a_block_has_about_8_mib_a_stretch_32_leaves_and_a_lane_32_runs_and_a_stretch() -> None:
    assert suggest_hints(10**9, 16, 8 << 10) == _hints(16, 64, 64, 256)
    assert suggest_hints(10**6, 16, 1 << 20) == _hints(16, 1, 64, 2)
    assert suggest_hints(10**6, 4, 100 << 10) == _hints(4, 20, 64, 82)
    assert suggest_hints(10**6, 640, 100 << 10) == _hints(640, 1, 32, 1)  # a run is a shard
    for samples in (16_383, 32_768, 10**5, 10**7):
        made = suggest_hints(samples, 16, 1000, leaf_bytes=100_000)
        least = 16 * max(200, 2 * made.block)  # runs of 16,000 bytes
        assert made.lanes == 1 or samples // made.lanes >= least
        assert made.lanes == 64 or samples // (2 * made.lanes) < least


def test_one_lane_is_an_order_that_every_reader_knows() -> None:
    assert suggest_hints(100, 16, 100) == OrderHints(version=1, run=16, block=64, lanes=1)
    assert suggest_hints(0, 16, 0) == OrderHints(version=1, run=16, block=64, lanes=1)
    assert suggest_hints(10**9, 16, 8 << 10, lanes=1) == OrderHints(version=1, run=16, block=64, lanes=1)
    assert suggest_hints(100, 16, 100, lanes=7).version == 2


def test_what_a_reader_of_all_lanes_has_at_hand_is_bounded_where_it_is_asked() -> None:
    hints = suggest_hints(10**9, 512, 700, at_hand_bytes=64 << 20)
    assert (hints.block, hints.lanes) == (23, 8)
    assert hints.lanes * hints.block * hints.run * 700 <= 64 << 20
    assert suggest_hints(10**9, 512, 700).lanes == 64
    assert suggest_hints(10**6, 10**5, 700, at_hand_bytes=1).lanes == 1


def test_formats_that_are_decoded_have_few_lanes() -> None:
    """64 GiB: a reader of all lanes has a block of each at hand, decoded."""
    rows = order_hints("parquet", [_shard(1 << 36, 100_000_000)], 1500, BLOCK_BYTES, MIB)
    assert (rows.run, rows.block, rows.lanes) == (1500, 8, 8)
    lines = order_hints("jsonl.zst", [_shard(1 << 26, 100_000)] * 1000, 1, BLOCK_BYTES, MIB)
    assert (lines.run, lines.block, lines.lanes) == (100_000, 1, 8)
    assert order_hints("tar", [_shard(1 << 36, 1 << 20)], 1, BLOCK_BYTES, MIB).lanes == 64
    assert order_hints("tokens", [_shard(1 << 36, 1 << 35)], 1, BLOCK_BYTES, MIB).lanes == 64


def test_the_publisher_may_choose_the_lanes(tmp_path: Path) -> None:
    source, repo = tokens(tmp_path / "src"), tmp_path / "repo"
    result = publish(source, name="t", repo=repo, format="tokens", dtype="uint16", lanes=6)
    with DiskStore(repo).open(create=False) as store:
        assert manifest_of(tree_of(store, result.root))[0].order.lanes == 6
    for lanes in (0, 1025):
        with pytest.raises(ConfigError, match=f"{lanes} lanes are not possible"):
            publish(source, name="t", repo=repo, format="tokens", dtype="uint16", lanes=lanes)


def test_lanes_that_no_reader_can_hold_decoded_are_warned_of() -> None:
    def said(lanes: int, format_: str = "parquet", size: int = 1 << 30) -> str | None:
        order = OrderHints(version=2, run=1500, block=8, lanes=lanes, stretch=22)
        about = {"samples": size // 700, "shards": 1, "bytes": size, "leaf_size": MIB, "order": order}
        return crowded(Head(shard_format=format_, **about))

    text = said(64)
    assert text is not None
    assert "64 lanes have 512 MiB of parquet at hand; a reader of all of them keeps 64 MiB decoded" in text
    assert "lanes that fit: 7" in text
    assert said(4) is said(64, "tar") is said(64, size=60 * MIB) is None


def test_lanes_that_publish_chooses_are_never_warned_of() -> None:
    for size in range(1 << 29, 1 << 33, (1 << 28) + 12_345):
        samples = size // 701 - 3
        order = order_hints("parquet", [_shard(size, samples)], 1497, BLOCK_BYTES, MIB)
        head = Head(shard_format="parquet", samples=samples, shards=1, bytes=size, leaf_size=MIB, order=order)
        assert crowded(head) is None, size


def test_who_publishes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_AT_HAND_BYTES, "parquet", 1000)
    source = tmp_path / "src"
    source.mkdir()
    (source / "a.txt").write_text("".join(f"line {number}\n" for number in range(1000)))
    about = {"name": "t", "repo": tmp_path / "repo"}
    assert any("7 lanes have" in text for text in publish(source, lanes=7, **about).warnings)
    assert not publish(source, **about).warnings
