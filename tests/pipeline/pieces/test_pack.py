"""A dataset as pieces: deterministic CARs that lose nothing, and a manifest that says where all of it lies."""

from __future__ import annotations

import fcntl
import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.pipeline.pieces.groups import groups
from holdfast.pipeline.pieces.keep import keep_manifest, write_manifest
from holdfast.pipeline.pieces.pack import pack
from holdfast.pipeline.publish import publish
from holdfast.storage.blocks.car_file import first_missing, import_car
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.cid import CID, RAW
from holdfast.storage.dag.car import CarReader
from holdfast.storage.errors import (
    BlockMissingError,
    DiskFullError,
    FileChangedError,
    FormatError,
    HoldfastError,
    UnsupportedError,
)
from holdfast.storage.pieces.car_piece import piece_bytes
from holdfast.storage.pieces.hasher import PieceHasher
from holdfast.storage.pieces.manifest import PieceManifest
from support.running_node import publish_folder

KIB = 1 << 10
LEAF = 16 * KIB
SHARDS, SHARD_BYTES = 30, 40 * KIB
GROUP_BYTES, PIECE_BYTES = 400 * KIB, 600 * KIB


def shards_in(folder: Path, numbers: list[int]) -> Path:
    folder.mkdir(exist_ok=True)
    for at, number in enumerate(numbers):
        (folder / f"{at:03d}.bin").write_bytes(random.Random(number).randbytes(SHARD_BYTES))
    return folder


def published(repo: Path, source: Path) -> CID:
    return publish(source, name="d", repo=repo, format="tokens", dtype="uint16", leaf_size=LEAF).root


def packed(store: DiskStore, root: CID, cars: Path | None = None) -> PieceManifest:
    return pack(store, root, cars=cars, max_group_bytes=GROUP_BYTES, max_piece_bytes=PIECE_BYTES)


@pytest.fixture
def root(tmp_path: Path) -> CID:
    return published(tmp_path / "repo", shards_in(tmp_path / "src", list(range(SHARDS))))


@pytest.fixture
def store(root: CID, tmp_path: Path) -> Iterator[DiskStore]:
    with DiskStore(tmp_path / "repo").open(create=False) as store:
        yield store


def test_whoever_has_the_data_makes_the_same_bytes(store: DiskStore, root: CID, tmp_path: Path) -> None:
    made = packed(store, root, tmp_path / "cars")
    other = published(tmp_path / "other", tmp_path / "src")
    with DiskStore(tmp_path / "other").open(create=False) as elsewhere:
        assert packed(elsewhere, other).files() == made.files()
        for number, piece in enumerate(made.pieces):
            again = b"".join(piece_bytes(elsewhere, made, number))
            assert again == (tmp_path / "cars" / f"{piece.cid}.car").read_bytes()
    assert len(made.pieces) > 3
    assert {path.name for path in (tmp_path / "cars").iterdir()} == {f"{piece.cid}.car" for piece in made.pieces}


def test_the_cars_are_the_dataset(store: DiskStore, root: CID, tmp_path: Path) -> None:
    made = packed(store, root, tmp_path / "cars")
    with DiskStore(tmp_path / "third").open() as third:
        for piece in made.pieces:
            path = tmp_path / "cars" / f"{piece.cid}.car"
            assert path.stat().st_size == piece.cid.size <= PIECE_BYTES
            with PieceHasher() as hasher, path.open("rb") as car:
                hasher.read(car)
                assert hasher.finish() == piece
            assert import_car(third, path).missing is None or piece is made.pieces[-1]
        assert first_missing(third, root) is None


def test_each_block_lies_where_the_manifest_says(store: DiskStore, root: CID, tmp_path: Path) -> None:
    made = packed(store, root)
    seen = 0
    for number, piece in enumerate(made.pieces):
        car = b"".join(piece_bytes(store, made, number))
        for section in CarReader(io.BytesIO(car)).sections():
            (place,) = made.blocks.find(section.block.cid.digest)
            assert (place.piece, place.offset, place.length) == (number, section.data_offset, len(section.block.data))
            seen += 1
        assert piece.cid.size == len(car)
    assert seen == len(made.blocks)
    assert not list(made.blocks.find(CID.of(RAW, b"not there").digest))


def test_a_new_version_shares_the_pieces_that_it_does_not_touch(store: DiskStore, root: CID, tmp_path: Path) -> None:
    before = {str(piece.cid) for piece in packed(store, root).pieces}
    numbers = list(range(SHARDS))
    for name, changed in {
        "appended": [*numbers, 100],
        "inserted": [*numbers[:15], 100, *numbers[15:]],
        "deleted": numbers[:15] + numbers[16:],
    }.items():
        other = published(tmp_path / "repo", shards_in(tmp_path / name, changed))
        made = packed(store, other)
        new = [piece for piece in made.pieces if str(piece.cid) not in before]
        assert len(new) <= 4, (name, "two around the change, one forced cut, and all that is no shard")
        assert len(new) < len(made.pieces) - 1, name


def test_a_shard_longer_than_a_piece_goes_on_in_the_next(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/0.bin").write_bytes(random.Random(1).randbytes(2_000 * KIB))
    root = published(tmp_path / "repo", tmp_path / "src")
    with DiskStore(tmp_path / "repo").open(create=False) as store:
        made = packed(store, root)
        assert [piece.cid.size <= PIECE_BYTES for piece in made.pieces] == [True] * 5
        for number, piece in enumerate(made.pieces):
            assert sum(map(len, piece_bytes(store, made, number))) == piece.cid.size


KILLED = """
import os, signal, sys
from pathlib import Path
from holdfast.pipeline.pieces.pack import pack
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.cid import CID

repo, root, cars, group, piece = sys.argv[1:]

def on_bytes(done, total):
    if done > total * 0.8:
        os.kill(os.getpid(), signal.SIGKILL)

with DiskStore(Path(repo)).open(create=False) as store:
    pack(store, CID.parse(root), cars=Path(cars) if cars else None, on_bytes=on_bytes,
         max_group_bytes=int(group), max_piece_bytes=int(piece))
"""


@pytest.mark.parametrize("with_cars", [False, True])
def test_a_pack_that_was_killed_goes_on_behind_the_pieces_that_it_had_finished(
    store: DiskStore, root: CID, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_cars: bool
) -> None:
    expected = packed(store, root)
    cars = tmp_path / "cars" if with_cars else None
    finished = tmp_path / "repo/packing"

    def killed() -> list[Path]:
        arguments = [tmp_path / "repo", root, cars or "", GROUP_BYTES, PIECE_BYTES]
        done = subprocess.run([sys.executable, "-c", KILLED, *map(str, arguments)], check=False, timeout=60)
        assert done.returncode == -signal.SIGKILL
        return sorted(finished.glob("*/*"))

    reads: list[CID] = []
    get = DiskStore.get
    monkeypatch.setattr(DiskStore, "get", lambda self, cid: reads.append(cid) or get(self, cid))  # type: ignore[func-returns-value]

    def leaves_read() -> int:
        reads.clear()
        assert packed(store, root, cars).files() == expected.files()
        assert not finished.exists()
        if cars is not None:
            assert {path.name for path in cars.iterdir()} == {f"{piece.cid}.car" for piece in expected.pieces}
        return sum(cid.codec == RAW for cid in reads)

    every = leaves_read()
    for path in cars.iterdir() if cars else ():
        path.unlink()
    kept = killed()
    assert len(kept) >= 2
    rest = leaves_read()
    assert rest < every // 2
    kept = killed()
    kept[-1].write_bytes(kept[-1].read_bytes()[:-1])  # damaged: made again
    assert rest < leaves_read() < every
    kept = killed()
    kept[1].write_bytes(kept[0].read_bytes())  # whole, and not what comes there
    assert leaves_read() >= every
    if cars is not None:
        killed()
        (cars / f"{expected.pieces[0].cid}.car").unlink()
        assert leaves_read() == every


def test_what_was_finished_is_noted_until_the_manifest_is_kept(
    store: DiskStore, root: CID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, or a kill, may come between; and notes that cannot be removed are not read for ever."""

    def full(_: PieceManifest) -> None:
        raise DiskFullError("full")

    with pytest.raises(DiskFullError):
        pack(store, root, on_made=full, max_group_bytes=GROUP_BYTES, max_piece_bytes=PIECE_BYTES)
    notes = sorted((store.folder / "packing").glob("*/*"))
    assert len(notes) > 3
    notes[1].write_bytes(notes[0].read_bytes())
    monkeypatch.setattr("shutil.rmtree", lambda _: (_ for _ in ()).throw(PermissionError("no")))
    made = packed(store, root)
    monkeypatch.undo()
    assert packed(store, root).files() == made.files()


def test_what_was_begun_and_not_finished_goes_after_a_month(store: DiskStore, root: CID, tmp_path: Path) -> None:
    for name, age_s in (("old", 31 * 86_400), ("new", 29 * 86_400)):
        folder = tmp_path / "repo/packing" / name
        folder.mkdir(parents=True)
        os.utime(folder, (time.time() - age_s,) * 2)
    packed(store, root)
    assert [path.name for path in (tmp_path / "repo/packing").iterdir()] == ["new"]


def test_a_disk_that_takes_no_notes_is_packed_from(
    store: DiskStore, root: CID, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "repo/packing").write_bytes(b"in the way")
    made = packed(store, root)
    assert "a pack that is killed now starts over" in caplog.text
    (tmp_path / "repo/packing").unlink()
    assert packed(store, root).files() == made.files()


def test_a_tiny_piece_is_padded_and_read_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/0.bin").write_bytes(bytes(2))
    root = published(tmp_path / "repo", tmp_path / "src")
    with DiskStore(tmp_path / "repo").open(create=False) as store:
        made = packed(store, root)
        first = b"".join(piece_bytes(store, made, 0))
        assert len(first) == made.pieces[0].cid.size == 127
        assert [section.block.data for section in CarReader(io.BytesIO(first)).sections()] == [bytes(2)]


def test_a_tree_that_is_no_dataset_is_one_group(tmp_path: Path) -> None:
    with DiskStore(tmp_path / "repo").open() as store:
        root = publish_folder(store, tmp_path / "src", {"a": bytes(100), "b": b"", "c": bytes(100)})
        made = packed(store, root)
        car = b"".join(piece_bytes(store, made, 0))
    assert len(made.pieces) == 1
    assert CarReader(io.BytesIO(car)).roots == (root,)
    assert next(CarReader(io.BytesIO(car)).sections()).block.cid == root


def test_the_manifest_is_kept_as_a_folder_with_a_cid(store: DiskStore, root: CID, tmp_path: Path) -> None:
    made = packed(store, root)
    assert write_manifest(made, tmp_path / "manifest") == keep_manifest(store, made) == keep_manifest(store, made)
    assert store.catalog.names()[f"pieces-of-{root}"] == keep_manifest(store, made)
    again = PieceManifest.read(tmp_path / "manifest")
    assert again.files() == made.files()
    assert json.loads(made.files()["pieces.json"])["root"] == str(root)


def test_shards_that_share_leaves_hold_them_each_in_its_own_piece(tmp_path: Path) -> None:
    shared = random.Random(5).randbytes(LEAF)
    (tmp_path / "src").mkdir()
    for number in range(SHARDS):
        (tmp_path / f"src/{number:03d}.bin").write_bytes(shared + random.Random(number).randbytes(2 * LEAF))
    root = published(tmp_path / "repo", tmp_path / "src")
    with DiskStore(tmp_path / "repo").open(create=False) as store:
        made = packed(store, root)
        places = list(made.blocks.find(CID.of(RAW, shared).digest))
        assert [place.piece for place in places] == sorted({place.piece for place in places})
        assert len(places) == len(made.pieces) - 1 > 2, "in all but the one that holds no shards"
        for number, piece in enumerate(made.pieces):
            assert sum(map(len, piece_bytes(store, made, number))) == piece.cid.size


def test_two_packs_into_one_folder_are_both_right(store: DiskStore, root: CID, tmp_path: Path) -> None:
    other = published(tmp_path / "repo", shards_in(tmp_path / "more", list(range(50, 50 + SHARDS))))
    made: list[PieceManifest] = []
    threads = [
        threading.Thread(target=lambda one=one: made.append(packed(store, one, tmp_path / "cars")))
        for one in (root, other, root)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 3
    for path in (tmp_path / "cars").iterdir():
        with PieceHasher() as hasher, path.open("rb") as car:
            hasher.read(car)
            assert f"{hasher.finish().cid}.car" == path.name


def test_what_a_killed_pack_left_goes_and_what_another_writes_stays(
    store: DiskStore, root: CID, tmp_path: Path
) -> None:
    cars = tmp_path / "cars"
    cars.mkdir()
    (cars / ".00000.dead.car.part").write_bytes(b"half of one")
    with (cars / ".00001.busy.car.part").open("xb") as busy:
        fcntl.flock(busy, fcntl.LOCK_EX)
        packed(store, root, cars)
        assert {path.name for path in cars.glob(".*")} == {".00001.busy.car.part"}


def test_cidv0_is_the_same_piece(tmp_path: Path) -> None:
    with DiskStore(tmp_path / "repo").open() as store:
        root = publish_folder(store, tmp_path / "src", {"a": bytes(100), "b/c": bytes(200)})
        old = CID(0, root.codec, root.multihash)
        assert packed(store, old).files() == packed(store, root).files()
        made = packed(store, old)
        assert sum(map(len, piece_bytes(store, made, 0))) == made.pieces[0].cid.size


def test_a_dataset_of_a_newer_format_is_not_cut_another_way(tmp_path: Path) -> None:
    head = json.dumps({"format": {"major": 99, "minor": 0}}).encode()
    with DiskStore(tmp_path / "repo").open() as store:
        root = publish_folder(store, tmp_path / "src", {"dataset.json": head, "manifest/00000.jsonl": b""})
        with pytest.raises((UnsupportedError, FormatError)):
            packed(store, root)


def test_what_is_not_whole_is_not_packed(store: DiskStore, root: CID, tmp_path: Path) -> None:
    path = tmp_path / "src/007.bin"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises((FileChangedError, BlockMissingError)):
        packed(store, root, tmp_path / "cars")
    assert all(path.suffix == ".car" for path in (tmp_path / "cars").iterdir()), "no half of one"
    path.unlink()
    with pytest.raises(HoldfastError):
        packed(store, root)


@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_groups_hold_every_shard_once_and_in_order(count: int) -> None:
    shards = [(CID.of(RAW, str(number % 40).encode()), 10 + number % 40) for number in range(count)]
    found = groups(shards, 100)
    assert [cid for group in found for cid in group] == list(dict.fromkeys(cid for cid, _ in shards))
    sizes = dict(shards)
    assert all(sum(sizes[cid] for cid in group) <= 100 or len(group) == 1 for group in found)
