"""Compressed shards and Arrow files, published as they lie: what is found in them, and what is refused."""

from __future__ import annotations

import io
import json
import random
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pytest
import zstandard

from holdfast.pipeline.detect import SourceFile, detect
from holdfast.pipeline.options import Format
from holdfast.pipeline.publish import publish
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.errors import ConfigError, FormatError
from holdfast.storage.get import get
from holdfast.storage.shards.arrow import BatchTable, batch_table
from holdfast.storage.shards.zstd import pieces

compress = zstandard.ZstdCompressor().compress


def tar_of(count: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for number in range(count):
            info = tarfile.TarInfo(f"{number}.txt")
            info.size = 5
            tar.addfile(info, io.BytesIO(b"%05d" % number))
    return out.getvalue()


def arrow_of(sizes: list[int], **options: Any) -> bytes:
    out, schema = io.BytesIO(), pa.schema({"n": pa.int64(), "t": pa.string()})
    with pa.ipc.new_file(out, schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for size in sizes:
            writer.write_batch(pa.record_batch([range(size), [f"t{n}" for n in range(size)]], schema=schema))
    return out.getvalue()


def published(tmp_path: Path, **options: Any) -> tuple[dict[str, Any], list[dict[str, Any]], Path, Any]:
    """The head, the lines of the manifest, a copy of all files, and the result."""
    result = publish(tmp_path / "src", name="t", repo=tmp_path / "repo", **options)
    out = tmp_path / f"out-{result.root.short()}"
    with DiskStore(tmp_path / "repo").open(create=False) as store:
        get(result.uri, out, store=store)
    lines = [json.loads(line) for line in (out / "manifest" / "00000.jsonl").read_text().splitlines()]
    return json.loads((out / "dataset.json").read_text()), lines, out, result


@pytest.fixture
def src(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    return tmp_path / "src"


@pytest.mark.parametrize(
    ("names", "format_", "kind"),
    [
        ("a.tar.zst b.tar.zst", "auto", "tar.zst"),
        ("a.tar.zst:10 b.tar:999", "auto", "tar"),
        ("a.arrow b.feather", "auto", "arrow"),
        ("a.arrow:9 notes.md:999", "auto", "text"),
        ("a.jsonl.zst b.ndjson.zst", "auto", "jsonl"),
        ("a.jsonl.zst b.ndjson.zst", "jsonl.zst", "jsonl.zst"),
        ("a.jsonl.zst b.tar.zst", "tar.zst", "tar.zst"),
        ("A.TAR.ZST", "auto", "tar.zst"),
    ],
)
def test_the_kind_of_a_folder(names: str, format_: Format, kind: str) -> None:
    files = [SourceFile(word.partition(":")[0], int(word.partition(":")[2] or 10)) for word in names.split()]
    assert detect(files, format_).kind == kind


@pytest.mark.parametrize("format_", ["tar.zst", "jsonl.zst", "arrow"])
def test_a_format_that_is_asked_for_and_not_there(format_: Format) -> None:
    with pytest.raises(ConfigError, match="none of 1 files can be a sample"):
        detect([SourceFile("a.zst", 3)], format_)


def test_a_compressed_tar_is_published_as_it_lies(src: Path, tmp_path: Path) -> None:
    data = tar_of(40)
    stream = compress(data[:7000]) + compress(data[7000:])
    (src / "a.tar.zst").write_bytes(stream)
    head, (line,), out, result = published(tmp_path)
    assert (head["shard_format"], head["samples"], head["columns"]) == ("tar.zst", 40, {"txt": "bytes"})
    assert "writer" not in head
    assert head["order"]["run"] == 40, "a shard is decompressed whole: a run is one"
    assert (out / line["path"]).read_bytes() == stream
    index = (out / line["index"]["path"]).read_bytes()
    assert [int.from_bytes(index[at : at + 8], "little") for at in range(0, len(index), 8)] == list(
        range(0, 41 * 1024, 1024)
    )
    assert "40 samples in 1 tar.zst shards" in (out / "README.md").read_text()
    shards = json.loads((out / "croissant.json").read_text())["distribution"][1]
    assert (shards["encodingFormat"], shards["includes"]) == ("application/zstd", "data/**/*.tar.zst")
    assert publish(src, name="t", repo=tmp_path / "repo").unchanged
    assert result.skipped_count == 0


def test_lines_are_samples_when_that_is_asked_for_and_rows_otherwise(src: Path, tmp_path: Path) -> None:
    lines = [b'\xef\xbb\xbf{"a": 1}', b"", b"nonsense", b'{"b": "\xc3\xa9"}', b"7", b'{"__key__": 1}', b'{"a": 2}', b""]
    (src / "a.jsonl.zst").write_bytes(compress(b"\n".join(lines)))
    head, (line,), out, result = published(tmp_path, format="jsonl.zst")
    assert (head["samples"], head["columns"]) == (3, {"a": "json", "b": "json"})
    assert [name for name, _ in result.skipped] == [f"a.jsonl.zst: line {number}" for number in (3, 5, 6)]
    index = (out / line["index"]["path"]).read_bytes()
    starts = [int.from_bytes(index[at : at + 8], "little") for at in range(0, len(index), 8)]
    text = b"\n".join(lines)
    assert [text[start:].split(b"\n")[0] for start in starts[:-1]] == [lines[0], lines[3], lines[6]]
    assert starts[-1] == len(text)
    (src / "a.jsonl.zst").write_bytes(compress(b'{"a": 1}'))
    assert published(tmp_path)[0]["shard_format"] == "parquet", "the default"


def test_a_line_above_the_limit_is_named_and_read_over(
    src: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.pipeline.streams.MAX_ROW_BYTES", 1000)
    long = b'{"x": "' + b"y" * 3_000_000 + b'"}'
    (src / "a.jsonl.zst").write_bytes(compress(b"\n".join([b'{"a": 1}', long, b'{"a": 2}'])))
    head, _, _, result = published(tmp_path, format="jsonl.zst")
    assert head["samples"] == 2
    assert result.skipped[0][0] == "a.jsonl.zst: line 2"


def test_arrow_files_are_published_as_they_lie(src: Path, tmp_path: Path) -> None:
    (src / "a.arrow").write_bytes(arrow_of([0, 30, 0, 12]))
    pa.feather.write_feather(pa.table({"n": range(50), "t": ["x"] * 50}), src / "b.feather", "lz4", chunksize=20)
    head, lines, out, _ = published(tmp_path)
    assert (head["shard_format"], head["samples"]) == ("arrow", 92)
    assert head["columns"] == {"n": "int64", "t": "string"}
    assert head["order"]["run"] == 30
    for line in lines:
        table = BatchTable.decode((out / line["index"]["path"]).read_bytes(), line["samples"], line["bytes"])
        opened = pa.ipc.open_file(out / line["path"])
        counts = [opened.get_batch(at).num_rows for at in range(opened.num_record_batches)]
        assert [int(b - a) for a, b in zip(table.first_rows, table.first_rows[1:], strict=False)] == counts


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.tar.zst", compress(tar_of(500))[:-9], "Truncated"),
        ("a.tar.zst", compress(tar_of(500)[:3000]), "ends early"),
        ("a.tar.zst", b"no zstd at all", "zstd stream is broken"),
        ("a.tar.zst", compress(b"x" * 5000), "a.tar.zst"),
        ("a.tar.zst", compress(tar_of(3)) + b"garbage", "broken"),
        ("a.arrow", b"ARROW1\0\0 and no more ARROW1", "a.arrow is not a whole arrow file"),
        ("a.arrow", arrow_of([5])[:-20], "does not end as an Arrow"),
        ("a.arrow", b"\xff\xff\xff\xff" + bytes(100), "an Arrow stream, not an Arrow file"),
        ("a.feather", b"FEA1" + bytes(100), "does not begin as an Arrow"),
    ],
)
def test_what_is_broken_is_refused_in_a_sentence(
    src: Path, tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    (src / name).write_bytes(data)
    with pytest.raises(ConfigError, match=message):
        publish(src, name="t", repo=tmp_path / "repo")


def test_cut_lines_and_nothing_but_bad_ones_are_refused(src: Path, tmp_path: Path) -> None:
    whole = compress(b"".join(b'{"n": %d}\n' % number for number in range(30_000)))
    for data, message in ((whole[: len(whole) // 2], "Truncated"), (compress(b"[]\n[]"), "holds no JSON object")):
        (src / "a.jsonl.zst").write_bytes(data)
        with pytest.raises(ConfigError, match=message):
            publish(src, name="t", repo=tmp_path / "repo", format="jsonl.zst")


def test_a_stream_gives_what_is_asked_for_and_no_byte_more() -> None:
    bomb = compress(bytes(1 << 30))
    assert len(bomb) < 200_000
    assert sum(map(len, pieces(memoryview(bomb), 10_000_000))) == 10_000_000
    with pytest.raises(FormatError, match="holds 1000 bytes, expected 1001"):
        list(pieces(memoryview(compress(bytes(1000))), 1001))
    with pytest.raises(FormatError, match="Truncated"):
        list(pieces(memoryview(compress(random.Random(1).randbytes(100_000))[:50_000]), 100_000))


@pytest.mark.parametrize("options", [{}, {"compression": "zstd"}, {"use_legacy_format": True}], ids=str)
def test_batches_are_found_as_arrow_finds_them(options: dict[str, Any]) -> None:
    sizes = [3, 0, 1000, 1]
    try:
        data = arrow_of(sizes, **options)
    except (pa.ArrowException, TypeError):
        pytest.skip("this pyarrow does not write it")
    table = batch_table(lambda start, end: data[start:end], len(data))
    assert [int(rows) for rows in table.first_rows] == [0, 3, 3, 1003, 1004]
    assert all(0 < start < end <= len(data) for start, end in zip(table.starts, table.ends, strict=True))
    assert all(end <= start for end, start in zip(table.ends, table.starts[1:], strict=False))


def test_any_flipped_byte_is_a_format_error_or_a_table_within_the_file() -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    whole = arrow_of([10, 20, 30])
    for _ in range(3000):
        data = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            table = batch_table(lambda start, end, data=data: bytes(data[start:end]), len(data))  # type: ignore[misc]
        except FormatError:
            continue
        assert all(0 <= start <= end <= len(data) for start, end in zip(table.starts, table.ends, strict=True))
        again = BatchTable.decode(table.encode(), int(table.first_rows[-1]), len(data))
        assert again.encode() == table.encode()
