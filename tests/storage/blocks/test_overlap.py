"""What a new version shares with the one before: it is not sent, and the two together are whole."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.storage.blocks import overlap as overlap_module
from holdfast.storage.blocks.car_file import cars, export_car, first_missing, import_car
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.blocks.overlap import overlap
from holdfast.storage.cid import CID, RAW
from holdfast.storage.errors import BlockMissingError
from support.running_node import publish_folder

LEAF = 16 << 10


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DiskStore]:
    with DiskStore(tmp_path / "repo").open() as store:
        yield store


def versions(store: DiskStore, place: Path) -> tuple[CID, CID]:
    """A file appended to, one changed in its middle, one gone, one new, a folder as it was, one renamed."""
    numbers = random.Random(1)
    files = {name: numbers.randbytes(10 * LEAF) for name in ("appended", "edited", "gone", "same/a", "same/b", "old/c")}
    first = publish_folder(store, place / "one", files, LEAF)
    edited = bytearray(files["edited"])
    edited[5 * LEAF] ^= 1
    after = {
        "appended": files["appended"] + b"more", "edited": bytes(edited), "new": numbers.randbytes(100),
        "same/a": files["same/a"], "same/b": files["same/b"], "renamed/c": files["old/c"],
    }  # fmt: skip
    return first, publish_folder(store, place / "two", after, LEAF)


def sent(store: DiskStore, root: CID, there: frozenset[CID], place: Path) -> Path:
    (car,) = cars(store, [root], 1, there)
    path = place / "part.car"
    path.write_bytes(b"".join(car))
    return path


def test_only_what_is_new_is_sent_and_the_two_together_are_whole(store: DiskStore, tmp_path: Path) -> None:
    first, second = versions(store, tmp_path)
    part = sent(store, second, overlap(store, first, second), tmp_path)
    assert part.stat().st_size < 3 * LEAF, "the end of one, a leaf of another, a new one, nodes and folders"
    export_car(store, first, tmp_path / "first.car")
    with DiskStore(tmp_path / "other").open() as other:
        import_car(other, tmp_path / "first.car")
        assert first_missing(other, second) is not None
        import_car(other, part)
        assert first_missing(other, second) is None


def test_leaves_beyond_the_bound_are_sent_again(
    store: DiskStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = versions(store, tmp_path)
    few = sent(store, second, overlap(store, first, second), tmp_path).stat().st_size
    monkeypatch.setattr(overlap_module, "MAX_LEAVES", 0)
    more = sent(store, second, overlap(store, first, second), tmp_path).stat().st_size
    assert few + 15 * LEAF < more < 25 * LEAF, "of the two files that changed, all leaves"


def test_the_same_version_is_there_as_a_whole(store: DiskStore, tmp_path: Path) -> None:
    first, _ = versions(store, tmp_path)
    assert first in overlap(store, first, first)


def test_blocks_that_are_no_trees_share_nothing(store: DiskStore) -> None:
    one, other = (store.put(CID.of(RAW, data), data).cid for data in (b"one", b"other"))
    assert overlap(store, one, other) == frozenset()


def test_a_version_that_is_not_here_is_an_error(store: DiskStore, tmp_path: Path) -> None:
    _, second = versions(store, tmp_path)
    with pytest.raises(BlockMissingError):
        overlap(store, CID.parse("bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"), second)
