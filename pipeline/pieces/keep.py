"""Keep a piece manifest: in the repository, pinned, or as a folder."""

from __future__ import annotations

import time
from pathlib import Path

from ...storage.blocks.atomic import write_atomic
from ...storage.blocks.disk import DiskStore
from ...storage.blocks.hash_tree import hash_tree
from ...storage.blocks.lease import lease
from ...storage.cid import CID
from ...storage.dag.build import build_tree
from ...storage.limits import DEFAULT_LEAF_BYTES
from ...storage.pieces.manifest import PieceManifest
from ..keeper import Keeper
from ..name import point_name


def keep_manifest(store: DiskStore, manifest: PieceManifest) -> CID:
    """Into the repository, under the name `pieces-of-ROOT`. Raises `StoreError`, `DiskFullError`."""
    with lease(store.folder, "publish"), Keeper(store, DEFAULT_LEAF_BYTES) as keeper:
        files = {name: keeper.keep_bytes(data, ".piece").entry for name, data in manifest.files().items()}
        entry, nodes = build_tree(files)
        keeper.flush()
        for node in nodes:
            store.put(node.cid, node.data)
        store.nodes.sync()
        point_name(store.catalog, f"pieces-of-{manifest.root}", entry.cid, time.time_ns())
    return entry.cid


def write_manifest(manifest: PieceManifest, folder: Path) -> CID:
    """As a folder; its CID is the one of `keep_manifest`. Raises `StoreError`, `DiskFullError`."""
    for name, data in manifest.files().items():
        write_atomic(folder / name, data)
    return hash_tree(folder, DEFAULT_LEAF_BYTES).cid
