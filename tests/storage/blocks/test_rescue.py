"""A damaged segment of the leaf index: what is right of it stays, and what may be lost is noted before."""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from holdfast.pipeline.publish import publish
from holdfast.storage.blocks import leaf_index, rescue
from holdfast.storage.blocks.check import Checked, check
from holdfast.storage.blocks.collect import collect
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.blocks.leaf_index import REFERENCE_DTYPE, LeafIndex
from holdfast.storage.cid import CID, RAW
from holdfast.storage.errors import StoreError

KIB = 1 << 10
LEAF = 16 * KIB
FILES = (5 * LEAF + 100, 3 * LEAF, 1000)


def _publish(place: Path) -> None:
    publish(place / "src", name="a", repo=place / "repo", format="tokens", dtype="uint16", leaf_size=LEAF)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    for number, size in enumerate(FILES):
        (tmp_path / f"src/{number}.bin").write_bytes(random.Random(number).randbytes(size))
    _publish(tmp_path)
    return tmp_path


def _entry(place: Path, name: str, leaf: int) -> tuple[Path, int, int]:
    """The segment in which a leaf is, and where its digest and its reference are."""
    data = (place / "src" / name).read_bytes()
    digest = hashlib.sha256(data[leaf * LEAF : (leaf + 1) * LEAF]).digest()
    for path in (place / "repo/leaves").glob("*.leaves"):
        raw = path.read_bytes()
        at = raw.find(digest)
        if at >= 0:
            count = (len(raw) - 16) // 48
            return path, at, 16 + 32 * count + (at - 16) // 2
    raise AssertionError("it has no entry")


def _flip(path: Path, at: int, bits: int = 1) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= bits
    path.write_bytes(data)


def _hit(place: Path, name: str, leaf: int, part: str) -> Path:
    path, digest, reference = _entry(place, name, leaf)
    _flip(path, {"digest": digest + 3, "file": reference, "length": reference + 5, "offset": reference + 8}[part])
    return path


@pytest.mark.parametrize("part", ["digest", "file", "length", "offset"])
@pytest.mark.parametrize(("name", "leaf"), [("0.bin", 2), ("0.bin", 5), ("2.bin", 0)])
def test_a_verify_that_is_killed_after_it_set_a_segment_aside_leaves_nothing_missing_unnoticed(
    place: Path, name: str, leaf: int, part: str
) -> None:
    path = _hit(place, name, leaf, part)
    with DiskStore(place / "repo").open() as store:
        under_way = check(store, Checked())
        assert next(under_way).file == str(path)
        assert path.with_suffix(".broken").exists()
        under_way.close()
    _publish(place)
    with DiskStore(place / "repo").open() as store:
        assert list(check(store, Checked())) == []


@pytest.mark.parametrize("part", ["digest", "file", "length", "offset"])
def test_after_a_whole_verify_files_that_are_right_are_here_again(place: Path, part: str) -> None:
    _hit(place, "0.bin", 2, part)
    with DiskStore(place / "repo").open() as store:
        list(check(store, Checked()))
        here = {store.catalog.file_at(place / f"src/{number}.bin") is not None for number in (1, 2)}
        assert here == {True}
        assert (store.catalog.file_at(place / "src/0.bin") is not None) == (part == "digest")
        again = {fault.file for fault in check(store, Checked())} - {str(store.folder)}
        assert again == (set() if part == "digest" else {str(place / "src/0.bin")})
    _publish(place)
    with DiskStore(place / "repo").open() as store:
        assert list(check(store, Checked())) == []


def test_a_rotten_leaf_is_named_by_its_own_cid_also_after_a_rescue(place: Path) -> None:
    path = place / "src/1.bin"
    leaf = CID.of(RAW, path.read_bytes()[LEAF : 2 * LEAF])
    _hit(place, "0.bin", 2, "digest")
    _flip(path, LEAF + 5)
    with DiskStore(place / "repo").open() as store:
        for _ in range(2):
            (fault,) = [fault for fault in check(store, Checked()) if fault.file == str(path)]
            assert (fault.cid, fault.offset) == (str(leaf), LEAF)


def test_an_entry_that_came_to_another_file_by_a_flipped_bit_accuses_nobody_there(place: Path) -> None:
    """Two entries for one place, in two segments: the one that fits is right, the other one is never served."""
    data = (place / "src/1.bin").read_bytes()
    with DiskStore(place / "repo").open() as store:
        row = store.catalog.file_at(place / "src/1.bin")
        assert row is not None
        references = np.array([(row.id, LEAF, offset) for offset in (0, LEAF)], dtype=REFERENCE_DTYPE)
        store.leaves.add(hashlib.sha256(b"x").digest() * 2, references)
        assert list(check(store, Checked())) == []
        assert store.get(CID.of(RAW, data[:LEAF])).data == data[:LEAF]


def test_a_segment_without_a_digest_says_nothing_of_the_ids_in_use(place: Path) -> None:
    path, _, reference = _entry(place, "0.bin", 2)
    _flip(path, reference + 3, 64)
    old = path.with_name(path.name.partition("-")[0] + ".leaves")
    path.rename(old)
    with DiskStore(place / "repo").open() as store:
        assert not [fault for fault in check(store, Checked()) if "next id" in fault.reason]


def test_nothing_is_hashed_under_the_lock(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _hit(place, "0.bin", 2, "digest")
    hashing, free = rescue.right_leaves, []

    def look(*given: object) -> object:
        with (place / "repo/leaves/compact.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free.append(True)
        return hashing(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(rescue, "right_leaves", look)
    with DiskStore(place / "repo").open() as store:
        assert rescue.rescue(store, path)
        assert rescue.rescue(store, path) is None
    assert free == [True]


def test_entries_are_read_file_by_file_in_the_order_of_their_offsets() -> None:
    references = np.zeros(3000, dtype=REFERENCE_DTYPE)
    numbers = np.random.default_rng(1)
    references["file"], references["offset"] = numbers.integers(0, 500, 3000), numbers.integers(0, 1 << 62, 3000)
    seen = []
    for file, mine in rescue._by_file(references):
        assert set(references[mine]["file"].tolist()) == {file}
        assert (np.diff(references[mine]["offset"].astype(np.int64)) >= 0).all()
        seen += mine.tolist()
    assert sorted(seen) == list(range(3000))
    assert list(rescue._by_file(references[:0])) == []


def test_a_faulty_file_is_hashed_once(place: Path) -> None:
    right: list[int] = []
    rotten: list[int] = []
    with DiskStore(place / "repo").open() as store:
        assert list(check(store, Checked(), on_bytes=right.append)) == []
        _flip(place / "src/0.bin", 7)
        assert len(list(check(store, Checked(), on_bytes=rotten.append))) == 1
    assert sum(rotten) == sum(right)


def test_a_compact_does_not_read_what_it_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaf_index, "_SMALL", 10)
    index = LeafIndex(tmp_path)
    for count in (10, 3, 4):
        index.add(b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(count)), _references(count))
    (large,) = [path for path in tmp_path.glob("*.leaves") if path.stat().st_size == 16 + 480]
    looked: list[Path] = []
    real = leaf_index.is_damaged

    def look(path: Path) -> bool:
        looked.append(path)
        return real(path)

    monkeypatch.setattr(leaf_index, "is_damaged", look)
    index.compact(range(100))
    assert large.exists()
    assert len(looked) == 2
    assert large not in looked


def _references(count: int) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    return np.array([(1, 1, offset) for offset in range(count)], dtype=REFERENCE_DTYPE)


def _compact(store: DiskStore, path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])
    store.leaves.compact()


def _rescue(store: DiskStore, path: Path) -> None:
    _flip(path, 20)
    rescue.rescue(store, path)


@pytest.mark.parametrize("act", [_compact, _rescue])
def test_a_disk_that_does_not_let_go_of_a_segment_is_one_sentence(
    place: Path, act: Callable[[DiskStore, Path], None]
) -> None:
    path, _, _ = _entry(place, "0.bin", 0)
    path.with_suffix(".broken").mkdir()
    with DiskStore(place / "repo").open() as store, pytest.raises(StoreError, match="cannot be used"):
        act(store, path)


@pytest.mark.parametrize("ask", [lambda index: index.compact(range(9)), lambda index: index.damaged()])
def test_a_segment_that_cannot_be_read_is_one_sentence(
    place: Path, ask: Callable[[LeafIndex], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path) -> bool:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(leaf_index, "is_damaged", fail)
    with DiskStore(place / "repo").open() as store, pytest.raises(StoreError, match="Input/output error"):
        ask(store.leaves)


def test_segments_that_were_set_aside_long_ago_go_with_a_gc(place: Path) -> None:
    path = _hit(place, "0.bin", 2, "digest").with_suffix(".broken")
    with DiskStore(place / "repo").open() as store:
        os.utime(path.with_suffix(".leaves"), ns=(1, 1))
        list(check(store, Checked()))
        collect(store)
        assert path.exists(), "it was set aside just now"
        os.utime(path, ns=(1, 1))
        collect(store, dry_run=True)
        assert path.exists()
        collect(store)
        assert not path.exists()
