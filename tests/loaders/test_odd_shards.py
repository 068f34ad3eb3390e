"""Shards as other programs write them, published as they lie: every sample comes back as it was."""

from __future__ import annotations

import datetime
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from holdfast import StreamingDataset
from holdfast.loaders.stream import Place, stream
from support.mirror_server import MirrorServer
from support.samples import collect

Load = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def load(publish_folder: Callable[..., Any], serve: Callable[..., MirrorServer], tmp_path: Path) -> Load:
    """Publish `tmp_path/src`, serve it, and collect it in the order of the shards (and once shuffled)."""

    def run(*, seq_len: int | None = None, workers: int = 0, **options: Any) -> list[dict[str, Any]]:
        published = publish_folder(tmp_path / "src", leaf_size=16384, **options)
        url = serve(published.folder).url

        def read(*, shuffle: bool) -> list[dict[str, Any]]:
            dataset = StreamingDataset(
                published.uri, sources=[url], cache=tmp_path / "cache", shuffle=shuffle, seq_len=seq_len, batch_size=4
            )
            return collect(dataset, workers)

        found = read(shuffle=False)
        assert [sample["__index__"] for sample in found] == list(range(len(found)))
        assert sorted(sample["__index__"] for sample in read(shuffle=True)) == list(range(len(found)))
        return found

    (tmp_path / "src").mkdir()
    return run


def values(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in sample.items() if not name.startswith("__")} for sample in found]


def write_groups(path: Path, schema: pa.Schema, groups: list[list[dict[str, Any]]]) -> None:
    with pq.ParquetWriter(path, schema) as writer:
        for rows in groups:
            writer.write_table(pa.Table.from_pylist(rows, schema), row_group_size=max(1, len(rows)))


@pytest.mark.parametrize(
    "sizes", [[0, 3], [3, 0], [0, 0, 2, 0, 0, 3, 0], [1, 5000, 1, 2, 900], [5000, 1], [1]], ids=str
)
def test_row_groups_of_any_size(load: Load, tmp_path: Path, sizes: list[int]) -> None:
    rows = [{"id": number, "text": f"row {number} " * (number % 7)} for number in range(sum(sizes))]
    starts = np.cumsum([0, *sizes])
    groups = [rows[start : start + size] for start, size in zip(starts, sizes, strict=False)]
    write_groups(tmp_path / "src" / "a.parquet", pa.schema({"id": pa.int64(), "text": pa.string()}), groups)
    about = pq.ParquetFile(tmp_path / "src" / "a.parquet").metadata
    assert [about.row_group(number).num_rows for number in range(about.num_row_groups)] == sizes
    assert values(load()) == rows


def test_shards_of_very_different_sizes_and_one_without_rows(load: Load, tmp_path: Path) -> None:
    schema = pa.schema({"id": pa.int64()})
    write_groups(tmp_path / "src" / "a.parquet", schema, [[{"id": 0}]])
    write_groups(tmp_path / "src" / "b.parquet", schema, [[]])
    write_groups(tmp_path / "src" / "c.parquet", schema, [[{"id": at} for at in range(1, 3000)]])
    write_groups(tmp_path / "src" / "d.parquet", schema, [[], [{"id": 3000}], []])
    assert values(load(workers=2)) == [{"id": at} for at in range(3001)]


def test_nested_columns(load: Load, tmp_path: Path) -> None:
    point = pa.struct({"x": pa.float32(), "tags": pa.list_(pa.string())})
    schema = pa.schema(
        {
            "point": point,
            "many": pa.list_(point),
            "fixed": pa.list_(pa.int16(), 2),
            "map": pa.map_(pa.string(), pa.int64()),
            "kind": pa.dictionary(pa.int8(), pa.string()),
            "when": pa.timestamp("us", tz="UTC"),
            "raw": pa.large_binary(),
        }
    )
    when = datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC)
    whole = {
        "point": {"x": 0.5, "tags": ["a", None]},
        "many": [{"x": 1.0, "tags": []}, None, {"x": None, "tags": None}],
        "fixed": [1, 2],
        "map": [("k", 1), ("l", None)],
        "kind": "é",
        "when": when,
        "raw": b"\0\xff",
    }
    rows = [whole, dict.fromkeys(whole), {**whole, "many": [], "map": []}] * 5
    write_groups(tmp_path / "src" / "a.parquet", schema, [rows[:4], [], rows[4:]])
    assert values(load()) == rows


@pytest.mark.parametrize(("tokens", "seq_len"), [(2, 1), (9, 8), (50_001, 100), (50_000, 7)])
def test_tokens_of_four_bytes(load: Load, tmp_path: Path, tokens: int, seq_len: int) -> None:
    stored = np.random.default_rng(1).integers(0, 1 << 32, tokens, dtype=np.uint32)
    stored[0] = (1 << 32) - 1
    cut = tokens // 3
    stored[:cut].tofile(tmp_path / "src" / "a.bin")
    stored[cut:].tofile(tmp_path / "src" / "b.bin")
    found = load(format="tokens", dtype="uint32", seq_len=seq_len)
    assert len(found) == (tokens - 1) // seq_len
    for number, sample in enumerate(found):
        window = stored[number * seq_len : (number + 1) * seq_len + 1].astype(np.int64)
        assert np.array_equal(sample["tokens"].numpy(), window)


def test_one_sample_of_each_format(load: Load, tmp_path: Path) -> None:
    (tmp_path / "src" / "only.ppm").write_bytes(b"P6 1 1 255 abc")
    assert load() == [{"__key__": "only", "__index__": 0, "ppm": b"P6 1 1 255 abc"}]


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tars_of_every_dialect_with_long_names_directories_and_links(load: Load, tmp_path: Path, format_: int) -> None:
    long = "d" * 80 + "/" + "e" * 80
    names = ["a", "dir.v1/b", long] + (["é" * 120, "d/" * 150 + "f"] if format_ != tarfile.USTAR_FORMAT else [])
    expected = {name: {"txt": name.encode(), "cls": b"7" * 600} for name in names}

    def add(tar: tarfile.TarFile, name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> None:
        info = tarfile.TarInfo(name)
        info.size, info.type, info.linkname = len(data), kind, link
        if format_ == tarfile.PAX_FORMAT:
            info.pax_headers = {"mtime": "1.5", "comment": "grüße " * 100}
        tar.addfile(info, io.BytesIO(data))

    with tarfile.open(
        tmp_path / "src" / "a.tar", "w", format=format_, pax_headers={"comment": "global"}, encoding="utf-8"
    ) as tar:
        add(tar, "dir.v1", kind=tarfile.DIRTYPE)
        for name, fields in expected.items():
            add(tar, f"{name}.txt", fields["txt"])
            add(tar, f"{name}.jpg", kind=tarfile.LNKTYPE, link="a.txt")
            add(tar, f"{name}.cls", fields["cls"])
            add(tar, f"{name}.__index__", b"-1")
            add(tar, "linked.txt", kind=tarfile.SYMTYPE, link="l" * 90)
    found = load()
    assert {sample["__key__"]: fields for sample, fields in zip(found, values(found), strict=True)} == expected
    assert len(found) == len(expected)


def test_the_loaders_own_keys_win_over_a_shards() -> None:
    class Rude:
        ahead = 1

        def is_open(self, number: int) -> bool:
            return True

        def __call__(self, number: int) -> Rude:
            return self

        def prefetch(self, index: int, urgency: float) -> int:
            return 0

        def sample(self, index: int) -> dict[str, Any]:
            return {"__index__": -1, "__key__": "mine", "x": 1}

    found = stream(iter([np.array([5])]), lambda at: (Place(int(n), 0, 0) for n in at), Rude(), 1)  # type: ignore[arg-type]
    assert list(found) == [{"__key__": "mine", "__index__": 5, "x": 1}]
