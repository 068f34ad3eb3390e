"""`DiskStore` by reference: no copies, several locations, and never a byte of a file that changed."""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.storage.blocks.catalog import Catalog
from holdfast.storage.blocks.check import Checked, check
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.blocks.hashing import HashedFile, hash_file
from holdfast.storage.blocks.stamp import RACY_NS, Stamp
from holdfast.storage.cid import CID, RAW
from holdfast.storage.errors import BlockMissingError, ConfigError, FileChangedError, StoreError
from support.trees import LEAF, file_dag

DATA = random.Random(40).randbytes(20 * LEAF + 3)
LAYOUT, ENTRY, NODES = file_dag(DATA)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DiskStore]:
    with DiskStore(tmp_path / "repo").open() as store:
        yield store


def settle(path: Path) -> None:
    """Long ago: what was hashed after it has a stamp that can be trusted."""
    os.utime(path, ns=(1, 1))
    limit = path.stat().st_ctime_ns + RACY_NS
    while time.time_ns() <= limit:
        pass


def adopt(store: DiskStore, path: Path, data: bytes = DATA, *, owned: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    settle(path)
    layout, _, nodes = file_dag(data)
    store.adopt(hash_file(path, LEAF), layout, nodes, owned=owned)
    return path


def every(store: DiskStore) -> bytes:
    return b"".join(store.get(LAYOUT.leaf_cid(leaf)).data for leaf in range(LAYOUT.leaves))


def _bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and "catalog" not in path.name)


def test_an_adopted_file_is_served_from_where_it_lies_and_not_copied(tmp_path: Path, store: DiskStore) -> None:
    path = adopt(store, tmp_path / "src/a.bin")
    about = path.stat()
    assert every(store) == DATA
    assert store.get(ENTRY.cid).data == NODES[-1].data
    assert _bytes_of(store.folder) < 48 * LAYOUT.leaves + len(NODES[-1].data) + 100
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (about.st_mtime_ns, about.st_ino)
    assert store.used_bytes() == 0
    opened = store.open_file(LAYOUT.cid)
    assert opened is not None
    opened.close()


def test_adopting_again_adds_nothing(tmp_path: Path, store: DiskStore) -> None:
    path = adopt(store, tmp_path / "src/a.bin")
    before = sorted(store.leaves.folder.iterdir())
    layout, _, nodes = file_dag(DATA)
    store.adopt(hash_file(path, LEAF), layout, nodes, owned=False)
    assert sorted(store.leaves.folder.iterdir()) == before


def test_a_changed_file_is_named_and_only_its_right_leaves_are_served(tmp_path: Path, store: DiskStore) -> None:
    path = adopt(store, tmp_path / "src/a.bin")
    every(store)  # the descriptor is open from before
    with path.open("r+b") as file:
        file.seek(5 * LEAF)
        file.write(b"changed")
    for _ in range(2):
        with pytest.raises(FileChangedError, match=r"src/a\.bin") as caught:
            store.get(LAYOUT.leaf_cid(5))
        assert "restore" in caught.value.hint
    assert store.has(LAYOUT.leaf_cid(5)), "it was stored; has() does not read"
    assert store.get(LAYOUT.leaf_cid(4)).data == DATA[4 * LEAF : 5 * LEAF]
    assert store.open_file(LAYOUT.cid) is None, "and it is no longer sent as a whole"


@pytest.mark.parametrize("how", ["truncated", "removed", "a folder now", "unreadable as a link"])
def test_a_file_that_is_no_longer_there_is_named(tmp_path: Path, store: DiskStore, how: str) -> None:
    path = adopt(store, tmp_path / "src/a.bin")
    if how == "truncated":
        os.truncate(path, LEAF)
    else:
        path.unlink()
        if how == "a folder now":
            path.mkdir()
        if how == "unreadable as a link":
            path.symlink_to(path)
    with pytest.raises(FileChangedError, match=r"a\.bin"):
        store.get(LAYOUT.leaf_cid(7))
    assert store.open_file(LAYOUT.cid) is None


def test_each_of_several_locations_is_tried(tmp_path: Path, store: DiskStore) -> None:
    first, second = adopt(store, tmp_path / "src/a.bin"), adopt(store, tmp_path / "src/b.bin")
    third = adopt(store, tmp_path / "src/c.bin", b"before" * LEAF + DATA[3 * LEAF : 4 * LEAF])
    for gone in (first, second):
        every(store)
        os.truncate(gone, 10)
        if gone is first:
            assert every(store) == DATA
    with pytest.raises(FileChangedError):
        store.get(LAYOUT.leaf_cid(2))
    assert store.get(LAYOUT.leaf_cid(3)).data == DATA[3 * LEAF : 4 * LEAF], third


def test_a_file_replaced_by_rename_is_looked_at_anew(tmp_path: Path, store: DiskStore) -> None:
    path = adopt(store, tmp_path / "src/a.bin")
    every(store)
    other = tmp_path / "other"
    other.write_bytes(bytes(len(DATA)))
    other.replace(path)
    with pytest.raises(FileChangedError):
        store.get(LAYOUT.leaf_cid(0))
    other.write_bytes(DATA)
    other.replace(path)
    assert every(store) == DATA, "the same content again is right again"
    assert store.open_file(LAYOUT.cid) is None, "but it is hashed leaf by leaf, until it is published again"


def test_republished_after_a_change_it_serves_the_new_content(tmp_path: Path, store: DiskStore) -> None:
    path = adopt(store, tmp_path / "src/a.bin")
    new = bytes(reversed(DATA))
    adopt(store, path, new)
    layout = file_dag(new)[0]
    assert store.get(layout.leaf_cid(0)).data == new[:LEAF]
    with pytest.raises(BlockMissingError):
        store.get(LAYOUT.leaf_cid(0))


def test_a_file_patched_in_its_middle_has_all_its_leaves_when_it_is_published_again(
    tmp_path: Path, store: DiskStore
) -> None:
    """Same size, same first and last leaf: what the index said of these must not pass for the rest."""
    path = adopt(store, tmp_path / "src/a.bin")
    new = bytearray(DATA)
    new[len(DATA) // 2] ^= 1
    adopt(store, path, bytes(new))
    layout = file_dag(bytes(new))[0]
    assert b"".join(store.get(layout.leaf_cid(leaf)).data for leaf in range(layout.leaves)) == new
    assert list(check(store, Checked())) == []


def test_a_stamp_younger_than_the_clocks_tick_is_not_trusted(tmp_path: Path, store: DiskStore) -> None:
    path = tmp_path / "racy.bin"
    path.write_bytes(DATA)
    about = path.stat()
    stamp = Stamp(about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino)
    youngest = max(stamp.mtime_ns, stamp.ctime_ns)
    hashed = hash_file(path, LEAF)
    for after_ns, trusted in ((0, False), (RACY_NS, False), (RACY_NS + 1, True)):
        file = HashedFile(path, stamp, youngest + after_ns, LEAF, hashed.digests)
        store.adopt(file, LAYOUT, NODES, owned=False)
        opened = store.open_file(LAYOUT.cid)
        assert (opened is not None) == trusted
        if opened:
            opened.close()
    assert every(store) == DATA, "its leaves are served all the same, each hashed"


def test_a_rotten_node_is_read_from_another_location(tmp_path: Path, store: DiskStore) -> None:
    node = NODES[-1]
    adopt(store, tmp_path / "src/a.bin")
    adopt(store, tmp_path / "src/node.bin", node.data)
    Path(store.nodes._place(node.cid)).write_bytes(b"rotten")
    assert store.get(node.cid) == node


def test_what_is_not_there_is_missing(store: DiskStore) -> None:
    with pytest.raises(BlockMissingError):
        store.get(CID.of(RAW, b"nothing"))


def test_several_hundred_files_are_served_with_few_descriptors(tmp_path: Path, store: DiskStore) -> None:
    files = {tmp_path / f"src/{n}": random.Random(n).randbytes(50) for n in range(300)}
    hashed = []
    for path, data in files.items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        hashed.append((hash_file(path, LEAF), file_dag(data)[0], ()))
    store.adopt_all(hashed, owned=False)
    assert len(list(store.leaves.folder.iterdir())) == 1
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(2):
        for data in files.values():
            assert store.get(CID.of(RAW, data)).data == data
    assert len(os.listdir("/proc/self/fd")) - before <= 128 + 1  # and the mapped index


# -- the folder


def test_a_folder_that_is_not_a_repository_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").write_bytes(b"x")
    with pytest.raises(ConfigError, match="not empty"):
        DiskStore(tmp_path / "photos").open()
    with pytest.raises(ConfigError, match="no repository"):
        DiskStore(tmp_path / "absent").open(create=False)
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["a.jpg"]
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize("content", [b"holdfast-repo 2\n", b"\xff\xfe", b""])
def test_a_repository_of_another_format_is_refused(tmp_path: Path, content: bytes) -> None:
    DiskStore(tmp_path / "repo").open().close()
    (tmp_path / "repo/format").write_bytes(content)
    with pytest.raises(ConfigError, match="newer"):
        DiskStore(tmp_path / "repo").open()


def test_a_damaged_catalog_is_an_error_of_our_disk(tmp_path: Path) -> None:
    DiskStore(tmp_path / "repo").open().close()
    for extra in (tmp_path / "repo").glob("catalog.db-*"):
        extra.unlink()
    (tmp_path / "repo/catalog.db").write_bytes(b"not a database at all" * 300)
    with pytest.raises(StoreError, match=r"catalog\.db"):
        DiskStore(tmp_path / "repo").open()


# -- the catalog


def test_the_catalog_keeps_files_and_names_across_processes(tmp_path: Path) -> None:
    stamp, cid = Stamp(9, 2, 3, 4), CID.of(RAW, b"x")
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9\n"))
    catalog = Catalog(tmp_path / "c.db").open()
    first = catalog.add_file(HashedFile(odd, stamp, 5, LEAF, b""), cid, owned=False, leaf_size=LEAF)
    again = catalog.add_file(HashedFile(odd, Stamp(9, 9, 9, 9), 10, LEAF, b""), cid, owned=True, leaf_size=LEAF)
    assert first == again, "one path, one row"
    catalog.set_name("n", cid, 1)
    assert catalog.file_at(odd) is None, "its leaves are not in the leaf index yet"
    catalog.set_indexed([first])
    other = Catalog(tmp_path / "c.db").open()
    row = other.file_at(odd)
    assert row is not None
    assert (row.path, row.stamp, row.owned, row.hashed_at_ns) == (odd, Stamp(9, 9, 9, 9), True, 10)
    assert other.files_of(cid) == [row] == [other.file(first)]
    assert other.names() == {"n": cid}
    assert other.file(99) is None
    for one in (catalog, other):
        one.close()
        one.close()
    with pytest.raises(RuntimeError, match="not open"):
        catalog.rows("SELECT 1")


def test_a_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "c.db").open()
    with pytest.raises(KeyError), catalog.transaction() as connection:
        connection.execute("INSERT INTO names VALUES ('a', x'00', 1)")
        raise KeyError
    with pytest.raises(StoreError), catalog.transaction() as connection:
        connection.execute("INSERT INTO names VALUES ('a', x'00', 1)")
        connection.execute("INSERT INTO nowhere VALUES (1)")
    assert catalog.rows("SELECT * FROM names") == []
    catalog.close()
    with sqlite3.connect(tmp_path / "c.db") as plain:
        assert plain.execute("SELECT count(*) FROM names").fetchone() == (0,)
    plain.close()


def test_nodes_are_durable_when_they_are_synced_and_only_once(
    store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda fd: (synced.append(str(Path(f"/proc/self/fd/{fd}").readlink())), fsync(fd))[1]
    )
    block = store.put(CID.of(RAW, b"a node"), b"a node")
    assert synced == [], "not one by one"
    store.nodes.sync()
    (path,) = store.nodes.folder.glob("??/*")
    assert sorted(synced) == sorted([str(path), str(path.parent), str(path.parent.parent)])
    synced.clear()
    store.nodes.sync()
    assert synced == []
    store.put(block.cid, block.data)
    store.nodes.sync()
    assert str(path) in synced, "who wrote it first may have been killed"


def test_a_rotten_leaf_index_does_not_make_a_trusted_file_give_out_other_bytes(
    tmp_path: Path, store: DiskStore
) -> None:
    adopt(store, tmp_path / "src/a.bin")
    opened = store.open_block(LAYOUT.leaf_cid(1))
    assert opened is not None
    opened[0].close()
    (segment,) = store.leaves.folder.glob("*.leaves")
    data = bytearray(segment.read_bytes())
    for at in range(16 + 32 * LAYOUT.leaves, len(data), 16):
        data[at + 8] ^= 1  # the offset of each leaf
    segment.write_bytes(data)
    with DiskStore(store.folder).open() as again:
        assert again.open_block(LAYOUT.leaf_cid(1)) is None


def test_reading_interns_no_names(tmp_path: Path, store: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """`pathlib` does; the table of interned strings is made anew, 2 MB at a time, in whatever thread comes next."""
    adopt(store, tmp_path / "src/a.bin")
    node = NODES[0].cid
    interned: list[str] = []

    def noted(name: str) -> str:
        interned.append(name)
        return name

    def look() -> None:
        store.get(node)
        assert store.has(node)
        assert store.get(LAYOUT.leaf_cid(3)).data
        assert store.catalog.files_of(LAYOUT.cid)

    look()
    monkeypatch.setattr("sys.intern", noted)
    look()
    monkeypatch.undo()
    assert not interned
