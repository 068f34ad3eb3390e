"""Samples that cannot be built: named and raised, or left out, counted, and never lost count of."""

from __future__ import annotations

import io
import json
import logging
import tarfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torchdata.stateful_dataloader import StatefulDataLoader

from holdfast import DataLoader, IndexedDataset, Mixture, StreamingDataset
from holdfast.loaders import decode
from holdfast.loaders.errors import SampleError
from holdfast.loaders.readers.parquet import ParquetReader
from holdfast.loaders.skip import HOLE, in_step
from holdfast.loaders.stream import Place, stream
from holdfast.storage.errors import (
    ConfigError,
    DiskFullError,
    FormatError,
    IntegrityError,
    StoreError,
    UnavailableError,
)
from support.mirror_server import MirrorServer, Reply

Serve = Callable[..., MirrorServer]
Make = Callable[..., StreamingDataset]
SIZE = 120
BAD = {3, 4, 5, 6, 40, 77, 119}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, publish_folder: Any) -> Any:
    """A tar of 120 samples; seven hold JSON that is none."""
    source = tmp_path_factory.mktemp("src")
    with tarfile.open(source / "a.tar", "w") as tar:
        for number in range(SIZE):
            info, data = tarfile.TarInfo(f"s{number:03d}.json"), b"{" if number in BAD else b"%d" % number
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return publish_folder(source, leaf_size=16384)


@pytest.fixture
def make(published: Any, serve: Serve, tmp_path: Path) -> Make:
    url = serve(published.folder).url
    given = {"sources": [url], "cache": tmp_path, "seed": 7, "decode": "torch", "on_error": "skip"}
    return lambda **options: StreamingDataset(published.uri, **{**given, **options})


def numbers(samples: Any) -> list[int]:
    return [sample["__index__"] for sample in samples]


def flat(batches: Any) -> list[int]:
    return [sample["__index__"] for batch in batches for sample in batch]


def order(make: Make) -> list[int]:
    """Every position of the pass: nothing is decoded, so nothing fails."""
    return numbers(make(decode=None))


def test_an_error_names_shard_and_sample(make: Make) -> None:
    with pytest.raises(SampleError, match=r"^data/a\.tar, sample 's003': member 'json' cannot be decoded: "):
        list(make(on_error="raise", shuffle=False))

    def refuse(sample: dict[str, Any]) -> Any:
        raise KeyError("label")

    with pytest.raises(SampleError, match=r"^data/a\.tar, sample 's000' \(index 0\): decode= failed: 'label'"):
        list(make(on_error="raise", shuffle=False, decode=refuse))


def test_skipped_samples_are_left_out_counted_and_told_once_a_pass(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = make()
    whole = order(make)
    with caplog.at_level(logging.WARNING, "holdfast.loader"):
        assert numbers(dataset) == [number for number in whole if number not in BAD]
    assert len(caplog.records) == 1
    assert f"{len(BAD)} samples were left out; the first: data/a.tar, sample" in caplog.messages[0]
    assert (dataset.stats().skipped, dataset.stats().samples) == (len(BAD), SIZE - len(BAD))
    list(dataset)
    assert dataset.stats().skipped == 2 * len(BAD)


@pytest.mark.parametrize("stop", [0, 1, 37, SIZE - len(BAD) - 1, SIZE])
def test_a_dataset_goes_on_behind_what_it_left_out(make: Make, stop: int) -> None:
    first, second = make(), make()
    seen = numbers(islice(first, stop))
    state = json.loads(json.dumps(first.state_dict()))
    second.load_state_dict(state)
    assert seen + numbers(second) == [number for number in order(make) if number not in BAD]
    if 0 < stop < SIZE:
        assert state["start"] == order(make).index(seen[-1]) + 1


@pytest.mark.parametrize(("workers", "then"), [(0, 0), (0, 2), (2, 0), (2, 2)])
@pytest.mark.parametrize("stop", [1, 9, 30])
def test_batches_get_shorter_and_any_loader_goes_on(make: Make, workers: int, then: int, stop: int) -> None:
    whole = order(make)
    loader = DataLoader(make(), batch_size=3, num_workers=workers, collate_fn=list)
    found = list(islice(loader, stop))
    state = loader.state_dict()
    seen = [[number for number in whole[at : at + 3] if number not in BAD] for at in range(0, SIZE, 3)]
    assert [numbers(batch) for batch in found] == [batch for batch in seen if batch][:stop]
    again = DataLoader(make(), batch_size=5, num_workers=then, collate_fn=list)
    again.load_state_dict(state)
    assert flat(found) + flat(again) == [number for number in whole if number not in BAD]
    assert flat(again) == [number for number in whole if number not in BAD], "the next pass is a whole one"


def test_a_batch_of_nothing_but_holes_does_not_come(make: Make) -> None:
    loader = DataLoader(make(shuffle=False), batch_size=2)  # with torch's own collate_fn
    found = [batch["__index__"].tolist() for batch in loader]
    assert found[:3] == [[0, 1], [2], [7]]
    assert loader.state_dict()["start"] in (0, SIZE)
    assert numbers(loader.dataset) == [number for number in range(SIZE) if number not in BAD], "holes are the loader's"


def test_workers_that_live_on_leave_the_same_out(make: Make) -> None:
    wanted = [number for number in order(make) if number not in BAD]
    loader = DataLoader(make(), batch_size=4, num_workers=2, collate_fn=list, persistent_workers=True)
    assert [flat(loader), flat(loader)] == [wanted, wanted]


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
@pytest.mark.parametrize("workers", [0, 2])
def test_torchdatas_loader_loses_and_repeats_nothing(make: Make, workers: int) -> None:
    load = lambda: StatefulDataLoader(make(batch_size=4), batch_size=4, num_workers=workers, collate_fn=list)
    loader, again = load(), load()
    seen = flat(islice(loader, 5))
    again.load_state_dict(loader.state_dict())
    assert sorted(seen + flat(again)) == sorted(set(range(SIZE)) - BAD)


def test_a_mixture_leaves_out_what_its_datasets_do(make: Make) -> None:
    mixture = Mixture([make(), make(seed=8)], (2, 1), samples=3 * SIZE // 2)
    whole = Mixture([make(decode=None), make(decode=None, seed=8)], (2, 1), samples=3 * SIZE // 2)
    wanted = [number for number in numbers(whole) if number not in BAD]
    loader = DataLoader(mixture, batch_size=6, collate_fn=list)
    seen = flat(islice(loader, 11))
    loader.load_state_dict(loader.state_dict())
    assert seen + flat(loader) == wanted
    assert numbers(mixture) == wanted


@pytest.mark.parametrize("error", [IntegrityError, UnavailableError, MemoryError])
def test_what_is_not_the_samples_fault_is_never_skipped(make: Make, error: type[Exception]) -> None:
    def refuse(sample: dict[str, Any]) -> Any:
        raise error("not the sample")

    with pytest.raises(error, match="not the sample"):
        next(iter(make(decode=refuse)))


def test_unavailable_bytes_are_never_skipped(published: Any, serve: Serve, tmp_path: Path) -> None:
    gone = lambda path, reply: Reply(404, {}, b"") if path.startswith("data/") else None
    url = serve(published.folder, gone).url
    dataset = StreamingDataset(published.uri, sources=[url], cache=tmp_path, deadline_s=1.0, on_error="skip")
    with pytest.raises(UnavailableError):
        next(iter(dataset))
    dataset.close()


def test_a_shard_that_cannot_be_read_is_left_out_whole(publish_folder: Any, serve: Serve, tmp_path: Path) -> None:
    """A parquet row group whose bytes were damaged before they were published."""
    (tmp_path / "src").mkdir()
    path = tmp_path / "src" / "a.parquet"
    with pq.ParquetWriter(path, pa.schema({"x": pa.int64()}), compression="zstd", use_dictionary=False) as writer:
        for first in range(0, 400, 100):
            writer.write_table(pa.table({"x": range(first, first + 100)}))
    column = pq.ParquetFile(path).metadata.row_group(2).column(0)
    data = bytearray(path.read_bytes())
    end = column.data_page_offset + column.total_compressed_size
    data[end - 60 : end] = bytes(60)
    path.write_bytes(data)
    published = publish_folder(tmp_path / "src", leaf_size=16384)
    url = serve(published.folder).url
    dataset = StreamingDataset(published.uri, sources=[url], cache=tmp_path / "c", on_error="skip")
    assert sorted(sample["x"] for sample in dataset) == [*range(200), *range(300, 400)]
    assert dataset.stats().skipped == 100
    dataset.close()
    indexed = IndexedDataset(published.uri, sources=[url], cache=tmp_path / "c")
    assert indexed[199]["x"] == 199
    with pytest.raises(SampleError, match=r"data/a\.parquet: its row group 2 "):
        indexed[200]


def test_a_footer_that_nobody_has_ends_a_pass_when_its_sample_is_due(
    publish_folder: Any, serve: Serve, tmp_path: Path
) -> None:
    (tmp_path / "src").mkdir()
    for name, first in (("a", 0), ("b", 500)):
        table = pa.table({"x": range(first, first + 500)})
        pq.write_table(table, tmp_path / "src" / f"{name}.parquet", row_group_size=100)
    published = publish_folder(tmp_path / "src", leaf_size=16384)
    server = serve(published.folder, lambda path, _: Reply(404, {}, b"") if path == "data/b.parquet" else None)
    dataset = StreamingDataset(
        published.uri, sources=[server.url], cache=tmp_path / "c", shuffle=False, deadline_s=0.5, on_error="skip"
    )
    seen: list[int] = []
    with pytest.raises(UnavailableError, match=r"data/b\.parquet"):
        seen.extend(sample["x"] for sample in dataset)
    assert seen == list(range(500))
    dataset.close()


def test_on_error_is_one_of_two(make: Make) -> None:
    with pytest.raises(ConfigError, match="on_error='ignore'"):
        make(on_error="ignore")


@pytest.mark.parametrize("error", [StoreError, DiskFullError, ConfigError, FormatError, ImportError])
def test_what_a_decoder_meets_that_is_not_the_samples_is_raised_as_it_is(make: Make, error: type[Exception]) -> None:
    """It reads another dataset, or writes to a disk."""

    def refuse(sample: dict[str, Any]) -> Any:
        raise error("not the sample")

    with pytest.raises(error, match="not the sample"):
        next(iter(make(decode=refuse)))


def test_a_decoder_may_take_index_and_key_out_of_its_sample(make: Make) -> None:
    def refuse(sample: dict[str, Any]) -> Any:
        sample.clear()
        raise ValueError("not for me")

    with pytest.raises(SampleError, match=r"^data/a\.tar, sample 's000' \(index 0\): decode= failed: not for me"):
        next(iter(make(decode=refuse, on_error="raise", shuffle=False)))
    dataset = make(decode=refuse)
    assert list(dataset) == []
    assert dataset.stats().skipped == SIZE


def test_memory_that_is_short_is_not_the_samples_fault(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def short(data: bytes) -> Any:
        raise MemoryError

    monkeypatch.setitem(decode._HANDLERS, "json", short)
    with pytest.raises(MemoryError):
        next(iter(make()))


def test_a_shard_that_cannot_be_opened_is_opened_once_a_pass(
    publish_folder: Any, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "src").mkdir()
    for name, first in (("a", 0), ("b", 500)):
        pq.write_table(pa.table({"x": range(first, first + 500)}), tmp_path / "src" / f"{name}.parquet")
    published = publish_folder(tmp_path / "src", leaf_size=16384)
    opened: list[str] = []
    start = ParquetReader.__init__

    def broken(self: Any, shard: Any, *rest: Any) -> None:
        opened.append(shard.path)
        if shard.path == "data/a.parquet":
            raise SampleError(f"{shard.path}: its footer cannot be read")
        start(self, shard, *rest)

    monkeypatch.setattr(ParquetReader, "__init__", broken)
    url = serve(published.folder).url
    dataset = StreamingDataset(published.uri, sources=[url], cache=tmp_path / "c", on_error="skip")
    for passes in (1, 2):
        assert sorted(sample["x"] for sample in dataset) == list(range(500, 1000))
        assert dataset.stats().skipped == 500 * passes
        assert opened.count("data/a.parquet") == passes, "each pass tries again"
    dataset.close()


def test_ranks_deliver_as_many_batches_whatever_is_left_out(make: Make) -> None:
    """Of batches of two, rank 0 has one of nothing but holes: it would stand at a barrier alone."""
    for workers in (0, 2):
        counts = []
        for rank in range(2):
            options = {"rank": rank, "world_size": 2, "shuffle": False}
            loader = DataLoader(make(**options), batch_size=2, num_workers=workers, collate_fn=list)
            found = [numbers(batch) for batch in loader]
            counts.append(len(found))
            assert len({tuple(batch) for batch in found}) == len(found) - (rank == 0)
            state = loader.state_dict()
            assert state["start"] in (0, SIZE)
        assert counts == [SIZE // 4, SIZE // 4]


def test_a_batch_that_stands_in_comes_from_behind_or_from_before() -> None:
    def never() -> Any:
        raise AssertionError("there is a batch beside it")

    batches = [HOLE, HOLE, {"a": 1}, {"a": 2}, HOLE, {"a": 3}, HOLE]
    found = [batch.pop("a") for batch in in_step(batches, never)]
    assert found == [1, 1, 1, 2, 3, 3, 3], "what a training takes out of a batch is in the next one still"
    assert list(in_step([], never)) == []
    changed = [batch["x"].mul_(10).item() for batch in in_step([HOLE, {"x": torch.ones(1)}, HOLE, HOLE], never)]
    assert changed == [10, 10, 10, 10], "what is changed in place is changed in one batch"
    assert list(in_step([HOLE, HOLE], lambda: {"a": 4})) == [{"a": 4}, {"a": 4}]
    with memoryview(b"x") as view:
        assert list(in_step([HOLE, view], never)) == [view, view], "what cannot be copied comes twice"


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("tail", ["repeat", "exact"])
def test_ranks_stay_in_step_when_nothing_is_left_but_holes(make: Make, workers: int, tail: str) -> None:
    """The last two samples cannot be built: who goes on before them has the first batch of the epoch in their place."""
    ends = lambda sample: {} if sample["__index__"] < SIZE - 2 else 1 / 0
    steps = []
    for rank in range(2):
        given = {"rank": rank, "world_size": 2, "tail": tail, "shuffle": False, "decode": ends}
        keep = lambda samples: len(samples)
        first = DataLoader(make(**given), batch_size=1, num_workers=workers, collate_fn=keep)
        batches = iter(first)
        steps.append(len(list(islice(batches, SIZE // 2 - 1))))
        state = first.state_dict()
        assert state["start"] == SIZE - 2
        del batches
        again = DataLoader(make(**given), batch_size=1, num_workers=workers, collate_fn=keep)
        again.load_state_dict(state)
        steps.append(len(list(again)))
    assert steps == [SIZE // 2 - 1, 1] * 2


def test_a_rank_that_can_build_nothing_says_so(make: Make) -> None:
    loader = DataLoader(make(rank=0, world_size=2, decode=lambda _: 1 / 0), batch_size=8, collate_fn=list)
    with pytest.raises(SampleError, match="no sample of this epoch can be built"):
        list(loader)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_rank_that_can_build_nothing_of_its_own_stays_in_step(make: Make, workers: int) -> None:
    steps, counts = [], []
    for rank in range(2):
        odd_ones = lambda sample: 1 / (1 - sample["__index__"] % 2)
        given = {"rank": rank, "world_size": 2, "shuffle": False, "decode": odd_ones}
        loader = DataLoader(make(**given), batch_size=12, num_workers=workers, collate_fn=len)
        steps.append(list(loader))
        counts.append((loader.dataset.stats().samples, loader.dataset.stats().skipped))
    assert steps == [[12] * 5, [6] * 5], "of the whole dataset every other one can be built"
    assert counts == [(60, 0), (0, 60)], "what stands in is not counted"


@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_counts_what_its_workers_left_out(make: Make, workers: int) -> None:
    loader = DataLoader(make(), batch_size=7, num_workers=workers, collate_fn=list)
    list(loader)
    found = loader.dataset.stats()
    assert (found.samples, found.skipped) == (SIZE - len(BAD), len(BAD))
    assert found.samples_per_s > 0


def test_a_manifest_page_that_nobody_has_ends_a_pass_behind_what_is_located() -> None:
    read: list[int] = []

    class Readers:
        ahead = 4

        def is_open(self, number: int) -> bool:
            return True

        def __call__(self, number: int) -> Any:
            return self

        def prefetch(self, index: int, urgency: float) -> int:
            return 0

        def sample(self, index: int) -> dict[str, Any]:
            return {"__key__": str(index)}

    def locate(indices: Any) -> Any:
        for index in indices.tolist():
            if index == 5:
                raise UnavailableError("manifest/00001.jsonl")
            yield Place(index, 0, index)

    with pytest.raises(UnavailableError, match="00001"):
        read.extend(sample["__index__"] for sample in stream(iter([np.arange(9)]), locate, Readers(), 1 << 20))
    assert read == [0, 1, 2, 3, 4]
