"""`decoded_cache=True`: decoded row groups, kept as Arrow files, and believed only while they are what was written."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from holdfast import DataLoader, StreamingDataset
from holdfast.loaders.readers.parquet import ParquetReader
from support.mirror_server import MirrorServer

Serve = Callable[..., MirrorServer]
Make = Callable[..., StreamingDataset]
ROWS = 900


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory, publish_folder: Any) -> Any:
    """Three shards of row groups of several sizes, an empty one among them, with a column of dictionaries."""
    source = tmp_path_factory.mktemp("tables")
    kind = pa.dictionary(pa.int8(), pa.string())
    schema = pa.schema({"n": pa.int64(), "text": pa.string(), "kind": kind, "list": pa.list_(pa.int32())})
    for shard in range(3):
        with pq.ParquetWriter(source / f"{shard}.parquet", schema) as writer:
            at = 300 * shard
            for rows in (100, 0, 1, 99, 100):
                numbers = range(at, at + rows)
                columns = [
                    pa.array(numbers, pa.int64()),
                    pa.array([f"é {n}" if n % 5 else None for n in numbers], pa.string()),
                    pa.array([f"k{n % (3 + shard)}" for n in numbers], pa.string()).cast(kind),
                    pa.array([[n] * (n % 3) for n in numbers], pa.list_(pa.int32())),
                ]
                writer.write_table(pa.table(columns, schema=schema), row_group_size=max(rows, 1))
                at += rows
    return publish_folder(source, leaf_size=16384)


@pytest.fixture
def make(tables: Any, serve: Serve, tmp_path: Path) -> Make:
    url = serve(tables.folder).url
    given = {"sources": [url], "cache": tmp_path / "cache", "decoded_cache": True, "seed": 3}
    return lambda **options: StreamingDataset(tables.uri, **{**given, **options})


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The row groups that were decoded, as they are."""
    seen: list[int] = []
    table = ParquetReader._table

    def counted(self: ParquetReader, group: int, parts: Any) -> pa.Table:
        seen.append(group)
        return table(self, group, parts)

    monkeypatch.setattr(ParquetReader, "_table", counted)
    return seen


def test_values_of_dictionaries_are_kept_wherever_they_lie(
    publish_folder: Any, serve: Serve, tmp_path: Path, decoded: list[int]
) -> None:
    """In records and in lists; each row group brings a dictionary of its own."""
    (tmp_path / "src").mkdir()
    kind = pa.dictionary(pa.int32(), pa.string())
    schema = pa.schema({"tags": pa.list_(kind), "record": pa.struct({"k": kind, "n": pa.int64()}), "one": kind})
    with pq.ParquetWriter(tmp_path / "src" / "a.parquet", schema) as writer:
        for group in range(3):
            rows = [
                {"tags": [f"t{group}", None, f"u{row % 3}"], "record": {"k": f"k{group}", "n": row}, "one": f"o{group}"}
                for row in range(20)
            ]
            writer.write_table(pa.Table.from_pylist(rows, schema))
    published = publish_folder(tmp_path / "src", leaf_size=16384)
    options = {"sources": [serve(published.folder).url], "cache": tmp_path / "cache", "decoded_cache": True}
    first = read(StreamingDataset(published.uri, **options))
    assert len(kept(tmp_path)) == 1
    decoded.clear()
    assert read(StreamingDataset(published.uri, **options)) == first
    assert decoded == []


def test_shards_that_wait_to_be_kept_are_not_copied(publish_folder: Any, serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    rng = np.random.default_rng(1)
    for shard in range(6):
        table = pa.table({"x": [rng.bytes(1000) for _ in range(1000)]})
        pq.write_table(table, tmp_path / "src" / f"{shard}.parquet", row_group_size=100, compression="none")
    published = publish_folder(tmp_path / "src", leaf_size=1 << 20)
    url, held = serve(published.folder).url, []
    for keeps in (False, True):
        dataset = StreamingDataset(
            published.uri, sources=[url], cache=tmp_path / "cache", decoded_cache=keeps, shuffle=False
        )
        next(iter(dataset))
        view, go_on = dataset._access._view, threading.Event()
        assert view is not None
        for _ in range(2):
            view._opener._pool.submit(go_on.wait)  # nothing is written while the pass goes on
        tracemalloc.start()
        try:
            assert sum(1 for _ in dataset) == 6000
            gc.collect()
            held.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
            go_on.set()
            view._opener._pool.shutdown(wait=True)
            dataset.close()
    assert held[1] - held[0] < 1 << 20, "of shards of 6 MB"
    assert len(kept(tmp_path)) == 6


def read(dataset: StreamingDataset) -> list[dict[str, Any]]:
    """One pass, and all that it wants to keep written."""
    found = list(dataset)
    dataset.close()
    return found


def kept(tmp_path: Path) -> list[Path]:
    return sorted(path for path in (tmp_path / "cache" / "decoded").glob("*") if path.suffix != ".marks")


def test_the_next_pass_decodes_nothing_and_gives_the_same(make: Make, tmp_path: Path, decoded: list[int]) -> None:
    plain = read(make(decoded_cache=False))
    assert kept(tmp_path) == []
    decoded.clear()
    assert read(make()) == plain
    assert len(kept(tmp_path)) == 3
    decoded.clear()
    assert read(make()) == plain
    loader = DataLoader(make(), batch_size=7, num_workers=2, collate_fn=list)
    assert [sample for batch in loader for sample in batch] == plain
    assert decoded == []


def test_closing_waits_for_what_is_to_be_kept_and_not_for_ever(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    monkeypatch.setattr("holdfast.loaders.access._KEEP_S", 0.05)
    dataset = make()
    next(iter(dataset))
    view = dataset._access._view
    assert view is not None
    busy = [view._opener._pool.submit(go_on.wait) for _ in range(2)]
    list(dataset)
    dataset.close()  # nothing can be written meanwhile
    assert not any(job.done() for job in busy)
    assert kept(tmp_path) == []
    go_on.set()
    view._opener._pool.shutdown(wait=True)
    monkeypatch.undo()
    dataset = make()
    next(iter(dataset))  # all that is open is here whole
    dataset.close()
    assert kept(tmp_path)


def test_columns_are_kept_by_themselves(make: Make, tmp_path: Path, decoded: list[int]) -> None:
    read(make())
    some = read(make(columns=["text"]))
    assert len(kept(tmp_path)) == 6
    decoded.clear()
    assert read(make(columns=["text"])) == some
    assert set(some[0]) == {"__key__", "__index__", "text"}
    assert decoded == []


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "text", "marks"])
def test_a_rotten_file_is_made_again(make: Make, tmp_path: Path, decoded: list[int], damage: str) -> None:
    plain = read(make())
    for path in kept(tmp_path):
        data = path.read_bytes()
        match damage:
            case "flip":
                path.write_bytes(bytes(len(data)))
            case "cut":
                path.write_bytes(data[: len(data) // 2])
            case "gone":
                path.unlink()
            case "text":
                path.write_bytes(b"not Arrow")
            case "marks":
                path.with_name(f"{path.name}.marks").write_bytes(b"hf-deco1")
    decoded.clear()
    assert read(make()) == plain
    assert decoded
    decoded.clear()
    assert read(make()) == plain
    assert decoded == []


def test_what_rots_without_a_trace_is_decoded_from_the_shard(
    make: Make, tmp_path: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that gives other bytes under the same stamp: offsets of texts would lead anywhere."""
    plain = read(make())
    from holdfast.loaders.decoded_files import DecodedFile

    view = DecodedFile.view

    def rotten(self: DecodedFile, start: int, end: int) -> memoryview:
        data = bytearray(view(self, start, end))
        at = data.find("é 1".encode())
        data[at : at + 1] = b"\xff"
        return memoryview(bytes(data))

    monkeypatch.setattr(DecodedFile, "view", rotten)
    decoded.clear()
    assert read(make()) == plain
    assert decoded


def test_what_is_kept_goes_when_the_budget_asks_for_it(make: Make, tmp_path: Path) -> None:
    plain = read(make())
    size = sum(path.stat().st_size for path in kept(tmp_path))
    small = make(cache_bytes=size)
    assert read(small) == plain
    held = [path.stat().st_size for name in ("shards", "decoded") for path in (tmp_path / "cache" / name).glob("*")]
    assert sum(held) <= 2 * size
    list(make(cache_bytes=1 << 16))
    assert sorted(sample["__index__"] for sample in read(make(cache_bytes=1 << 16))) == list(range(ROWS))
