"""`diff`: what one version of a tree has that another has not: files by path, and of changed ones the new leaves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from .dag.walk import NoLayoutError
from .errors import UnsupportedError
from .fetch.node_tree import NodeTree, TreeFile

Kind = Literal["added", "removed", "changed", "moved"]

MAX_LEAVES = 4_000_000  # of files that are gone or changed: 400 MB of digests; 4 TB of leaves of 1 MiB


@dataclass(frozen=True, slots=True)
class Change:
    """A file that is not the same in both. `bytes`: of the new one, or of the one that is gone.

    `moved`: the same file was there under another name, as shards behind one that was put in between are. Where one
    came to stand in the place of a file that is gone, this one is `removed` under the same path. `new_bytes`: of its
    leaves that are in no file that is gone, not in what was in its place, and in no other new one before it.
    """

    path: str
    kind: Kind
    bytes: int
    new_bytes: int


@dataclass(frozen=True, slots=True)
class Diff:
    """`changes` by path; `unchanged` files are the same under the same path. Their bytes, and those of files that were
    moved, are with those of their nodes.
    """

    changes: tuple[Change, ...]
    unchanged: int
    unchanged_bytes: int

    @property
    def new_bytes(self) -> int:
        """What has to be sent again, in all."""
        return sum(change.new_bytes for change in self.changes)


def diff(old: NodeTree, new: NodeTree) -> Diff:
    """Compare two trees; directories that are the same are read all the same, leaves never.

    Raises as `NodeTree.files` does; `UnsupportedError` where more than `MAX_LEAVES` leaves are gone or changed.
    """
    before, after = _files(old), _files(new)
    gone = {path: file for path, file in before.items() if after.get(path) != file}
    come = {path: file for path, file in after.items() if before.get(path) != file}
    files, still = ({file.cid for file in tree.values()} for tree in (before, after))
    moved = {path for path, file in come.items() if file.cid in files}
    known: set[bytes] = set()
    changes = []
    for path, file in gone.items():
        elsewhere = file.cid in still
        if elsewhere and (path not in come or path in moved):
            continue
        size = 0
        for digest, length in _leaves(old, file):
            known.add(digest)
            size += length
            if len(known) > MAX_LEAVES:
                raise UnsupportedError(
                    f"more than {MAX_LEAVES} leaves are gone or changed",
                    hint="by so much they differ: treat them as two datasets",
                )
        if not elsewhere and (path not in come or path in moved):
            changes.append(Change(path, "removed", size, 0))
    for path, file in come.items():
        if path in moved:
            changes.append(Change(path, "moved", file.tsize, 0))
            continue
        size = fresh = 0
        for digest, length in _leaves(new, file):
            size += length
            if digest not in known:
                fresh += length
                if len(known) < MAX_LEAVES:
                    known.add(digest)
        changes.append(Change(path, "changed" if path in gone else "added", size, fresh))
    same = [file for path, file in after.items() if path not in come]
    changes.sort(key=lambda change: (change.path, change.kind))
    return Diff(tuple(changes), len(same), sum(file.tsize for file in same))


def _files(tree: NodeTree) -> dict[str, TreeFile]:
    return {file.path: file for file in tree.files(on_link=lambda _path, _target: None)}


def _leaves(tree: NodeTree, file: TreeFile) -> Iterator[tuple[bytes, int]]:
    """Multihash and size of each leaf; of a file without a layout of leaves, its own."""
    try:
        layout = tree.ref(file).layout
    except NoLayoutError:
        yield file.cid.multihash, file.tsize
        return
    for leaf in range(layout.leaves):
        start = leaf * layout.leaf_size
        yield layout.leaf_cid(leaf).multihash, min(layout.leaf_size, layout.size - start)
