"""A DAG as several CARs at once: each block once, all verified by whoever reads them, and no half of it in silence."""

import io
import random
import threading
from pathlib import Path

import pytest

from holdfast.storage.blocks.car_file import cars, export_car
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.cid import CID
from holdfast.storage.dag.car import CarReader
from holdfast.storage.errors import BlockMissingError
from support.running_node import publish_folder

FILES = {f"f{number}": random.Random(number).randbytes(150_000) for number in range(6)}


def read_all(parts: list[object]) -> list[bytes | Exception]:
    """Each in a thread of its own."""
    found: list[bytes | Exception] = [b""] * len(parts)

    def read(number: int) -> None:
        try:
            found[number] = b"".join(parts[number])  # type: ignore[arg-type]
        except Exception as error:
            found[number] = error

    threads = [threading.Thread(target=read, args=(number,)) for number in range(len(parts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def root_of(store: DiskStore, tmp_path: Path) -> CID:
    return publish_folder(store, tmp_path / "src", FILES)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_together_they_hold_each_block_once(tmp_path: Path, count: int) -> None:
    with DiskStore(tmp_path / "repo").open() as store:
        root = root_of(store, tmp_path)
        seen: list[bytes] = []
        for data in read_all(list(cars(store, [root], count))):
            assert isinstance(data, bytes)
            reader = CarReader(io.BytesIO(data))
            assert reader.roots == (root,)
            seen += [section.block.cid.multihash for section in reader.sections()]
        assert len(seen) == len(set(seen))
        export_car(store, root, tmp_path / "whole.car")
        with (tmp_path / "whole.car").open("rb") as whole:
            assert set(seen) == {block.cid.multihash for block in CarReader(whole)}
        assert len(seen) > len(FILES)


def test_a_node_that_is_gone_is_an_error_in_all_of_them(tmp_path: Path) -> None:
    with DiskStore(tmp_path / "repo").open() as store:
        root = root_of(store, tmp_path)
        for path in store.nodes.folder.glob("??/*"):
            if CID.of(0x70, path.read_bytes()) != root:
                path.unlink()
        found = read_all(list(cars(store, [root], 3)))
        assert all(isinstance(error, BlockMissingError) for error in found), found


def test_a_file_that_changed_is_never_sent_as_it_was(tmp_path: Path) -> None:
    with DiskStore(tmp_path / "repo").open() as store:
        root = root_of(store, tmp_path)
        (tmp_path / "src/f3").write_bytes(b"x" * 150_000)
        assert any(isinstance(error, Exception) for error in read_all(list(cars(store, [root], 2))))
