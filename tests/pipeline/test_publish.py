"""What publishing promises of every kind of folder."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import random
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from holdfast.pipeline.keeper import Keeper
from holdfast.pipeline.publish import publish
from holdfast.pipeline.result import PublishProgress, PublishResult
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.blocks.hashing import hash_file
from holdfast.storage.cid import CID
from holdfast.storage.dag.walk import file_layout, run
from holdfast.storage.errors import FileChangedError
from holdfast.storage.manifest import Head, Shard
from holdfast.storage.shards.tar import read_sample
from support.sources import jpegs, jsonl, manifest_of, parquet, snapshot, texts, tokens, tree_of, wds, write

LEAF = 16 << 10


def put(source: Path, **options: object) -> PublishResult:
    options = {"name": "set", "repo": source.parent / "repo", "leaf_size": LEAF} | options
    return publish(source, **options)  # type: ignore[arg-type]


def read(source: Path, root: CID) -> tuple[Head, list[Shard], dict[str, bytes]]:
    with DiskStore(source.parent / "repo").open(create=False) as store:
        files = tree_of(store, root)
    return *manifest_of(files), files


def tar_samples(shards: list[Shard], files: dict[str, bytes]) -> list[tuple[str, dict[str, bytes]]]:
    found = []
    for shard in shards:
        assert shard.index is not None
        offsets = np.frombuffer(files[shard.index.path], "<u8")
        assert len(offsets) == shard.samples + 1
        data = memoryview(files[shard.path])
        found += [read_sample(data[int(a) : int(b)]) for a, b in itertools.pairwise(offsets)]
    return found


def rows_of(shards: list[Shard], files: dict[str, bytes]) -> list[dict[str, object]]:
    tables = [pq.read_table(io.BytesIO(files[shard.path])) for shard in shards]
    assert [table.num_rows for table in tables] == [shard.samples for shard in shards]
    return pa.concat_tables(tables).to_pylist()


KINDS: dict[str, tuple[Callable[[Path], Path], dict[str, object]]] = {
    "jpegs": (lambda folder: jpegs(folder, 40), {"shard_size": 40_000}),
    "wds": (wds, {}),
    "parquet": (parquet, {}),
    "tokens": (tokens, {"format": "tokens", "dtype": "uint16"}),
    "jsonl": (jsonl, {"shard_size": 20_000}),
    "csv": (lambda folder: write(folder, {"a.csv": b"x,y\n1,a\n2,b\n"}), {}),
    "texts": (texts, {"shard_size": 20_000}),
}


@pytest.fixture(params=KINDS)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, object]]:
    make, options = KINDS[request.param]
    return make(tmp_path / "src"), options


def test_the_source_is_never_touched(case: tuple[Path, dict[str, object]]) -> None:
    source, options = case
    before = snapshot(source)
    put(source, **options)
    assert snapshot(source) == before


def test_the_root_does_not_depend_on_workers_times_or_repositories(case: tuple[Path, dict[str, object]]) -> None:
    source, options = case
    first = put(source, workers=1, **options)
    generator = random.Random(3)
    for path in sorted(source.rglob("*")):
        os.utime(path, ns=(generator.randrange(10**18), generator.randrange(10**18)))
    second = put(source, workers=8, repo=source.parent / "other", name="other name", **options)
    assert first.root == second.root
    assert not second.unchanged


def test_publishing_again_changes_nothing(case: tuple[Path, dict[str, object]]) -> None:
    source, options = case
    first = put(source, **options)
    repo = source.parent / "repo"
    held = {str(path) for folder in ("files", "nodes", "leaves") for path in (repo / folder).rglob("*")}
    again = put(source, **options)
    assert (again.root, again.unchanged, again.new_bytes) == (first.root, True, 0)
    assert not first.unchanged
    assert first.new_bytes == first.bytes
    assert held == {str(path) for folder in ("files", "nodes", "leaves") for path in (repo / folder).rglob("*")}


def test_the_manifest_says_what_the_tree_holds(case: tuple[Path, dict[str, object]]) -> None:
    source, options = case
    result = put(source, **options)
    head, shards, files = read(source, result.root)
    assert (head.samples, head.shards, head.bytes) == (result.samples, result.shards, result.bytes)
    expected = {shard.path for shard in shards} | {shard.index.path for shard in shards if shard.index}
    small = {"dataset.json", "README.md", "croissant.json", "manifest/00000.jsonl"}
    assert set(files) == expected | small
    for shard in shards:
        assert len(files[shard.path]) == shard.bytes
    assert json.loads(files["croissant.json"])["@type"] == "sc:Dataset"
    assert str(result.root) not in files["README.md"].decode()
    with DiskStore(source.parent / "repo").open(create=False) as store:
        assert store.catalog.names() == {"set": result.root}
        ((root, status),) = store.catalog.rows("SELECT root, status FROM pins WHERE requestid = 'local-set'")
        assert (root, status) == (bytes(result.root), "pinned")


def test_loose_jpegs_become_tars_of_whole_samples(tmp_path: Path) -> None:
    source = jpegs(tmp_path / "src", 200)
    write(source, {"README.md": b"about", "val/lonely.txt": b"no picture", "no_extension": b""})
    result = put(source, shard_size=40_000)
    _, shards, files = read(source, result.root)
    samples = tar_samples(shards, files)
    assert len(samples) == result.samples == 200
    assert len(shards) > 5
    assert all(shard.bytes <= 40_000 for shard in shards)
    for key, members in samples:
        assert set(members) == {"jpg", "cls", "json"}
        for extension, data in members.items():
            assert data == (source / f"{key}.{extension}").read_bytes()
    assert {name for name, _ in result.skipped} == {"README.md", "val/lonely.txt", "no_extension"}
    with tarfile.open(fileobj=io.BytesIO(files[shards[0].path])) as tar:
        assert all((info.mtime, info.uid, info.mode) == (0, 0, 0o644) for info in tar)


def test_webdataset_tars_are_published_as_they_lie(tmp_path: Path) -> None:
    source = wds(tmp_path / "src", 60)
    result = put(source)
    head, shards, files = read(source, result.root)
    assert head.writer is None
    assert [shard.path for shard in shards] == ["data/s-000.tar", "data/s-001.tar", "data/s-002.tar"]
    for shard in shards:
        assert files[shard.path] == (source / shard.name).read_bytes()
    samples = tar_samples(shards, files)
    assert [key for key, _ in samples] == [f"k{number:04d}" for number in range(60)]
    assert samples[7][1] == {"cls": b"0", "txt": b"text 7" * 50}
    assert head.columns == {"cls": "bytes", "txt": "bytes"}


def test_parquet_is_published_as_it_lies_by_partition(tmp_path: Path) -> None:
    source = tmp_path / "src"
    parquet(source / "train")
    parquet(source / "test", shards=1)
    result = put(source)
    head, shards, files = read(source, result.root)
    assert [(part.name, part.samples) for part in head.partitions] == [("test", 1000), ("train", 3000)]
    assert head.order.run == 300
    assert head.columns == {"id": "int64", "text": "string"}
    copy = write(tmp_path / "copy", {shard.path: files[shard.path] for shard in shards})
    assert pads.dataset(copy / "data" / "train", format="parquet").count_rows() == 3000


def test_tokens_are_counted_by_the_width_given(tmp_path: Path) -> None:
    source = tokens(tmp_path / "src")
    result = put(source, format="tokens", dtype="uint16")
    head, shards, files = read(source, result.root)
    assert (result.samples, head.order.run) == (100_000, 131_072)
    assert head.tokens is not None
    assert head.tokens.dtype == "uint16"
    assert files[shards[1].path] == (source / "001.bin").read_bytes()


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_jsonl_becomes_rows(tmp_path: Path, suffix: str) -> None:
    source = jsonl(tmp_path / "src", 500, suffix)
    _, shards, files = read(source, put(source, shard_size=16_384).root)
    assert rows_of(shards, files) == [{"id": number, "text": f"строка {number}"} for number in range(500)]


def test_jsonl_unifies_types_and_names_what_is_no_object(tmp_path: Path) -> None:
    rows = [
        {"a": 1, "mixed": "x", "deep": {"p": 1}, "many": [1]},
        {"a": 2.5, "mixed": 7, "deep": {"q": None}, "many": []},
        {"a": None, "mixed": None, "new": True, "void": {}},
    ]
    lines = [json.dumps(row).encode() for row in rows]
    lines[1:1] = [b"not json", b"[1]", b'{"a": NaN}', b"\xff", b"", b'{"a": "\\ud800"}']
    source = write(tmp_path / "src", {"z.jsonl": b"\xef\xbb\xbf" + b"\n".join(lines)})
    result = put(source)
    _, shards, files = read(source, result.root)
    assert rows_of(shards, files) == [
        {"a": 1.0, "mixed": '"x"', "deep": {"p": 1, "q": None}, "many": [1], "new": None, "void": None},
        {"a": 2.5, "mixed": "7", "deep": {"p": None, "q": None}, "many": [], "new": None, "void": None},
        {"a": None, "mixed": None, "deep": None, "many": None, "new": True, "void": "{}"},
    ]
    assert [name for name, _ in result.skipped] == [f"z.jsonl line {line}" for line in (2, 3, 4, 5, 7)]


def test_csv_types_are_those_of_all_rows(tmp_path: Path) -> None:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["n", "x", "flag", "zip", "note"])
    for number in range(300):
        writer.writerow([number, number / 4, number % 2 == 0, f"{number:05d}", f'say "{number}",\nthen'])
    body = out.getvalue().encode() + b"1,2\r\n\xff,1,True,00001,x\r\n,,,,\r\n"
    source = write(tmp_path / "src", {"a.csv": body, "b.csv": b"n,other\n9,new\n", "c.csv": b"n,n\n1,2\n"})
    result = put(source)
    _, shards, files = read(source, result.root)
    rows = rows_of(shards, files)
    assert rows[3] == {"n": 3, "x": 0.75, "flag": False, "zip": "00003", "note": 'say "3",\nthen', "other": None}
    assert rows[300] == {"n": None, "x": None, "flag": None, "zip": "", "note": "", "other": None}
    assert rows[301] == {"n": 9, "x": None, "flag": None, "zip": None, "note": None, "other": "new"}
    assert [name for name, _ in result.skipped] == ["a.csv line 602", "a.csv line 603", "c.csv"]


def test_a_text_tree_keeps_every_byte_and_names_the_rest(tmp_path: Path) -> None:
    source = texts(tmp_path / "src")
    (source / "link.py").symlink_to("pkg0/empty.py")
    os.mkfifo(source / "pipe")
    result = put(source, shard_size=20_000)
    head, shards, files = read(source, result.root)
    rows = rows_of(shards, files)
    names = sorted(str(path.relative_to(source)) for path in source.rglob("*.py") if not path.is_symlink())
    assert [row["path"] for row in rows] == names
    assert all(str(row["text"]).encode() == (source / str(row["path"])).read_bytes() for row in rows)
    assert dict(result.skipped) == {
        ".git": "hidden",
        "link.py": "a symbolic link, not followed",
        "pipe": "not a regular file",
        "pkg0/latin.txt": "not UTF-8 text",
    }
    assert result.skipped_count == 4
    assert head.writer is not None
    assert head.writer.library == "pyarrow"


def test_row_groups_have_one_size_over_all_shards_but_for_the_last_of_each(tmp_path: Path) -> None:
    body = b"".join(b'{"n":%d,"t":"%s"}\n' % (n, b"x" * 5000) for n in range(1000))
    source = write(tmp_path / "src", {"a.jsonl": body})
    head, shards, files = read(source, put(source, shard_size=3 << 20).root)
    assert head.order.run == 256  # of 5 KB: the power of two that is nearest to 1 MiB
    assert len(shards) > 2
    for shard in shards:
        about = pq.ParquetFile(io.BytesIO(files[shard.path])).metadata
        groups = [about.row_group(at).num_rows for at in range(about.num_row_groups)]
        assert set(groups[:-1]) <= {256}
        assert 0 < groups[-1] <= 256


def test_the_larger_part_of_a_mixed_folder_wins_and_the_rest_is_named(tmp_path: Path) -> None:
    source = wds(tmp_path / "src")
    write(source, {"notes.txt": b"hello", "old.tar.gz": b"\x1f\x8b" + bytes(10**6), "empty.tar": b""})
    result = put(source)
    assert result.shards == 3
    assert {name for name, _ in result.skipped} == {"notes.txt", "old.tar.gz", "empty.tar"}


def test_identical_shards_are_held_once(tmp_path: Path) -> None:
    source = wds(tmp_path / "src")
    (source / "t-000.tar").write_bytes((source / "s-000.tar").read_bytes())
    result = put(source)
    assert result.shards == 4
    assert result.new_bytes == result.bytes - (source / "t-000.tar").stat().st_size
    assert len(read(source, result.root)[2]) == 4 * 2 + 4


def test_a_file_that_changes_after_publishing_is_named_and_not_served(tmp_path: Path) -> None:
    source = tokens(tmp_path / "src")
    result = put(source, format="tokens", dtype="uint16")
    _, shards, _ = read(source, result.root)
    with (source / "001.bin").open("r+b") as file:
        file.write(b"changed")
    with DiskStore(tmp_path / "repo").open() as store:
        layout = run(file_layout(CID.parse(shards[1].cid)), lambda cid: store.get(cid).data)
        with pytest.raises(FileChangedError, match=r"001\.bin"):
            store.get(layout.leaf_cid(0))
        assert store.open_file(layout.cid) is None


def test_a_changed_folder_gets_another_root_under_its_name(tmp_path: Path) -> None:
    source = texts(tmp_path / "src")
    first = put(source)
    write(source, {"pkg9/new.py": b"new"})
    second = put(source)
    assert second.root != first.root
    assert not second.unchanged
    with DiskStore(tmp_path / "repo").open() as store:
        assert store.catalog.names()["set"] == second.root
        assert tree_of(store, first.root)  # the old version is still whole


def test_progress_ends_at_the_total(tmp_path: Path) -> None:
    heard: list[PublishProgress] = []
    put(wds(tmp_path / "src"), on_progress=heard.append)
    assert [stage for stage, _ in itertools.groupby(heard, key=lambda each: each.stage)] == ["scan", "hash", "finish"]
    last = [each for each in heard if each.stage == "hash"][-1]
    assert last.done_bytes == last.total_bytes > 0


def test_a_file_whose_stamp_is_settled_is_not_hashed_again(tmp_path: Path) -> None:
    source = tokens(tmp_path / "src")
    time.sleep(0.05)  # a stamp is believed only when it is older than the hashing by a few ticks of the clock
    put(source, format="tokens", dtype="uint16")
    path = source / "000.bin"
    with DiskStore(tmp_path / "repo").open() as store, Keeper(store, LEAF) as keeper:
        known = keeper.known(path, LEAF)
        assert known is not None
        assert known.layout.digests == hash_file(path, LEAF).digests
        assert keeper.known(path, 2 * LEAF) is None
        os.utime(path)
        assert keeper.known(path, LEAF) is None


def test_a_manifest_of_two_pages(tmp_path: Path) -> None:
    files = {f"{number:06d}.bin": number.to_bytes(2, "little") for number in range(4100)}
    result = put(write(tmp_path / "src", files), format="tokens", dtype="uint16")
    head, shards, tree = read(tmp_path / "src", result.root)
    assert head.pages == (0, 4096)
    assert (result.samples, len(shards)) == (4100, 4100)
    assert all(tree[f"data/{name}"] == data for name, data in files.items())


def test_other_columns_and_huge_row_groups_are_warned_of(tmp_path: Path) -> None:
    source = parquet(tmp_path / "src")
    pq.write_table(pa.table({"other": [1]}), source / "z.parquet")
    zeros = pa.table({"id": np.zeros(40_000_000, np.int64)})
    pq.write_table(zeros, source / "huge.parquet", row_group_size=40_000_000, use_dictionary=False)
    result = put(source)
    assert [text for text in result.warnings if "row group of 305 MiB" in text]
    assert "z.parquet has other columns than data/huge.parquet" in result.warnings


def test_names_of_any_length_and_script_survive_in_packed_tars(tmp_path: Path) -> None:
    names = [
        "d" * 90 + "/" + "e" * 90,
        "é" * 60 + "/ü",
        "d/" * 100 + "f",
        "q" * 101,
        "p" * 156 + "/a",
        "p" * 155 + "/a",
    ]
    source = write(tmp_path / "src", {f"{name}.ppm": name.encode() for name in names})
    _, shards, files = read(source, put(source).root)
    assert dict(tar_samples(shards, files)) == {name: {"ppm": name.encode()} for name in names}
    with tarfile.open(fileobj=io.BytesIO(files[shards[0].path])) as tar:
        assert {info.name for info in tar} == {f"{name}.ppm" for name in names}


# -- golden roots: these bytes are ours alone, so nothing may change them


def test_golden_root_of_loose_files(tmp_path: Path) -> None:
    long = "a" * 90 + "/" + "b" * 90 + "/" + "é" * 60
    files = {"x/1.ppm": b"P6 1 1 255 abc", "x/1.cls": b"3", f"{long}.ppm": b"P6 1 1 255 xyz"}
    result = put(write(tmp_path / "src", files), shard_size=16_384, title="golden")
    assert str(result.root) == GOLDEN["loose"]


def test_golden_root_of_tokens(tmp_path: Path) -> None:
    result = put(tokens(tmp_path / "src"), format="tokens", dtype="uint16", licence="CC0-1.0")
    assert str(result.root) == GOLDEN["tokens"]


GOLDEN = {
    "loose": "bafybeicyaee7ui2lmqk7j6llkzlfm24rosmokwwi7rowbtgus7b4wuarcy",
    "tokens": "bafybeifki56krfr4hrseexua35ueyzsag5uenjvla4cay6wgv2u3gchrna",
}


# -- bad input: one sentence that says what, where and what to do
