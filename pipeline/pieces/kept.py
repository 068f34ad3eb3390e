"""`manifest_for`: the piece manifest of a dataset: the one that was kept in the repository, or made anew and kept."""

from __future__ import annotations

from functools import partial

from ...storage.blocks.disk import DiskStore
from ...storage.cid import CID
from ...storage.errors import HoldfastError
from ...storage.fetch.node_tree import TreeFile
from ...storage.pieces.manifest import BLOCKS, LAYERS, PIECES, PieceManifest
from ...storage.session import Session, user_policy
from ...storage.sources.local import Local
from ...storage.uri import DatasetUri
from .keep import keep_manifest
from .pack import OnBytes, pack

_MAX_BYTES = 4 << 30  # of one of its files: 64 M blocks, which is 1 TB at 16 KiB


def manifest_for(store: DiskStore, root: CID, on_bytes: OnBytes = lambda _done, _total: None) -> PieceManifest:
    """Reads and folds the whole dataset only the first time. Raises as `pack` and `keep_manifest` do."""
    kept = store.catalog.names().get(f"pieces-of-{root.v1()}")
    if kept is not None:
        try:
            found = _read(store, kept)
            if found.root == root.v1():
                return found
        except HoldfastError:
            pass  # a part of it was lost: it is made anew, the same
    return pack(store, root, on_bytes=on_bytes, on_made=partial(keep_manifest, store))


def _read(store: DiskStore, cid: CID) -> PieceManifest:
    with Session(DatasetUri(cid), [Local(store)], policy=user_policy()) as session:
        files = {
            entry.name: session.tree.read(TreeFile(entry.name, entry.cid, entry.tsize or 0), _MAX_BYTES)
            for entry in session.tree.directory(cid)
        }
    return PieceManifest.parse(files[PIECES], files[BLOCKS], files[LAYERS])
