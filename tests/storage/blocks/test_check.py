"""`check` finds every flipped bit, and says in which file and which block."""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path

import pytest

from holdfast.pipeline.publish import publish
from holdfast.storage.blocks.car_file import export_car, first_missing, import_car
from holdfast.storage.blocks.check import Checked, check
from holdfast.storage.blocks.collect import collect
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.cid import CID, RAW
from holdfast.storage.errors import FileChangedError, StoreError
from support.ageing import age

KIB = 1 << 10


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of the user's, packed shards, nodes, and a CAR."""
    place = tmp_path_factory.mktemp("check")
    numbers = random.Random(3)
    for number in range(3):
        path = place / f"tokens/t{number}.bin"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(numbers.randbytes(150 * KIB + 2 * number))
    for number in range(6):
        path = place / f"text/t{number}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(numbers.randbytes(30 * KIB).hex())
    repo, leaf = place / "repo", 16 * KIB
    publish(place / "tokens", name="a", repo=repo, format="tokens", dtype="uint16", leaf_size=leaf)
    root = publish(place / "text", name="b", repo=repo, leaf_size=leaf, shard_size=64 * KIB).root
    with DiskStore(repo).open() as store:
        export_car(store, root, place / "b.car")
    with DiskStore(place / "other").open() as store:
        import_car(store, place / "b.car")
    return place


def test_1000_flipped_bits_are_all_found(repo: Path) -> None:
    """One at a time, anywhere in any file that holds data: nodes, packed shards, the user's files, a CAR."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    numbers = random.Random(seed)
    flipped = 0
    for folder, count in (("repo", 700), ("other", 300)):
        with DiskStore(repo / folder).open() as store:
            done = Checked()
            assert list(check(store, done)) == []
            assert done.files > 0
            places = [*store.nodes.folder.glob("??/*"), *store.files_folder.iterdir()]
            places += (repo / "tokens").iterdir() if folder == "repo" else ()
            sizes = [path.stat().st_size for path in places]
            for _ in range(count // 20):
                # twenty at a time, in different files or far apart: each must be named
                wanted: set[str] = set()
                undo: list[tuple[Path, int, bytes, os.stat_result]] = []
                for path in (numbers.sample(places, min(20, len(places))) * 20)[:20]:
                    at = numbers.randrange(sizes[places.index(path)])
                    undo.append((path, at, path.read_bytes()[at : at + 1], path.stat()))
                    with path.open("r+b") as file:
                        file.seek(at)
                        file.write(bytes([undo[-1][2][0] ^ 1 << numbers.randrange(8)]))
                    wanted.add(str(path))
                flipped += len(undo)
                found = list(check(store, Checked()))
                leaves = {(str(path), at - at % (16 * KIB)) for path, at, *_ in undo if path.suffix == ".bin"}
                assert {(fault.file, fault.offset) for fault in found} >= leaves
                assert {fault.file for fault in found} >= wanted, f"{wanted - {fault.file for fault in found}}"
                for fault in found:
                    assert CID.parse(fault.cid)
                for path, at, byte, about in reversed(undo):
                    with path.open("r+b") as file:
                        file.seek(at)
                        file.write(byte)
                    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
            assert list(check(store, Checked())) == []
    assert flipped >= 1000


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
        assert any("not in the leaf index" in reason for reason in reasons)
    segment.write_bytes(data)
    database = bytearray((copy / "catalog.db").read_bytes())
    database[4096:8192] = bytes(4096)
    (copy / "catalog.db").write_bytes(database)
    with pytest.raises(StoreError), DiskStore(copy).open() as store:
        list(check(store, Checked()))


def test_a_missing_node_of_a_pinned_root_is_named_and_no_gc_frees_what_is_below(repo: Path, tmp_path: Path) -> None:
    copy = tmp_path / "repo"
    shutil.copytree(repo / "repo", copy)
    with DiskStore(copy).open() as store:
        root = store.catalog.names()["b"]
        node = store.nodes._path(root)
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
