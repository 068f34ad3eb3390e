"""Parquet: the values that come out, the columns that are fetched, and row groups that are hostile."""

from __future__ import annotations

import datetime
import decimal
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch.utils.data import default_collate

from holdfast import DataLoader, IndexedDataset, StreamingDataset
from holdfast.loaders.errors import SampleError
from holdfast.loaders.readers import bounds
from holdfast.loaders.readers.collated import collated
from holdfast.loaders.readers.parquet import ParquetReader
from holdfast.loaders.readers.range_file import SpanFile
from holdfast.loaders.readers.values import Rows
from holdfast.storage.errors import ConfigError
from support.mirror_server import MirrorServer

Serve = Callable[..., MirrorServer]

ARRAYS = [
    pa.array([1, -2, None, 3], pa.int8()),
    pa.array([1, 2**63 - 1, -(2**63), 0], pa.int64()),
    pa.array([0, 2**64 - 1, None, 1], pa.uint64()),
    pa.array([0.1, None, float("inf"), -0.0], pa.float32()),
    pa.array([0.1, 1e300, -1.0, None]),
    pa.array([0.5, None], pa.float16()),
    pa.array([True, None, False, True]),
    pa.array(["", "é€😀", None, "x" * 3000]),
    pa.array(["a", None, ""], pa.large_string()),
    pa.array([b"\0\xff", None, b""]),
    pa.array([b"ab", None], pa.large_binary()),
    pa.array([b"ab", None], pa.binary(2)),
    pa.array([[1, 2], None, [], [3]], pa.list_(pa.int32())),
    pa.array([[1, None], None, [], [3]], pa.large_list(pa.int64())),
    pa.array([[["a"], None], [], None, [["b", None]]]),
    pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2)),
    pa.array([{"a": 1, "b": ["x"]}, None, {"a": None, "b": None}]),
    pa.array([[{"a": [1]}, None], None, [{"a": None}]]),
    pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int64())),
    pa.array(["a", None, "b", "a"]).dictionary_encode(),
    pa.array([datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC), None], pa.timestamp("us", "UTC")),
    pa.array([datetime.date(2020, 1, 1), None]),
    pa.array([decimal.Decimal("1.50"), None]),
    pa.nulls(3),
    pa.array([], pa.string()),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: str(array.type))
def test_values_are_those_of_to_pylist_wherever_the_array_begins(array: pa.Array) -> None:
    parts = [array, array.slice(1), array.slice(1, 2), array.slice(len(array))]
    for part in parts:
        rows = Rows(pa.table({"x": part}))
        assert [rows.row(at) for at in range(len(part))] == pa.table({"x": part}).to_pylist()
    if not pa.types.is_dictionary(array.type):
        chunked = pa.table({"x": pa.chunked_array(parts)})
        assert [Rows(chunked).row(at) for at in range(len(chunked))] == chunked.to_pylist()


def test_values_of_random_tables() -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    text = lambda: None if rng.random() < 0.2 else "aé€"[: rng.randrange(4)] * rng.randrange(5)
    for _ in range(20):
        rows = [
            {"n": rng.choice([None, rng.randrange(-9, 9)]), "t": text(), "l": [text() for _ in range(rng.randrange(3))]}
            for _ in range(rng.randrange(1, 30))
        ]
        table = pa.Table.from_pylist(rows, pa.schema({"n": pa.int16(), "t": pa.string(), "l": pa.list_(pa.string())}))
        low = rng.randrange(len(rows))
        assert [Rows(table.slice(low)).row(at) for at in range(len(rows) - low)] == rows[low:]


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory, publish_folder: Any) -> Any:
    """Two shards of 8 row groups; a small column between two large ones, and a record."""
    source = tmp_path_factory.mktemp("wide")
    rng = np.random.default_rng(3)
    for shard in range(2):
        with pq.ParquetWriter(source / f"{shard}.parquet", SCHEMA, compression="none", use_dictionary=False) as writer:
            for group in range(8):
                first = 100 * (8 * shard + group)
                ids = range(first, first + 100)
                left, right = ([rng.bytes(600) for _ in ids] for _ in range(2))
                point = [{"x": float(at), "raw": rng.bytes(300)} for at in ids]
                writer.write_table(pa.table([left, ids, [f"t{at}" for at in ids], right, point], schema=SCHEMA))
    return publish_folder(source, leaf_size=16384)


SCHEMA = pa.schema(
    {
        "left": pa.binary(), "id": pa.int64(), "text.v1": pa.string(), "right": pa.binary(),
        "point": pa.struct({"x": pa.float64(), "raw": pa.binary()}),
    }
)  # fmt: skip


def test_only_the_columns_asked_for_are_fetched(wide: Any, serve: Serve, tmp_path: Path) -> None:
    make = lambda cache, **given: StreamingDataset(
        wide.uri, sources=[serve(wide.folder).url], cache=tmp_path / cache, **given
    )
    whole, part = make("a"), make("b", columns=["id", "text.v1"])
    wanted = [{name: sample[name] for name in ("__key__", "__index__", "id", "text.v1")} for sample in whole]
    assert [dict(sample) for sample in part] == wanted
    all_bytes, some = whole.stats().verified_bytes, part.stats().verified_bytes
    assert all_bytes > whole.head.bytes
    assert some < all_bytes // 3, "leaves at both ends of a chunk are whole ones"
    again = make("b", columns=["text.v1", "id", "id"])
    assert [sample["__index__"] for sample in again] == [sample["__index__"] for sample in wanted]
    assert again.stats().missed_bytes == 0
    for dataset in (whole, part, again):
        dataset.close()


def test_a_record_is_a_column_with_all_its_parts(wide: Any, serve: Serve, tmp_path: Path) -> None:
    dataset = IndexedDataset(wide.uri, sources=[serve(wide.folder).url], cache=tmp_path, columns=["point"])
    assert dataset[1234]["point"]["x"] == 1234.0
    assert set(dataset[3]) == {"__key__", "__index__", "point"}
    assert len(dataset[3]["point"]["raw"]) == 300


@pytest.mark.parametrize("columns", [["id", "nope"], [], "id", [3]])
def test_wrong_columns_are_said_with_what_there_is(wide: Any, serve: Serve, tmp_path: Path, columns: Any) -> None:
    url = serve(wide.folder).url
    with pytest.raises(ConfigError) as caught:
        next(iter(DataLoader(wide.uri, sources=[url], cache=tmp_path, columns=columns)))
    if columns and "nope" in columns:
        assert "has no column 'nope'" in caught.value.message
        assert "'left', 'id', 'text.v1', 'right', 'point'" in caught.value.hint


def test_columns_are_for_shards_that_have_some(images: Any, serve: Serve, tmp_path: Path) -> None:
    _, published = images
    dataset = StreamingDataset(published.uri, sources=[serve(published.folder).url], cache=tmp_path, columns=["jpg"])
    with pytest.raises(ConfigError, match="columns= is for parquet"):
        next(iter(dataset))
    dataset.close()


def test_a_span_gives_no_byte_that_nobody_checked() -> None:
    file = SpanFile([(10, memoryview(b"abcdef")), (20, memoryview(b"xyz"))], 30)
    file.seek(12)
    assert bytes(file.read(3)) == b"cde"
    file.seek(-10, 2)
    assert bytes(file.read(3)) == b"xyz"
    for at, size in ((9, 2), (14, 4), (16, 4), (22, 2)):
        file.seek(at)
        with pytest.raises(ValueError, match="none of this part"):
            file.read(size)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The row groups that were decoded, one after the other."""
    groups: list[int] = []
    load = ParquetReader._table
    monkeypatch.setattr(
        ParquetReader, "_table", lambda self, group, parts: groups.append(group) or load(self, group, parts)
    )
    return groups


def test_rows_that_are_read_at_random_stay_decoded(
    publish_folder: Any, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[int]
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    pq.write_table(pa.table({"x": list(range(200))}), source / "0.parquet", row_group_size=1)
    published = publish_folder(source)
    monkeypatch.setattr("holdfast.loaders.readers.opener._DECODED_BYTES", 800)
    dataset = IndexedDataset(published.uri, sources=[serve(published.folder).url], cache=tmp_path / "c")
    for _ in range(5):
        assert [dataset[at]["x"] for at in range(50)] == list(range(50))
    assert sorted(decoded) == list(range(50))
    dataset.close()


def test_numbers_in_one_shard_and_texts_in_another_are_refused_before_they_take_memory() -> None:
    tracemalloc.start()
    try:
        for values in ([1] * 63 + ["x" * 8_000_000], [1.5] * 63 + [b"x" * 8_000_000], [0, [1]], [True, 2, None]):
            with pytest.raises((TypeError, RuntimeError)) as ours:
                collated(values)
            with pytest.raises((TypeError, RuntimeError)) as theirs:
                default_collate(values)
            assert str(ours.value) == str(theirs.value)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    for values in ([1, True], [True, 2], [2.5, 1], [1, 2**63 - 1], [float("nan"), 1.0], [np.int64(3)], ["a"], [True]):
        ours_, theirs_ = collated(values), default_collate(values)
        assert type(ours_) is type(theirs_)
        if isinstance(ours_, torch.Tensor):
            assert ours_.dtype == theirs_.dtype
            assert torch.equal(torch.nan_to_num(ours_), torch.nan_to_num(theirs_))


def test_a_pass_keeps_no_more_than_the_rows_it_still_needs(
    publish_folder: Any, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[int]
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    pq.write_table(pa.table({"x": list(range(4000))}), source / "0.parquet", row_group_size=100)
    published = publish_folder(source)
    monkeypatch.setattr("holdfast.loaders.readers.opener._DECODED_BYTES", 16_000)  # of 32,000
    dataset = StreamingDataset(
        published.uri, sources=[serve(published.folder).url], cache=tmp_path / "c", shuffle=False
    )
    for _ in range(2):
        for batch in DataLoader(dataset, 64):
            held = dataset._access.view()._opener._rows
            spent = [key for key, rows in held._held.items() if rows.unread == rows.count]
            assert sum(held._held[key].bytes for key in spent) <= 4000 + 1600, batch["__index__"][0]
    assert sorted(decoded) == sorted([*range(40), *range(40)]), "each once a pass"
    dataset.close()


def test_a_group_of_one_long_value_takes_no_more_than_the_value(
    publish_folder: Any, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a dictionary, repeated by every row: 20 KB that would be 200 MB. It is read as a dictionary."""
    (tmp_path / "src").mkdir()
    table = pa.table({"t": ["x" * 20_000] * 10_000, "n": range(10_000)})
    pq.write_table(table, tmp_path / "src" / "a.parquet", compression="zstd", row_group_size=10_000)
    assert (tmp_path / "src" / "a.parquet").stat().st_size < 100_000
    published = publish_folder(tmp_path / "src", leaf_size=16384)
    monkeypatch.setattr(bounds, "MAX_GROUP_BYTES", 100 << 20)
    url = serve(published.folder).url
    dataset = IndexedDataset(published.uri, sources=[url], cache=tmp_path / "c")
    before = pa.total_allocated_bytes()
    assert dataset[9_999] == {"__key__": "data/a.parquet#9999", "__index__": 9_999, "t": "x" * 20_000, "n": 9_999}
    assert pa.total_allocated_bytes() - before < 1 << 20
    dataset.close()
    numbers = StreamingDataset(published.uri, sources=[url], cache=tmp_path / "c", columns=["n"])
    assert sum(sample["n"] for sample in numbers) == sum(range(10_000))
    numbers.close()


def test_a_text_that_is_not_utf8_is_one_bad_sample(publish_folder: Any, serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    raw = pa.array([b"good", b"\xff", b"good too"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    pq.write_table(pa.table({"t": text}), tmp_path / "src" / "a.parquet", use_dictionary=False, write_statistics=False)
    published = publish_folder(tmp_path / "src", leaf_size=16384)
    url = serve(published.folder).url
    dataset = StreamingDataset(published.uri, sources=[url], cache=tmp_path / "c", on_error="skip", shuffle=False)
    assert [sample["t"] for sample in dataset] == ["good", "good too"]
    dataset.close()
    with pytest.raises(SampleError, match=r"data/a\.parquet: its row 1 cannot be read"):
        IndexedDataset(published.uri, sources=[url], cache=tmp_path / "c")[1]
