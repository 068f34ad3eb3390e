"""`check` names what is missing, longer or wrong. It is not served unhashed then, and trusted again when mended."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

import pytest

from holdfast.pipeline.publish import publish
from holdfast.storage.blocks.car_file import first_missing
from holdfast.storage.blocks.catalog import FileRow
from holdfast.storage.blocks.check import Checked, check
from holdfast.storage.blocks.collect import collect
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.blocks.stamp import Stamp
from holdfast.storage.cid import CID, RAW
from holdfast.storage.errors import FileChangedError, StoreError
from support.ageing import age
from support.every_kind import every_kind

KIB = 1 << 10


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return every_kind(tmp_path_factory.mktemp("check"))


def test_the_place_and_the_block_are_named(repo: Path) -> None:
    path = repo / "tokens/t1.bin"
    data = path.read_bytes()
    leaf = 5
    changed = bytearray(data)
    changed[leaf * 16 * KIB + 77] ^= 4
    path.write_bytes(changed)
    try:
        with DiskStore(repo / "repo").open() as store:
            (fault,) = check(store, Checked())
        assert fault.file == str(path)
        assert fault.offset == leaf * 16 * KIB
        assert fault.cid == str(CID.of(RAW, data[leaf * 16 * KIB : (leaf + 1) * 16 * KIB]))
    finally:
        path.write_bytes(data)


def test_missing_longer_and_unindexed_files_are_named(repo: Path) -> None:
    path = repo / "tokens/t0.bin"
    data = path.read_bytes()
    try:
        with DiskStore(repo / "repo").open() as store:
            path.write_bytes(data + b"xx")
            assert [fault.reason for fault in check(store, Checked())] == [
                f"has {len(data) + 2} bytes, {len(data)} were hashed"
            ]
            path.unlink()
            (fault,) = check(store, Checked())
            assert "No such file" in fault.reason
    finally:
        path.write_bytes(data)


def test_a_broken_leaf_index_and_a_broken_catalogue_are_named(repo: Path, tmp_path: Path) -> None:
    copy = tmp_path / "repo"
    shutil.copytree(repo / "repo", copy)
    segment = min((copy / "leaves").glob("*.leaves"))
    data = segment.read_bytes()
    segment.write_bytes(data[:-1])
    with DiskStore(copy).open() as store:
        reasons = [fault.reason for fault in check(store, Checked())]
        assert any("is not a leaf index" in reason for reason in reasons)
        assert any("it changed since it was written" in reason for reason in reasons)
        assert any("not in the leaf index" in reason for reason in reasons)
    segment.write_bytes(data)
    database = bytearray((copy / "catalog.db").read_bytes())
    database[4096:8192] = bytes(4096)
    (copy / "catalog.db").write_bytes(database)
    with DiskStore(copy).open() as store:
        faults = list(check(store, Checked()))
    assert str(copy / "catalog.db") in {fault.file for fault in faults}
    (copy / "catalog.db").write_bytes(b"no database at all, but long enough to be looked at" * 100)
    with pytest.raises(StoreError, match=r"catalog\.db cannot be opened"), DiskStore(copy).open():
        pass


def test_a_missing_node_of_a_pinned_root_is_named_and_no_gc_frees_what_is_below(repo: Path, tmp_path: Path) -> None:
    copy = tmp_path / "repo"
    shutil.copytree(repo / "repo", copy)
    with DiskStore(copy).open() as store:
        root = store.catalog.names()["b"]
        node = Path(store.nodes._place(root))
        data = node.read_bytes()
        before = sorted(path.name for path in store.files_folder.iterdir())
        for damaged in (None, bytes([data[0] ^ 1]) + data[1:]):
            node.unlink() if damaged is None else node.write_bytes(damaged)
            assert str(root) in {fault.cid for fault in check(store, Checked()) if "needs this block" in fault.reason}
            age(store)
            with pytest.raises(StoreError, match="nothing was freed"):
                collect(store)
            assert sorted(path.name for path in store.files_folder.iterdir()) == before
        node.write_bytes(data)
        collect(store)
        assert first_missing(store, root) is None


def test_what_was_found_wrong_is_not_served_unhashed_and_can_be_had_anew(tmp_path: Path) -> None:
    """Rot that the stamp does not show: the catalogue is told, the file is mended by publishing again."""
    source = tmp_path / "src"
    source.mkdir()
    data = random.Random(9).randbytes(100 * KIB)
    path = source / "t.bin"
    path.write_bytes(data)
    options = {"name": "a", "repo": tmp_path / "repo", "format": "tokens", "dtype": "uint16", "leaf_size": 16 * KIB}
    time.sleep(0.03)  # older than a tick: its stamp is trusted
    publish(source, **options)
    with DiskStore(tmp_path / "repo").open() as store:
        row = store.catalog.file_at(path)
        assert row is not None
        path.write_bytes(data[:5] + bytes([data[5] ^ 1]) + data[6:])
        about = path.stat()
        with store.catalog.transaction() as connection:
            connection.execute("UPDATE files SET mtime_ns = ?, ctime_ns = ?", (about.st_mtime_ns, about.st_ctime_ns))
        leaf = CID.of(RAW, data[: 16 * KIB])
        assert len(list(check(store, Checked()))) == 1
        assert store.open_file(row.cid) is None
        assert store.open_block(leaf) is None
        with pytest.raises(FileChangedError):
            store.get(leaf)
    path.write_bytes(data)
    time.sleep(0.03)
    publish(source, **options)
    with DiskStore(tmp_path / "repo").open() as store:
        assert list(check(store, Checked())) == []
        opened = store.open_file(row.cid)
        assert opened is not None
        opened.close()


def _car_of(store: DiskStore) -> FileRow:
    (path,) = store.files_folder.glob("*.car")
    row = store.catalog.row_at(path)
    assert row is not None
    return row


def _trusted(row: FileRow) -> bool:
    with row.path.open("rb") as file:
        return row.trusted(Stamp.of(file.fileno()))


def test_a_car_that_was_distrusted_and_is_right_again_is_here_again(repo: Path, tmp_path: Path) -> None:
    shutil.copytree(repo / "other", tmp_path / "other")
    with DiskStore(tmp_path / "other").open() as store:
        path = _car_of(store).path
        data = path.read_bytes()
        path.write_bytes(data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
        assert {fault.file for fault in check(store, Checked())} == {str(path)}
        assert not _car_of(store).indexed
        path.write_bytes(data)
        done = Checked()
        assert list(check(store, done)) == []
        assert done.files >= 1
        row = _car_of(store)
        assert row.indexed
        assert _trusted(row)
        ref = store.leaves.find(CID.parse(_some_leaf(store, row.id)).digest)[0]
        opened = store.open_block(CID.parse(_some_leaf(store, row.id)))
        assert opened is not None, "its blocks leave by sendfile again"
        assert opened[1] == ref.offset
        opened[0].close()


def test_a_copied_car_gets_its_stamp_back(repo: Path, tmp_path: Path) -> None:
    shutil.copytree(repo / "other", tmp_path / "other")  # another inode and change time
    with DiskStore(tmp_path / "other").open() as store:
        row = _car_of(store)
        assert not _trusted(row)
        assert list(check(store, Checked())) == []
        again = _car_of(store)
        assert again.id == row.id
        assert _trusted(again)


def _some_leaf(store: DiskStore, file_id: int) -> str:
    for path in store.leaves.folder.glob("*.leaves"):
        keys, references = store.leaves.table(path)
        for at in range(len(keys)):
            if references[at]["file"] == file_id:
                return str(CID.raw(keys[at : at + 1].tobytes()))
    raise AssertionError("it has no leaves")
