"""CAR files in and out of a repository, and CIDs of folders as they lie."""

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.storage.blocks.block import Block
from holdfast.storage.blocks.car_file import export_car, import_car
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.blocks.hash_tree import hash_tree
from holdfast.storage.cid import CID, DAG_PB, RAW
from holdfast.storage.dag import carv2, unixfs
from holdfast.storage.dag.build import Entry, build_directory
from holdfast.storage.dag.car import encode_header, encode_section
from holdfast.storage.dag.dagpb import PBNode, encode
from holdfast.storage.errors import BlockMissingError, ConfigError, FormatError, HashMismatchError, StoreError
from support.foreign import VECTORS
from support.running_node import publish_folder
from support.sources import tree_of, write
from support.trees import LEAF, file_dag

FILES = {"a.bin": random.Random(50).randbytes(4 * LEAF + 1), "b/c.txt": b"hello", "b/empty": b""}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DiskStore]:
    with DiskStore(tmp_path / "repo").open() as store:
        yield store


@pytest.fixture
def other(tmp_path: Path) -> Iterator[DiskStore]:
    with DiskStore(tmp_path / "other").open() as store:
        yield store


@pytest.fixture
def root(tmp_path: Path, store: DiskStore) -> CID:
    return publish_folder(store, tmp_path / "src", FILES)


def _kept(store: DiskStore) -> list[str]:
    folders = (store.files_folder, store.nodes.folder, store.leaves.folder)
    return sorted(str(path) for folder in folders for path in folder.rglob("*") if path.is_file())


def test_a_dag_goes_out_and_in_again(tmp_path: Path, store: DiskStore, other: DiskStore, root: CID) -> None:
    written = export_car(store, root, tmp_path / "x.car")
    assert written.bytes == (tmp_path / "x.car").stat().st_size
    found = import_car(other, tmp_path / "x.car")
    assert (found.roots, found.blocks, found.bytes, found.missing) == ((root,), written.blocks, written.bytes, None)
    assert tree_of(other, root) == FILES
    (tmp_path / "x.car").unlink()
    assert tree_of(other, root) == FILES, "the repository has a copy of its own"
    export_car(other, root, tmp_path / "y.car")
    export_car(store, root, tmp_path / "x.car")
    assert (tmp_path / "x.car").read_bytes() == (tmp_path / "y.car").read_bytes(), "the same bytes from anywhere"


def test_a_failed_export_leaves_no_file_and_what_was_there(tmp_path: Path, store: DiskStore, root: CID) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/x.car").write_bytes(b"earlier")
    (tmp_path / "src/a.bin").write_bytes(b"gone")
    with pytest.raises(StoreError, match=r"a\.bin"):
        export_car(store, root, tmp_path / "out/x.car")
    with pytest.raises(BlockMissingError):
        export_car(store, CID.of(DAG_PB, b"absent"), tmp_path / "out/x.car")
    assert [(path.name, path.read_bytes()) for path in (tmp_path / "out").iterdir()] == [("x.car", b"earlier")]
    with pytest.raises(StoreError, match="nowhere"):
        export_car(store, root, tmp_path / "nowhere/x.car")


def test_a_cut_car_is_named_with_the_byte_where_it_ends_and_nothing_is_kept(
    tmp_path: Path, store: DiskStore, other: DiskStore, root: CID
) -> None:
    export_car(store, root, tmp_path / "x.car")
    data, before = (tmp_path / "x.car").read_bytes(), _kept(other)
    for at in sorted({1, 20, 60, len(data) // 2, len(data) - 1, *random.Random(5).sample(range(len(data)), 20)}):
        (tmp_path / "cut.car").write_bytes(data[:at])
        try:
            found = import_car(other, tmp_path / "cut.car")
        except FormatError as error:
            assert f"ends at byte {at}" in error.message
            assert "cut.car" in error.message
            assert _kept(other) == before
        else:  # cut between two sections: whole blocks, not a whole DAG
            assert found.missing is not None


@pytest.mark.parametrize("seed", range(8))
def test_a_flipped_bit_is_named_and_nothing_is_kept(
    tmp_path: Path, store: DiskStore, other: DiskStore, root: CID, seed: int
) -> None:
    export_car(store, root, tmp_path / "x.car")
    data, before = bytearray((tmp_path / "x.car").read_bytes()), _kept(other)
    at = random.Random(seed).randrange(100, len(data))
    data[at] ^= 1 << seed
    (tmp_path / "bad.car").write_bytes(data)
    with pytest.raises((HashMismatchError, FormatError), match=r"bad\.car.*byte \d+"):
        import_car(other, tmp_path / "bad.car")
    assert _kept(other) == before
    with pytest.raises(BlockMissingError):
        other.get(root)


def test_an_incomplete_car_is_taken_and_reported(tmp_path: Path, other: DiskStore) -> None:
    layout, entry, nodes = file_dag(FILES["a.bin"])
    sections = [encode_section(block.cid, block.data) for block in nodes]
    sections += [encode_section(layout.leaf_cid(n), FILES["a.bin"][n * LEAF : (n + 1) * LEAF]) for n in (0, 1, 3)]
    (tmp_path / "x.car").write_bytes(encode_header([entry.cid]) + b"".join(sections))
    found = import_car(other, tmp_path / "x.car")
    assert found.missing == layout.leaf_cid(2)
    assert other.has(layout.leaf_cid(3))
    (tmp_path / "rootless.car").write_bytes(encode_header([entry.cid]) + b"".join(sections[1:]))
    with DiskStore(tmp_path / "third").open() as third:
        assert import_car(third, tmp_path / "rootless.car").missing == entry.cid


@pytest.mark.parametrize("content", [b"", b"\0", b"hello world", b"\x0a\xa1gversion\2", bytes(4096)])
def test_what_is_no_car_is_a_typed_error(tmp_path: Path, other: DiskStore, content: bytes) -> None:
    (tmp_path / "x.car").write_bytes(content)
    before = _kept(other)
    with pytest.raises(FormatError, match=r"x\.car"):
        import_car(other, tmp_path / "x.car")
    assert _kept(other) == before
    for bad in (tmp_path / "absent.car", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read"):
            import_car(other, bad)


# -- pipes, other versions, kills


class Piped(io.BytesIO):
    """A stream that cannot seek and gives a little at a time."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size or 0, 1000))

    def seek(self, *_: object) -> int:
        raise io.UnsupportedOperation("a pipe does not seek")

    tell = seek


@pytest.mark.parametrize("version", [1, 2])
def test_a_car_comes_from_a_pipe(tmp_path: Path, store: DiskStore, other: DiskStore, root: CID, version: int) -> None:
    written = export_car(store, root, tmp_path / "x.car", version=version)
    found = import_car(other, Path("-"), Piped((tmp_path / "x.car").read_bytes()))
    assert (found.roots, found.blocks, found.missing) == ((root,), written.blocks, None)
    assert tree_of(other, root) == FILES
    with pytest.raises(FormatError, match=r"-: .*ends at byte 500\b"):
        import_car(other, Path("-"), Piped((tmp_path / "x.car").read_bytes()[:500]))


def test_a_carv2_holds_the_carv1_and_an_index_of_each_block(tmp_path: Path, store: DiskStore, root: CID) -> None:
    one, two = export_car(store, root, tmp_path / "1.car"), export_car(store, root, tmp_path / "2.car", version=2)
    old, new = (tmp_path / "1.car").read_bytes(), (tmp_path / "2.car").read_bytes()
    assert (one.blocks, two.bytes) == (two.blocks, len(new))
    wrapper = carv2.decode_header(new[len(carv2.PRAGMA) : carv2.FIRST])
    assert new[wrapper.data_offset : wrapper.data_end] == old
    index = new[wrapper.index_offset :]
    assert index[:2] == b"\x81\x08"
    assert len(index) == 2 + 4 + 8 + 4 + 12 + 40 * two.blocks


def test_the_same_car_again_is_kept_once(tmp_path: Path, store: DiskStore, other: DiskStore, root: CID) -> None:
    for version in (1, 2):
        export_car(store, root, tmp_path / f"{version}.car", version=version)
    (tmp_path / "3.car").write_bytes((tmp_path / "1.car").read_bytes() + bytes(100))
    kept = []
    for name in ("1.car", "1.car", "2.car", "3.car"):
        assert import_car(other, tmp_path / name).missing is None
        kept.append(_kept(other))
    assert kept == kept[:1] * 4
    (copy,) = other.files_folder.iterdir()
    copy.write_bytes(b"rotten")
    assert import_car(other, tmp_path / "1.car").missing is None
    assert tree_of(other, root) == FILES
    assert list(other.files_folder.iterdir()) == [copy]


def test_blocks_of_other_hashes_come_along_and_stay_hidden_until_the_end(tmp_path: Path, other: DiskStore) -> None:
    vector = VECTORS["kubo-blake3"]
    data = vector.car.read_bytes()
    (tmp_path / "cut.car").write_bytes(data[:-1])
    before = _kept(other)
    with pytest.raises(FormatError, match=f"ends at byte {len(data) - 1}\\b"):
        import_car(other, tmp_path / "cut.car")
    assert _kept(other) == before
    assert import_car(other, vector.car).missing is None


_IMPORT = """
import sys
from pathlib import Path
from holdfast.storage.blocks.car_file import import_car
from holdfast.storage.blocks.disk import DiskStore
with DiskStore(Path(sys.argv[1])).open() as store:
    import_car(store, Path("-"), sys.stdin.buffer)
"""


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 1.0])
def test_a_killed_import_shows_nothing_and_the_next_one_ends_as_if_it_had_not_been(
    tmp_path: Path, store: DiskStore, root: CID, share: float
) -> None:
    export_car(store, root, tmp_path / "x.car")
    data = (tmp_path / "x.car").read_bytes()
    repo = tmp_path / "killed"
    DiskStore(repo).open().close()
    process = subprocess.Popen([sys.executable, "-c", _IMPORT, str(repo)], stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(data[: int(share * len(data))])
    process.stdin.flush()
    deadline = time.monotonic() + 20
    while not list((repo / "files").glob("*.part")) and share > 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    process.stdin.close()
    with DiskStore(repo).open() as again:
        assert all(path.suffix == ".part" for path in again.files_folder.iterdir())
        assert not again.has(root)
        assert not list(again.nodes.folder.rglob("*"))
        assert import_car(again, tmp_path / "x.car").missing is None
        assert tree_of(again, root) == FILES
        assert len([path for path in again.files_folder.iterdir() if path.suffix == ".car"]) == 1


def test_a_car_of_more_than_memory_is_spooled_in_little(tmp_path: Path) -> None:
    """300 MB through a pipe by a process that may use 150 MB more than it starts with."""
    code = "import resource\n" + _IMPORT.replace("with Disk", "_LIMIT\nwith Disk") + "\nprint('done')"
    used = "resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024"
    limit = f"resource.setrlimit(resource.RLIMIT_DATA, ({used} + (150 << 20),) * 2)"
    process = subprocess.Popen(
        [sys.executable, "-c", code.replace("_LIMIT", limit), str(tmp_path / "repo")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    size = 1 << 20
    process.stdin.write(encode_header([CID.of(RAW, bytes(size))]))
    for number in range(300):
        data = number.to_bytes(4, "big") * (size // 4)
        process.stdin.write(encode_section(CID.of(RAW, data), data))
    out, _ = process.communicate()
    assert (process.returncode, out) == (0, b"done\n")


# -- folders as they lie


def _link(target: str) -> Entry:
    data = unixfs.encode(unixfs.UnixFSNode(unixfs.NodeType.SYMLINK, target.encode()))
    block = Block.encode(DAG_PB, encode(PBNode((), data)))
    return Entry(block.cid, len(block.data))


def test_a_folder_has_the_cid_of_its_files_links_and_empty_folders(tmp_path: Path) -> None:
    top = write(tmp_path / "t", {"a.bin": FILES["a.bin"], "sub/x": b"x", ".hidden": b"no", "sub/.git/config": b"no"})
    (top / "empty").mkdir()
    (top / "link").symlink_to("sub/x")
    (top / "dangling").symlink_to("../outside")
    (top / "to-folder").symlink_to("sub")
    expected = build_directory({
        "a.bin": file_dag(FILES["a.bin"])[1],
        "sub": build_directory({"x": file_dag(b"x")[1]})[0],
        "empty": build_directory({})[0],
        "link": _link("sub/x"), "dangling": _link("../outside"), "to-folder": _link("sub"),
    })[0]  # fmt: skip
    assert hash_tree(top, LEAF) == expected
    assert hash_tree(top / "a.bin", LEAF) == file_dag(FILES["a.bin"])[1]
    (top / ".hidden").write_bytes(b"other")
    assert hash_tree(top, LEAF) == expected, "hidden files are left out"
    (top / "sub/x").write_bytes(b"y")
    assert hash_tree(top, LEAF).cid != expected.cid


def test_the_empty_folder_is_kubos(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert str(hash_tree(tmp_path / "empty", LEAF).cid) == "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"


def test_what_is_neither_file_folder_nor_link_is_named_and_not_left_out(tmp_path: Path) -> None:
    write(tmp_path / "t", {"a": b"x"})
    os.mkfifo(tmp_path / "t/pipe")
    for path in (tmp_path / "t", tmp_path / "t/pipe", tmp_path / "absent"):
        with pytest.raises(ConfigError, match="absent" if path.name == "absent" else "pipe"):
            hash_tree(path, LEAF)
