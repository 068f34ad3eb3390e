"""A whole tree, fetched and kept: what `get` and a peer's pin share.

Files are fetched in the order of the tree, several at once, with a bounded number of leaves asked for ahead. Where
things go is the target's business; nothing is handed to it that was not hashed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from ..blocks.block import Block
from ..blocks.verified_file import VerifiedFile
from ..cid import CID
from ..limits import MIB
from ..sources.source import FileRef
from .tree import RemoteTree, TreeFile

_AHEAD_BYTES = 64 * MIB
_CHUNK_BYTES = 16 * MIB
_MAX_OPEN = 64


class Target(Protocol):
    """Where a download goes."""

    def keep_node(self, block: Block) -> None:
        """A block that is not a leaf; may come more than once."""

    def has(self, ref: FileRef) -> bool:
        """Whether this file is here already, and right."""

    def open(self, ref: FileRef) -> VerifiedFile:
        """A file to fill, open; it may hold leaves from an earlier try."""

    def finish(self, ref: FileRef, file: VerifiedFile) -> None:
        """Every leaf is there. Closes the file and makes it visible."""


@dataclass(slots=True)
class Progress:
    """What a download has done so far; `total_bytes` grows while the tree is walked."""

    files: int = 0
    bytes: int = 0
    total_bytes: int = 0


@dataclass(slots=True)
class _Open:
    ref: FileRef
    file: VerifiedFile
    handle: int
    chunks: int = 0
    fed: bool = False


def download(
    tree: RemoteTree,
    target: Target,
    *,
    select: Callable[[TreeFile], bool] = lambda _: True,
    on_progress: Callable[[Progress], None] = lambda _: None,
    before_file: Callable[[FileRef], None] = lambda _: None,
) -> Progress:
    """Fetch every selected file of `tree` into `target`, and every node passed on the way.

    `before_file` may refuse (a quota) by raising. Raises what `FetchEngine.wait` and the target raise; what came
    until then stays where the target put it.
    """
    progress = Progress()
    waiting: deque[tuple[_Open, list[int], int]] = deque()
    ahead = 0
    opened: list[_Open] = []

    def take() -> None:
        nonlocal ahead
        item, leaves, size = waiting.popleft()
        tree.engine.wait(item.handle, leaves)
        ahead -= size
        progress.bytes += size
        item.chunks -= 1
        on_progress(progress)
        _finish(item)

    def _finish(item: _Open) -> None:
        if item.fed and not item.chunks:
            tree.engine.close_file(item.handle)
            opened.remove(item)
            target.finish(item.ref, item.file)
            progress.files += 1

    try:
        for ref in _refs(tree, select, target):
            progress.total_bytes += ref.layout.size
            if target.has(ref):
                progress.bytes += ref.layout.size
                progress.files += 1
                on_progress(progress)
                continue
            before_file(ref)
            file = target.open(ref)
            item = _Open(ref, file, tree.engine.open_file(ref, file))
            opened.append(item)
            missing = file.missing(range(ref.layout.leaves))
            progress.bytes += ref.layout.size - sum(ref.layout.leaf_length(leaf) for leaf in missing)
            for leaves, size in _chunks(missing, ref):
                while waiting and ahead + size > _AHEAD_BYTES:
                    take()
                tree.engine.want(item.handle, leaves, 1.0)
                waiting.append((item, leaves, size))
                item.chunks += 1
                ahead += size
            item.fed = True
            _finish(item)
            while len(opened) > _MAX_OPEN:
                take()
        while waiting:
            take()
    finally:
        for item in opened:
            tree.engine.close_file(item.handle)
            item.file.close()
    return progress


def _refs(tree: RemoteTree, select: Callable[[TreeFile], bool], target: Target) -> Iterator[FileRef]:
    """The files in order; nodes are handed to the target as they are passed."""
    kept = _KeepingNodes(tree, target)
    for file in kept.files():
        if select(file):
            yield kept.ref(file)


class _KeepingNodes(RemoteTree):
    """A tree that hands every node it reads to the target."""

    def __init__(self, tree: RemoteTree, target: Target) -> None:
        super().__init__(tree.engine, tree.root, tree.nodes)
        self._target = target

    def block(self, cid: CID) -> Block:
        block = super().block(cid)
        self._target.keep_node(block)
        return block


def _chunks(leaves: list[int], ref: FileRef) -> Iterator[tuple[list[int], int]]:
    chunk: list[int] = []
    size = 0
    for leaf in leaves:
        chunk.append(leaf)
        size += ref.layout.leaf_length(leaf)
        if size >= _CHUNK_BYTES:
            yield chunk, size
            chunk, size = [], 0
    if chunk:
        yield chunk, size
