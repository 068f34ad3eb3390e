"""`diff`: what one version of a tree has that another has not: files by path, and of changed ones the new leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .cid import CID
from .dag.walk import NoLayoutError
from .fetch.node_tree import NodeTree, TreeFile

Kind = Literal["added", "removed", "changed"]


@dataclass(frozen=True, slots=True)
class Change:
    """A file that is not the same in both. `bytes`: of the new one, or of the one that is gone.

    `new_bytes`: of its leaves that no file had that is gone or changed: what has to be sent again.
    """

    path: str
    kind: Kind
    bytes: int
    new_bytes: int


@dataclass(frozen=True, slots=True)
class Diff:
    """`changes` by path; `unchanged` files are the same under the same path, their bytes with those of their nodes."""

    changes: tuple[Change, ...]
    unchanged: int
    unchanged_bytes: int

    @property
    def new_bytes(self) -> int:
        """What has to be sent again, in all."""
        return sum(change.new_bytes for change in self.changes)


def diff(old: NodeTree, new: NodeTree) -> Diff:
    """Compare two trees; directories that are the same are read all the same, leaves never. Raises as `files` does."""
    before, after = _files(old), _files(new)
    gone = {path: file for path, file in before.items() if after.get(path, file) != file or path not in after}
    come = {path: file for path, file in after.items() if before.get(path) != file}
    leaves = {path: _leaves(old, file) for path, file in gone.items()}
    known = {leaf for found in leaves.values() for leaf, _ in found}
    changes = [Change(path, "removed", _size(leaves[path]), 0) for path in gone if path not in come]
    for path, file in come.items():
        found = _leaves(new, file)
        fresh = sum(size for leaf, size in found if leaf not in known)
        changes.append(Change(path, "changed" if path in gone else "added", _size(found), fresh))
    same = [file for path, file in after.items() if path not in come]
    return Diff(tuple(sorted(changes, key=lambda change: change.path)), len(same), sum(file.tsize for file in same))


def _files(tree: NodeTree) -> dict[str, TreeFile]:
    return {file.path: file for file in tree.files(on_link=lambda _path, _target: None)}


def _size(leaves: list[tuple[CID, int]]) -> int:
    return sum(size for _, size in leaves)


def _leaves(tree: NodeTree, file: TreeFile) -> list[tuple[CID, int]]:
    """CID and size of each leaf; of a file without a layout of leaves, itself."""
    try:
        layout = tree.ref(file).layout
    except NoLayoutError:
        return [(file.cid, file.tsize)]
    ends = [min((leaf + 1) * layout.leaf_size, layout.size) for leaf in range(layout.leaves)]
    return [(layout.leaf_cid(leaf), end - leaf * layout.leaf_size) for leaf, end in enumerate(ends)]
