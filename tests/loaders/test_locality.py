"""What each rank downloads: with W dividing the lanes, little more than its share; on one machine, each leaf once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast import StreamingDataset
from holdfast.loaders.epoch import Epoch
from holdfast.loaders.order import Order
from holdfast.loaders.order_parameters import OrderParameters
from holdfast.pipeline.assemble import TOKEN_RUN
from holdfast.storage.errors import FormatError
from holdfast.storage.limits import MIB
from holdfast.storage.manifest import Head, OrderHints, Partition
from holdfast.storage.order_hints import suggest_hints
from support.mirror_server import MirrorServer

Serve = Callable[..., MirrorServer]
TOKENS = 20_000_000
IMAGES, IMAGE_BYTES = 710, 100 << 10
LEAF_BYTES, SHARD_BYTES = MIB, 64 * MIB


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory, publish_folder: Any) -> Any:
    """40 MB in four files, leaves of 16 KiB, blocks of one run (256 KiB): then it has four lanes, of 38 runs."""
    source = tmp_path_factory.mktemp("tokens")
    stream = np.random.default_rng(6).integers(0, 60_000, TOKENS, dtype=np.uint16)
    for number, part in enumerate(np.split(stream, 4)):
        part.tofile(source / f"{number}.bin")
    return publish_folder(source, format="tokens", dtype="uint16", leaf_size=16384, shuffle_block=256 << 10)


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_of_different_machines_download_their_share(
    tokens: Any, serve: Serve, tmp_path: Path, world: int
) -> None:
    url = serve(tokens.folder).url
    for rank in range(world):
        dataset = StreamingDataset(
            tokens.uri, sources=[url], cache=tmp_path / str(rank), seq_len=2048, rank=rank, world_size=world
        )
        for _ in dataset:
            pass
        found = dataset.stats()
        dataset.close()
        # without nodes: of so small a dataset they are two per cent
        assert found.missed_bytes <= 1.1 * 2 * TOKENS / world, f"rank {rank} of {world}"
        assert found.refetched_bytes == 0


def test_ranks_of_one_machine_fetch_each_leaf_once(tokens: Any, serve: Serve, tmp_path: Path) -> None:
    url = serve(tokens.folder).url
    fetched = 0
    for rank in range(3):  # no divisor of the lanes: their leaves are the same
        dataset = StreamingDataset(tokens.uri, sources=[url], cache=tmp_path, seq_len=2048, rank=rank, world_size=3)
        for _ in dataset:
            pass
        fetched += dataset.stats().verified_bytes
        dataset.close()
    assert fetched <= 1.01 * 2 * TOKENS


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory, publish_folder: Any) -> Any:
    """70 MiB of images, published as it comes: two shards of tar, leaves of 1 MiB, two lanes."""
    source = tmp_path_factory.mktemp("images")
    content = np.random.default_rng(7).bytes(IMAGES * IMAGE_BYTES)
    for number in range(IMAGES):
        (source / f"{number:04}.jpg").write_bytes(content[number * IMAGE_BYTES : (number + 1) * IMAGE_BYTES])
    return publish_folder(source)


def test_ranks_download_their_share_of_a_dataset_with_default_options(
    images: Any, serve: Serve, tmp_path: Path
) -> None:
    url, share = serve(images.folder).url, IMAGES * (IMAGE_BYTES + 1024) / 2
    for rank in range(2):
        dataset = StreamingDataset(images.uri, sources=[url], cache=tmp_path / str(rank), rank=rank, world_size=2)
        for _ in dataset:
            pass
        assert dataset._access.head.order.lanes == 2
        assert dataset.stats().missed_bytes <= 1.1 * share, f"rank {rank}"
        dataset.close()


def _hints(mib: int, sample_bytes: int, run: int, lanes: int | None = None) -> OrderParameters:
    samples = mib * MIB // sample_bytes
    return OrderParameters.of(suggest_hints(samples, run, sample_bytes, lanes=lanes), samples)


def _windows(mib: int, seq_len: int) -> OrderParameters:
    tokens = mib * MIB // 2
    return OrderParameters.of(suggest_hints(tokens, TOKEN_RUN, 2), tokens).of_windows(tokens // seq_len, seq_len)


@pytest.mark.parametrize(
    ("parameters", "sample_bytes"),
    [
        (_hints(66, IMAGE_BYTES, 10), IMAGE_BYTES),
        (_hints(260, IMAGE_BYTES, 10), IMAGE_BYTES),
        (_hints(2000, IMAGE_BYTES, 10), IMAGE_BYTES),
        (_hints(20_000, IMAGE_BYTES, 10), IMAGE_BYTES),
        (_hints(1500, 2048, 4), 2048),  # record batches of 8 KiB
        (_hints(1500, 2048, 1), 2048),  # of one row
        (_windows(1030, 2049), 4098),
        (_windows(4000, 70_000), 140_000),
    ],
)
def test_the_leaves_of_a_rank_are_its_share_in_any_world_that_divides_the_lanes(
    parameters: OrderParameters, sample_bytes: int
) -> None:
    """By the options that `publish` chooses."""
    samples, per_shard = parameters.samples, SHARD_BYTES // sample_bytes
    assert parameters.lanes > 1
    for epoch in range(2):
        order = Order(b"root", 1, epoch, parameters)
        for world in (1 << bit for bit in range(1, parameters.lanes.bit_length())):
            for rank in {0, world // 2, world - 1}:
                shards, rows = np.divmod(order.samples_at(np.arange(rank, samples, world)), per_shard)
                ends = np.concatenate([rows * sample_bytes, (rows + 1) * sample_bytes - 1]) // LEAF_BYTES
                leaves = len(np.unique(np.concatenate([shards, shards]) * 64 + ends))
                assert leaves * LEAF_BYTES <= 1.1 * samples * sample_bytes / world, f"rank {rank} of {world}"


def test_what_is_read_whole_is_read_by_one_lane() -> None:
    """Runs are row groups, or shards in zstd: a lane cuts no more than the two at its ends."""
    parameters = _hints(8000, IMAGE_BYTES, 640)
    order = Order(b"root", 1, 0, parameters)
    groups = [
        len(np.unique(order.samples_at(np.arange(lane, parameters.samples, parameters.lanes)) // 640))
        for lane in range(parameters.lanes)
    ]
    assert parameters.lanes > 1
    assert sum(groups) <= -(-parameters.samples // 640) + 2 * parameters.lanes


@pytest.mark.parametrize(("mib", "lanes"), [(20, 1), (40, 1), (200, 4), (1500, 32)])
def test_a_partition_of_a_large_dataset_has_the_lanes_that_it_can_fill(mib: int, lanes: int) -> None:
    whole = _hints(2000, IMAGE_BYTES, 10)
    part = replace(whole, samples=mib * MIB // IMAGE_BYTES).of_part()
    assert part.lanes == lanes
    order = Order(b"root", 1, 0, part)
    shards, rows = np.divmod(order.samples_at(np.arange(0, part.samples, part.lanes)), SHARD_BYTES // IMAGE_BYTES)
    ends = np.concatenate([rows * IMAGE_BYTES, (rows + 1) * IMAGE_BYTES - 1]) // LEAF_BYTES
    leaves = len(np.unique(np.concatenate([shards, shards]) * 64 + ends))
    assert leaves * LEAF_BYTES <= 1.1 * part.samples * IMAGE_BYTES / part.lanes


@pytest.mark.parametrize("mib", [66, 130, 260, 1024])
def test_a_rank_gets_other_samples_in_the_next_epoch(mib: int) -> None:
    """As many of the same as chance gives: of W ranks one of W. A small dataset has few pieces: means of ten epochs."""
    parameters = _hints(mib, IMAGE_BYTES, 10)
    drawn = [
        set(Order(b"root", 1, epoch, parameters).samples_at(np.arange(0, parameters.samples, 2)).tolist())
        for epoch in range(11)
    ]
    same = np.mean([len(drawn[epoch] & drawn[epoch + 1]) / len(drawn[0]) for epoch in range(10)])
    assert 0.3 < same < 0.7


def test_a_dataset_of_version_1_is_read_in_its_order(
    publish_folder: Any, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hints = OrderHints(version=1, run=3, block=2, lanes=4)
    monkeypatch.setattr("holdfast.pipeline.assemble.suggest_hints", lambda *_, **__: hints)
    (tmp_path / "src").mkdir()
    for number in range(50):
        (tmp_path / "src" / f"{number:02}.jpg").write_bytes(bytes([number]))
    published = publish_folder(tmp_path / "src")
    dataset = StreamingDataset(published.uri, sources=[serve(published.folder).url], cache=tmp_path / "c", seed=4)
    order = Order(bytes(dataset.uri.root), 4, 0, OrderParameters(50, 3, 2, 4, 1))
    assert [sample["__index__"] for sample in dataset] == order.samples_at(np.arange(50)).tolist()
    dataset.close()


def test_a_head_whose_order_nobody_can_compute_is_refused() -> None:
    order = OrderHints(version=2, run=1 << 39, block=1, lanes=2, stretch=1 << 39)
    head = Head(shard_format="tar", samples=9, shards=1, bytes=9, leaf_size=16384, order=order)
    with pytest.raises(FormatError, match="the order of this dataset is not possible: a stretch"):
        Epoch.of(head, Partition(name="default", first_sample=0, samples=9), None)
