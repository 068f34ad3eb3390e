"""`Drawn`: challenges over a tree, as questions that a source can be asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ...storage.cid import CID, RAW
from ...storage.dag.walk import NoLayoutError
from ...storage.errors import ConfigError, UnsupportedError
from ...storage.fetch.tree import RemoteTree, TreeFile
from ...storage.sources.source import FileRef
from ...storage.uri import DatasetUri
from .challenge import LeafQuestion
from .draw import draw

_EMPTY = CID.of(RAW, b"")


@dataclass(frozen=True, slots=True)
class Drawn:
    """What is asked for. The questions are made anew for each provider: there may be a million of them."""

    seed: bytes
    root: CID
    samples: int
    sizes: list[int]
    refs: dict[int, FileRef]  # of the files that were drawn

    def questions(self) -> Iterator[LeafQuestion]:
        """In the order of the draw."""
        for challenge in draw(self.seed, self.root, self.sizes, self.samples):
            ref = self.refs[challenge.file]
            # a link's size counts the nodes below it, too: bytes behind the end are those of the last leaf
            leaf = min(challenge.offset // ref.layout.leaf_size, ref.layout.leaves - 1)
            yield LeafQuestion(challenge.number, ref, leaf)


def drawn(tree: RemoteTree, where: DatasetUri, seed: bytes, samples: int) -> Drawn:
    """Draw challenges over the files below `where`.

    Raises `ConfigError` for a tree without one byte, `UnsupportedError` for a file whose leaves are no ranges of it.
    """
    if where.path:
        tree = RemoteTree(tree.engine, where.root, tree.nodes, tree.find(where.path))
    files: list[TreeFile] = []
    sizes: list[int] = []
    for file in tree.files(on_link=lambda _path, _target: None):
        size = file.tsize or _size(tree, file)
        if size:
            files.append(replace(file, tsize=size))
            sizes.append(size)
    if not files:
        raise ConfigError(
            f"there is nothing to audit in {where}: no file has a byte", hint="check the CID and the path"
        )
    refs: dict[int, FileRef] = {}
    for challenge in draw(seed, where.root, sizes, samples):
        if challenge.file not in refs:
            refs[challenge.file] = _ref(tree, files[challenge.file])
    return Drawn(seed, where.root, samples, sizes, refs)


def _size(tree: RemoteTree, file: TreeFile) -> int:
    """The size of a file whose link says none, or that is the root itself."""
    if file.cid.codec == RAW:
        return 0 if file.cid == _EMPTY else len(tree.node(file.cid))
    return _ref(tree, file).layout.size


def _ref(tree: RemoteTree, file: TreeFile) -> FileRef:
    try:
        return tree.ref(file)
    except NoLayoutError as error:
        raise UnsupportedError(
            f"{tree.path_of(file) or file.cid} cannot be audited: its leaves are no plain ranges of it",
            hint="publish it with holdfast, or add it to Kubo with --cid-version=1 --raw-leaves",
        ) from error
