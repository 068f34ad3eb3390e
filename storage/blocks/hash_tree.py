"""Files and folders of this machine as UnixFS DAGs, hashed where they lie (profile unixfs-v1-2025, IPIP-499)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..cid import DAG_PB
from ..dag import unixfs
from ..dag.build import Entry, build_directory, build_file
from ..dag.dagpb import PBNode
from ..dag.dagpb import encode as encode_pb
from ..errors import ConfigError
from .block import Block
from .hashing import hash_files


@dataclass(frozen=True, slots=True)
class _Folder:
    path: Path
    files: list[Path]
    links: list[Path]
    folders: list[Path]


def hash_tree(path: Path, leaf_size: int) -> Entry:
    """The link to a file or folder. Hidden files are left out, symlinks kept, empty folders included.

    Raises `ConfigError` for what is missing, unreadable, or neither file, folder nor link.
    """
    if not path.exists():
        raise ConfigError(f"{path} does not exist", hint="check the path")
    if path.is_file():
        return _file_entries([path], leaf_size)[path]
    made: dict[Path, Entry] = {}
    for folder in _folders(path):
        entries = _file_entries(folder.files, leaf_size)
        entries |= {link: _symlink(link) for link in folder.links}
        entries |= {below: made.pop(below) for below in folder.folders}
        made[folder.path] = build_directory({child.name: entry for child, entry in entries.items()})[0]
    return made[path]


def _folders(top: Path) -> Iterator[_Folder]:
    """Every folder, those inside before those outside."""

    def fail(error: OSError) -> None:
        raise ConfigError(f"{error.filename} cannot be read: {error.strerror}", hint="check its permissions") from error

    for where, names, files in os.walk(top, topdown=False, onerror=fail):
        here = Path(where)
        if any(part.startswith(".") for part in here.relative_to(top).parts):
            continue
        children = [here / name for name in (*names, *files) if not name.startswith(".")]
        links = [child for child in children if child.is_symlink()]
        plain = [child for child in children if child not in set(links)]
        below = [child for child in plain if child.is_dir()]
        # a pipe, socket or device stays among the files, whose hashing refuses it by name
        yield _Folder(here, [child for child in plain if child not in set(below)], links, below)


def _file_entries(paths: list[Path], leaf_size: int) -> dict[Path, Entry]:
    hashed = hash_files(paths, leaf_size)
    return {file.path: build_file(file.stamp.size, leaf_size, file.digests)[1] for file in hashed}


def _symlink(path: Path) -> Entry:
    target = os.fsencode(path.readlink())
    data = unixfs.encode(unixfs.UnixFSNode(unixfs.NodeType.SYMLINK, target))
    block = Block.encode(DAG_PB, encode_pb(PBNode((), data)))
    return Entry(block.cid, len(block.data))
