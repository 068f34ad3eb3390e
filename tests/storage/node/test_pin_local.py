"""`LocalPins`: what it calls pinned is here, and stays here, whatever a gc does meanwhile."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest

from holdfast.pipeline.publish import publish
from holdfast.storage.blocks import collect as collecting
from holdfast.storage.blocks import lease as leases
from holdfast.storage.blocks.car_file import first_missing
from holdfast.storage.blocks.collect import collect
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.cid import CID, RAW
from holdfast.storage.errors import BlockMissingError, FormatError
from holdfast.storage.node import pin_local
from holdfast.storage.node.pin_local import LocalPins
from holdfast.storage.pins.pin import Status
from support.ageing import age
from support.dags import Dag
from support.running_node import publish_folder
from support.trees import LEAF

KIB = 1 << 10
FILES = {
    "data/large": random.Random(1).randbytes(9 * LEAF + 7),
    "data/small": b"a file of one leaf",
    "deep/er/empty": b"",
}


def publish_text(repo: Path, folder: Path, seed: int) -> CID:
    folder.mkdir(exist_ok=True)
    (folder / "f.txt").write_text(random.Random(seed).randbytes(60 * KIB).hex())
    return publish(folder, name="a", repo=repo, leaf_size=16 * KIB).root


@pytest.mark.parametrize("owned", [True, False])
def test_a_pin_made_between_the_walk_and_the_sweep_of_a_gc_keeps_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owned: bool
) -> None:
    with DiskStore(tmp_path / "repo").open() as store:
        if owned:
            root = publish_text(tmp_path / "repo", tmp_path / "src", 1)
            LocalPins(store).rm("local-a")
        else:
            root = publish_folder(store, tmp_path / "src", FILES)
        age(store)
        walk = collecting.reach

        def walk_and_pin(*given: object) -> object:
            found = walk(*given)  # type: ignore[arg-type]
            assert LocalPins(store).add(root, "late", ()).status is Status.PINNED
            return found

        monkeypatch.setattr(collecting, "reach", walk_and_pin)
        collect(store)
        assert first_missing(store, root) is None
    with DiskStore(tmp_path / "repo").open() as store:
        assert first_missing(store, root) is None


def test_pinning_beside_a_gc_is_either_refused_or_lasts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "MARGIN_NS", 20_000_000)
    repo, source = tmp_path / "repo", tmp_path / "src"
    DiskStore(repo).open().close()
    done, problems = threading.Event(), list[BaseException]()
    outcomes: list[bool] = []

    def sweep() -> None:
        with DiskStore(repo).open() as store:
            while not done.is_set():
                try:
                    collect(store)
                except BaseException as error:
                    problems.append(error)
                    return

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    try:
        for number in range(25):
            root = publish_text(repo, source, number)
            with DiskStore(repo).open() as store:
                pins = LocalPins(store)
                pins.rm("local-a")
                age(store)  # not before: a gc that is past its walk would free what still has a name
                try:
                    pin = pins.add(root, "kept", ())
                except BlockMissingError:
                    outcomes.append(False)
                    assert pins.ls() == []
                    continue
                outcomes.append(True)
                assert first_missing(store, root) is None, "pinned, and yet freed"
                for _ in range(3):
                    done.wait(0.005)
                    assert first_missing(store, root) is None, "pinned, and yet freed"
                pins.rm(pin.requestid)
    finally:
        done.set()
        sweeper.join()
    assert not problems
    assert any(outcomes)


def test_a_published_root_gets_a_pin_of_its_own_which_outlives_the_name(tmp_path: Path) -> None:
    old = publish_text(tmp_path / "repo", tmp_path / "src", 1)
    with DiskStore(tmp_path / "repo").open() as store:
        pins = LocalPins(store)
        pin = pins.add(old, "mine", ())
        assert pin.name == "mine"
        assert not pin.requestid.startswith("local-")
        assert pins.add(old, "again", ()) == pin
        assert publish_text(tmp_path / "repo", tmp_path / "src", 2) != old
        age(store)
        collect(store)
        assert first_missing(store, old) is None


@pytest.mark.parametrize("harm", ["deleted", "other bytes", "cut"])
def test_what_is_no_longer_on_the_disk_is_not_pinned(tmp_path: Path, harm: str) -> None:
    with DiskStore(tmp_path / "repo").open() as store:
        root = publish_folder(store, tmp_path / "src", FILES)
        path = tmp_path / "src/data/large"
        match harm:
            case "deleted":
                path.unlink()
            case "other bytes":
                path.write_bytes(bytes(len(FILES["data/large"])))
            case _:
                path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(BlockMissingError, match="is not complete in"):
            LocalPins(store).add(root, "", ())
        assert LocalPins(store).ls() == []
        path.write_bytes(FILES["data/large"])
        assert LocalPins(store).add(root, "", ()).status is Status.PINNED, "another stamp, the same bytes"


def test_a_rotten_node_is_not_pinned(tmp_path: Path) -> None:
    with DiskStore(tmp_path / "repo").open() as store:
        root = publish_folder(store, tmp_path / "src", FILES)
        Path(store.nodes._place(root)).write_bytes(b"rotten")
        with pytest.raises(BlockMissingError, match="is not complete in"):
            LocalPins(store).add(root, "", ())
        assert LocalPins(store).ls() == []


def test_no_record_is_left_by_any_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with DiskStore(tmp_path / "repo").open() as store:
        malformed = CID.of(0x70, b"\xff\xff")
        store.put(malformed, b"\xff\xff")
        with pytest.raises(FormatError):
            LocalPins(store).add(malformed, "", ())
        assert LocalPins(store).ls() == []
        monkeypatch.setattr(pin_local, "rely_on", fail)
        with pytest.raises(KeyboardInterrupt):
            LocalPins(store).add(CID.of(RAW, b"x"), "", ())
        assert LocalPins(store).ls() == []


def test_a_leaf_that_is_a_block_of_its_own_counts_once_it_is_there(tmp_path: Path) -> None:
    leaf = CID.of(RAW, b"a leaf")
    with DiskStore(tmp_path / "repo").open() as store:
        root = Dag(store).directory(f=leaf)
        with pytest.raises(BlockMissingError, match="is not complete in"):
            LocalPins(store).add(root, "", ())
        store.put(leaf, b"a leaf")
        assert LocalPins(store).add(root, "", ()).status is Status.PINNED
