"""UnixFS trees of given files, as mirror folders: real DAGs without the publisher."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from holdfast.storage.blocks.block import Block
from holdfast.storage.cid import CID
from holdfast.storage.dag.build import Entry, build_file, build_tree
from holdfast.storage.dag.layout import FileLayout

LEAF = 16384


def file_dag(data: bytes, leaf_size: int = LEAF) -> tuple[FileLayout, Entry, list[Block]]:
    """The DAG of one file."""
    parts = [data[at : at + leaf_size] for at in range(0, len(data), leaf_size)] or [b""]
    return build_file(len(data), leaf_size, b"".join(hashlib.sha256(part).digest() for part in parts))


def mirror_folder(folder: Path, files: Mapping[str, bytes], leaf_size: int = LEAF) -> CID:
    """Write `files` and every node as a mirror has them; returns the root."""
    entries, blocks = {}, []
    for path, data in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        _, entry, nodes = file_dag(data, leaf_size)
        entries[path] = entry
        blocks += nodes
    root, nodes = build_tree(entries)
    place = folder / ".holdfast" / "blocks"
    place.mkdir(parents=True, exist_ok=True)
    for block in [*blocks, *nodes]:
        (place / str(block.cid)).write_bytes(block.data)
    return root.cid
