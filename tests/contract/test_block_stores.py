"""Every block store keeps the contract of `BlockStore`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from contract.block_store import BlockStoreContract

from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.blocks.memory import MemoryStore
from holdfast.storage.blocks.nodes import NodeStore
from holdfast.storage.cid import CID


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class TestMemoryStore(BlockStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> MemoryStore:
        return MemoryStore()

    def rot(self, store: MemoryStore, cid: CID) -> None:
        store._blocks[cid.multihash] += b"!"

    def kept(self, store: MemoryStore) -> object:
        return dict(store._blocks)


class TestNodeStore(BlockStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> NodeStore:
        return NodeStore(tmp_path / "nodes")

    def rot(self, store: NodeStore, cid: CID) -> None:
        path = Path(store._place(cid))
        path.write_bytes(path.read_bytes()[:-1] + b"!")

    def kept(self, store: NodeStore) -> object:
        return _files(store.folder)


class TestDiskStore(BlockStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[DiskStore]:
        with DiskStore(tmp_path / "repo").open() as store:
            yield store

    def rot(self, store: DiskStore, cid: CID) -> None:
        path = Path(store.nodes._place(cid))
        path.write_bytes(path.read_bytes()[:-1] + b"!")

    def kept(self, store: DiskStore) -> object:
        return _files(store.nodes.folder)
