"""The sorted arrays that say where a leaf lies."""

from __future__ import annotations

import hashlib
import random
import threading
from pathlib import Path

import numpy as np
import pytest

from holdfast.storage.blocks.leaf_index import REFERENCE_DTYPE, LeafIndex, LeafRef
from holdfast.storage.errors import StoreError


def digest(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def add(index: LeafIndex, items: list[tuple[bytes, int, int, int]]) -> None:
    rows = np.array([(file, length, offset) for _, file, offset, length in items], dtype=REFERENCE_DTYPE)
    index.add(b"".join(key for key, *_ in items), rows)


def test_every_leaf_is_found_and_no_other(tmp_path: Path) -> None:
    index, items = LeafIndex(tmp_path), [(digest(n), n % 7, n << 33, n + 1) for n in range(1000)]
    random.Random(1).shuffle(items)
    add(index, items)
    for key, file, offset, length in items:
        assert index.find(key) == [LeafRef(file, offset, length)]
    for absent in (digest(1000), bytes(32), b"\xff" * 32):
        assert index.find(absent) == []
    assert [path.stat().st_size for path in tmp_path.iterdir()] == [16 + 48 * 1000]


def test_a_digest_with_zero_bytes_at_its_end_is_its_own(tmp_path: Path) -> None:
    index = LeafIndex(tmp_path)
    keys = [b"\1" + bytes(31), b"\1\0\1" + bytes(29), bytes(32), b"\1" + bytes(30) + b"\1"]
    add(index, [(key, n, 0, 1) for n, key in enumerate(keys)])
    for n, key in enumerate(keys):
        assert index.find(key) == [LeafRef(n, 0, 1)]


def test_all_locations_of_a_leaf_are_found_within_and_across_segments(tmp_path: Path) -> None:
    index = LeafIndex(tmp_path)
    add(index, [(digest(1), 1, 0, 5), (digest(2), 1, 5, 5), (digest(1), 1, 10, 5)])
    add(index, [(digest(1), 2, 0, 5)])
    add(LeafIndex(tmp_path), [(digest(1), 3, 0, 5)])
    fresh = LeafIndex(tmp_path).find(digest(1))
    assert sorted(fresh, key=lambda ref: (ref.file, ref.offset)) == [
        LeafRef(1, 0, 5), LeafRef(1, 10, 5), LeafRef(2, 0, 5), LeafRef(3, 0, 5),
    ]  # fmt: skip


def test_nothing_is_written_for_no_leaves_nor_for_a_mismatch(tmp_path: Path) -> None:
    index = LeafIndex(tmp_path)
    index.add(b"", np.zeros(0, dtype=REFERENCE_DTYPE))
    with pytest.raises(ValueError, match="2 digests but 1 references"):
        index.add(digest(1) + digest(2), np.zeros(1, dtype=REFERENCE_DTYPE))
    assert list(tmp_path.iterdir()) == []


def test_a_segment_that_another_process_adds_is_seen_at_the_next_miss(tmp_path: Path) -> None:
    here, there = LeafIndex(tmp_path), LeafIndex(tmp_path)
    for number in range(20):  # in one tick of the clock, or in several
        assert here.find(digest(number)) == []
        add(there, [(digest(number), number, 0, 1)])
        assert here.find(digest(number)) == [LeafRef(number, 0, 1)]


def test_threads_search_while_segments_come(tmp_path: Path) -> None:
    index, missed = LeafIndex(tmp_path), []
    known = threading.Semaphore(0)

    def search(seed: int) -> None:
        rng = random.Random(seed)
        for upto in range(1, 31):
            known.acquire()
            number = rng.randrange(upto)
            if index.find(digest(number)) != [LeafRef(number, 0, 1)]:
                missed.append(number)

    threads = [threading.Thread(target=search, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for number in range(30):
        add(index, [(digest(number), number, 0, 1)])
        known.release(4)
    # a thread may take permits of another's turn, but never more than there are segments
    for thread in threads:
        thread.join()
    assert not [number for number in missed if index.find(digest(number)) != [LeafRef(number, 0, 1)]]


@pytest.mark.parametrize("damage", ["empty", "short", "cut", "magic", "count", "longer"])
def test_a_damaged_segment_is_named_and_passed_over(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    add(LeafIndex(tmp_path), [(digest(n), n, 0, 1) for n in range(10)])
    (path,) = tmp_path.iterdir()
    add(LeafIndex(tmp_path), [(digest(99), 99, 0, 1)])
    data = path.read_bytes()
    path.write_bytes({
        "empty": b"", "short": data[:7], "cut": data[:-1], "magic": b"hf-leaf9" + data[8:],
        "count": data[:8] + b"\xff" * 8 + data[16:], "longer": data + b"x",
    }[damage])  # fmt: skip
    index = LeafIndex(tmp_path)
    assert index.find(digest(1)) == []
    assert path.name in caplog.text
    assert index.find(digest(99)) == [LeafRef(99, 0, 1)], "the others serve"
    with pytest.raises(StoreError, match=path.name):
        index.table(path)
    index.compact(range(100))
    assert not path.exists()
    assert path.with_suffix(".broken").exists(), "set aside, not deleted"
    assert index.find(digest(99)) == [LeafRef(99, 0, 1)]


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert LeafIndex(tmp_path / "absent").find(digest(1)) == []


class Torn(LeafIndex):
    """Lists its folder the first time as one that is being merged may be listed: the new segment came behind the
    reader, the old ones went before it.
    """

    merged = False

    def _list(self) -> set[str]:
        before = super()._list()
        if self.merged or len(before) < 2:
            return before
        self.merged = True
        LeafIndex(self.folder).compact()
        return before & super()._list()


@pytest.mark.parametrize("look", ["find", "find_anew"])
def test_a_leaf_is_found_by_who_lists_the_folder_while_it_is_merged(tmp_path: Path, look: str) -> None:
    for number in range(3):
        add(LeafIndex(tmp_path), [(digest(number), number, 0, 1)])
    for number in range(3):
        torn = Torn(tmp_path)
        assert getattr(torn, look)(digest(number)) == [LeafRef(number, 0, 1)]
    assert len(list(tmp_path.glob("*.leaves"))) == 1


def test_who_looked_before_a_merge_finds_the_same_after_it_and_what_is_new_at_once(tmp_path: Path) -> None:
    """The old segments stay mapped until the next miss. What they say stays true; `find_anew` never asks them."""
    here, there = LeafIndex(tmp_path), LeafIndex(tmp_path)
    for number in range(3):
        add(there, [(digest(number), number, 0, 1)])
    assert here.find(digest(0)) == [LeafRef(0, 0, 1)]
    add(there, [(digest(0), 9, 5, 1)])
    there.compact({0, 1, 9})  # the file 2 is gone, the leaf 0 has another place
    assert here.find(digest(0)) == [LeafRef(0, 0, 1)], "one of its places, and a right one"
    assert here.find(digest(1)) == [LeafRef(1, 0, 1)]
    assert here.find_anew(digest(0)) == [LeafRef(0, 0, 1), LeafRef(9, 5, 1)]
    assert here.find_anew(digest(2)) == []


def test_a_segment_is_named_by_its_digest_and_a_damaged_one_is_neither_merged_nor_lost(tmp_path: Path) -> None:
    index = LeafIndex(tmp_path)
    for number in range(3):
        add(index, [(digest(number), number, 0, 1)])
    first = min(tmp_path.glob("*.leaves"))
    assert first.stem.partition("-")[2] == hashlib.sha256(first.read_bytes()).hexdigest()
    assert index.damaged() == []
    data = bytearray(first.read_bytes())
    data[-1] ^= 4
    first.write_bytes(data)
    assert index.damaged() == [first]
    index.compact(range(100))
    assert first.exists()
    assert len(list(tmp_path.glob("*.leaves"))) == 2
    table = index.read_damaged(first)
    assert table is not None
    assert index.replace(first, table)
    assert not index.replace(first, table), "somebody did"
    assert index.read_damaged(first) is None
    assert not first.exists()
    assert index.damaged() == []
    assert sum(len(index.find_anew(digest(number))) for number in range(3)) == 3
