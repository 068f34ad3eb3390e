"""`RepoStat`: what a repository holds, in numbers."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .disk import FORMAT, DiskStore


@dataclass(frozen=True, slots=True)
class RepoStat:
    """Counts and bytes. `referenced`: the user's own files, which lie elsewhere; `stray`: in our folder, but in no
    catalogue: half-written, or left by a kill. `pins` by status; `free_bytes` of the disk.
    """

    format: str
    path: str
    names: int
    pins: dict[str, int]
    owned_files: int
    owned_bytes: int
    referenced_files: int
    referenced_bytes: int
    nodes: int
    node_bytes: int
    leaves: int
    leaf_segments: int
    stray_files: int
    stray_bytes: int
    free_bytes: int


def stat(store: DiskStore) -> RepoStat:
    """Look at names and sizes; reads no data. Raises `StoreError`."""
    rows = store.catalog.look  # `repo verify` asks before it knows whether the catalogue may be written to

    def pair(query: str) -> tuple[int, int]:
        ((first, second),) = rows(query)
        try:
            return int(str(first)), int(str(second))
        except ValueError as error:
            raise store.catalog.damaged("files", error) from error

    owned = {bytes(path) for (path,) in rows("SELECT path FROM files WHERE owned = 1") if isinstance(path, bytes)}
    strays = []
    for entry in os.scandir(store.files_folder.absolute()):
        with suppress(FileNotFoundError):  # somebody's at work
            if store.catalog.spelled(Path(entry.path)) not in owned:
                strays.append(entry.stat())
    nodes = store.nodes.sizes()
    segments = store.leaves.segment_bytes()
    return RepoStat(
        FORMAT.strip(), str(store.folder), pair("SELECT count(*), 0 FROM names")[0],
        {str(status): int(str(count)) for status, count in rows("SELECT status, count(*) FROM pins GROUP BY status")},
        *pair("SELECT count(*), coalesce(sum(size), 0) FROM files WHERE owned = 1"),
        *pair("SELECT count(*), coalesce(sum(size), 0) FROM files WHERE owned = 0"),
        len(nodes), sum(nodes),
        sum((size - 16) // 48 for size in segments), len(segments),
        len(strays), sum(about.st_blocks * 512 for about in strays), shutil.disk_usage(store.folder).free,
    )  # fmt: skip
