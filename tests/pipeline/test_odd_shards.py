"""Shards that readers would not read, or not read whole: told, refused or kept within bounds."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from holdfast.pipeline.detect import SourceFile
from holdfast.pipeline.publish import publish
from holdfast.pipeline.result import PublishResult
from holdfast.pipeline.shards import as_they_lie
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.cid import CID
from holdfast.storage.errors import ConfigError
from holdfast.storage.manifest import Head
from support.sources import manifest_of, tree_of, write


def put(source: Path, **options: object) -> PublishResult:
    options = {"name": "set", "repo": source.parent / "repo", "leaf_size": 16 << 10} | options
    return publish(source, **options)  # type: ignore[arg-type]


def head_of(source: Path, root: CID) -> Head:
    with DiskStore(source.parent / "repo").open(create=False) as store:
        return manifest_of(tree_of(store, root))[0]


@pytest.mark.parametrize(("folders", "partitions"), [(256, 256), (257, 1)])
def test_more_subfolders_than_partitions_are_one_partition_and_a_warning(
    tmp_path: Path, folders: int, partitions: int
) -> None:
    files = {f"f{number:05d}/a.bin": number.to_bytes(2, "little") for number in range(folders)}
    result = put(write(tmp_path / "src", files), format="tokens", dtype="uint16")
    head = head_of(tmp_path / "src", result.root)
    assert len(head.partitions) == partitions
    assert (head.partitions[0].name == "default") == (partitions == 1)
    assert [text for text in result.warnings if "257 subfolders" in text] == list(result.warnings)
    assert len(result.warnings) == (partitions == 1)


def test_names_that_no_manifest_page_holds_are_refused_before_the_first_shard() -> None:
    files = [SourceFile(f"{number:05d}" + "/d" * 600, 1) for number in range(4096)]
    shards = as_they_lie(Path("src"), files, lambda _: None, lambda _: None, indexed=True)
    with pytest.raises(ConfigError, match=r"manifest/00000\.jsonl"):
        next(shards)


def test_long_columns_are_left_out_of_the_head_and_it_stays_readable(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    names = [f"{number:03d}" + "é" * 5000 for number in range(200)]
    pq.write_table(pa.table({name: [1] for name in [*names, "last"]}), tmp_path / "src" / "a.parquet")
    head = head_of(tmp_path / "src", put(tmp_path / "src").root)
    assert 20 < len(head.columns) < 100
    assert head.columns["last"] == "int64"


def test_texts_that_grow_as_json_are_refused_before_anything_is_hashed(tmp_path: Path) -> None:
    source = write(tmp_path / "src", {"a.bin": b"12"})
    with pytest.raises(ConfigError, match="cannot describe a dataset"):
        put(source, format="tokens", dtype="uint16", title="\1" * 60_000)
    assert not (tmp_path / "repo").exists()


def test_every_member_that_is_no_data_is_named_and_counted(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    with tarfile.open(tmp_path / "src" / "a.tar", "w") as tar:
        for name, kind in (("d", tarfile.DIRTYPE), ("d/a.jpg", b"0"), ("d/a.txt", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "d/a.jpg" * (kind == tarfile.LNKTYPE)
            tar.addfile(info)
        tar.addfile(tarfile.TarInfo("d/a.__key__"))
        tar.addfile(tarfile.TarInfo("noext"))
    result = put(tmp_path / "src")
    assert dict(result.skipped) == {
        "a.tar: d/a.txt": "a hard link",
        "a.tar: d/a.__key__": "__key__ is a key of holdfast's own",
        "a.tar: noext": "a member whose name has no extension",
    }
    assert (result.skipped_count, result.samples) == (3, 1)


def test_a_tar_of_links_alone_holds_no_sample(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    with tarfile.open(tmp_path / "src" / "a.tar", "w") as tar:
        info = tarfile.TarInfo("a.txt")
        info.type, info.linkname = tarfile.SYMTYPE, "elsewhere"
        tar.addfile(info)
    with pytest.raises(ConfigError, match=r"holds no sample.*a\.txt.*a symbolic link"):
        put(tmp_path / "src")


def test_an_extension_that_is_not_utf8_is_listed_in_a_printable_spelling(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    with tarfile.open(tmp_path / "src" / "a.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo(os.fsdecode(b"a.\xff")))
    assert head_of(tmp_path / "src", put(tmp_path / "src").root).columns == {"\\udcff": "bytes"}


def test_loose_files_of_the_loaders_own_keys_are_left_out(tmp_path: Path) -> None:
    source = write(tmp_path / "src", {"a.ppm": b"P6", "a.__index__": b"7", "b.__key__": b"x"})
    assert {name for name, _ in put(source, format="tar").skipped} == {"a.__index__", "b.__key__"}


def twice(folder: Path) -> None:
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"]), folder / "a.parquet")


def twice_inside(folder: Path) -> None:
    record = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["y", "y"])
    column = pa.ListArray.from_arrays(pa.array([0, 1]), record)
    pq.write_table(pa.table({"x": column}), folder / "a.parquet")


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "our key": (lambda f: pq.write_table(pa.table({"__key__": ["x"]}), f / "a.parquet"), r"a\.parquet.*'__key__'"),
    "our index": (lambda f: pq.write_table(pa.table({"__index__": [7]}), f / "a.parquet"), r"a\.parquet.*'__index__'"),
    "twice": (twice, r"a\.parquet.*'x' is there twice"),
    "twice in a record": (twice_inside, r"a\.parquet.*\.y' is there twice"),
    "in JSON lines": (lambda f: write(f, {"a.jsonl": b'{"__key__": 1}\n'}), "'__key__'"),
    "in CSV": (lambda f: write(f, {"a.csv": b"x,__index__\n1,2\n"}), "'__index__'"),
}


@pytest.mark.parametrize("bad", BAD)
def test_columns_that_a_sample_would_lose_are_refused(tmp_path: Path, bad: str) -> None:
    make, message = BAD[bad]
    (tmp_path / "src").mkdir()
    make(tmp_path / "src")
    with pytest.raises(ConfigError, match=message) as caught:
        put(tmp_path / "src")
    assert caught.value.hint == "rename the column"


def test_a_record_may_use_the_loaders_keys(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    pq.write_table(pa.table({"x": [{"__key__": 1}]}), tmp_path / "src" / "a.parquet")
    assert put(tmp_path / "src").samples == 1


def test_a_malformed_pax_number_is_one_sentence(tmp_path: Path) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("a.txt")
        info.pax_headers = {"size": "²"}
        tar.addfile(info)
    write(tmp_path / "src", {"a.tar": data.getvalue()})
    with pytest.raises(ConfigError, match=r"a\.tar is not a whole tar"):
        put(tmp_path / "src")
