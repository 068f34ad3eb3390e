"""A whole tree, fetched and kept: what `get` and a peer's pin share.

Files are fetched in the order of the tree, several at once, with a bounded number of leaves asked for ahead. What
is complete is finished by threads of its own: creating and renaming small files takes longer than fetching them.
Where things go is the target's business; nothing is handed to it that was not hashed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from ..blocks.block import Block
from ..cid import CID
from ..limits import MIB
from ..sources.source import FileRef
from .engine import LeafSink
from .tree import RemoteTree, TreeFile

_AHEAD_BYTES = 64 * MIB
_CHUNK_BYTES = 16 * MIB
_MAX_OPEN = 64
_FINISHERS = 4


class Filling(LeafSink, Protocol):
    """A file on its way: `VerifiedFile`, or `MemoryFile` for a small one."""

    def missing(self, leaves: Iterable[int]) -> list[int]:
        """Those of `leaves` that are not here yet."""
        ...

    def close(self) -> None:
        """Release what is open. Idempotent."""
        ...


F = TypeVar("F", bound=Filling)


class Target(Protocol[F]):
    """Where a download goes."""

    def keep_node(self, block: Block) -> None:
        """A block that is not a leaf; may come more than once."""
        ...

    def has(self, ref: FileRef) -> bool:
        """Whether this file is here already, and right."""
        ...

    def open(self, ref: FileRef) -> F:
        """A file to fill, open; it may hold leaves from an earlier try."""
        ...

    def finish(self, ref: FileRef, file: F) -> None:
        """Every leaf is there. Closes the file and makes it visible. Called from several threads."""
        ...


@dataclass(slots=True)
class Progress:
    """What a download has done so far; `total_bytes` grows while the tree is walked."""

    files: int = 0
    bytes: int = 0
    total_bytes: int = 0


def download(
    tree: RemoteTree,
    target: Target[F],
    *,
    select: Callable[[TreeFile], bool] = lambda _: True,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Fetch every selected file of `tree` into `target`, and every node passed on the way.

    Raises what `FetchEngine.wait` and the target raise; what came until then stays where the target put it.
    """
    work = _Download(tree, target, on_progress)
    with ThreadPoolExecutor(_FINISHERS, thread_name_prefix="finish") as finishers:
        try:
            for ref in _refs(tree, select, target):
                work.add(ref, finishers)
            work.drain(finishers)
        finally:
            work.abandon()
    return work.progress


@dataclass(slots=True)
class _Open(Generic[F]):
    ref: FileRef
    file: F
    handle: int
    chunks: int = 0
    fed: bool = False


class _Download(Generic[F]):
    """The files under way. Used by one thread; only `Target.finish` runs in others."""

    def __init__(self, tree: RemoteTree, target: Target[F], on_progress: Callable[[Progress], None]) -> None:
        self.progress = Progress()
        self._engine, self._target, self._on_progress = tree.engine, target, on_progress
        self._waiting: deque[tuple[_Open[F], list[int], int]] = deque()
        self._ahead = 0
        self._open: dict[int, _Open[F]] = {}
        self._finishing: deque[Future[None]] = deque()

    def add(self, ref: FileRef, finishers: ThreadPoolExecutor) -> None:
        """Ask for a file's leaves; waits for earlier ones when enough is under way."""
        self.progress.total_bytes += ref.layout.size
        if self._target.has(ref):
            self._count(ref.layout.size, 1)
            return
        file = self._target.open(ref)
        item = _Open(ref, file, self._engine.open_file(ref, file))
        self._open[item.handle] = item
        missing = file.missing(range(ref.layout.leaves))
        self._count(ref.layout.size - sum(ref.layout.leaf_length(leaf) for leaf in missing), 0)
        for leaves, size in _chunks(missing, ref):
            while self._waiting and self._ahead + size > _AHEAD_BYTES:
                self._take(finishers)
            self._engine.want(item.handle, leaves, 1.0)
            self._waiting.append((item, leaves, size))
            item.chunks += 1
            self._ahead += size
        item.fed = True
        self._finish_if_complete(item, finishers)
        while len(self._open) > _MAX_OPEN:
            self._take(finishers)

    def drain(self, finishers: ThreadPoolExecutor) -> None:
        """Wait until everything asked for is here and kept."""
        while self._waiting:
            self._take(finishers)
        while self._finishing:
            self._finishing.popleft().result()

    def abandon(self) -> None:
        """Let go of what is not complete. Nothing to do after `drain`."""
        for item in self._open.values():
            self._engine.close_file(item.handle)
            item.file.close()
        for future in self._finishing:
            future.cancel()

    def _take(self, finishers: ThreadPoolExecutor) -> None:
        item, leaves, size = self._waiting.popleft()
        self._engine.wait(item.handle, leaves)
        self._ahead -= size
        item.chunks -= 1
        self._count(size, 0)
        self._finish_if_complete(item, finishers)

    def _finish_if_complete(self, item: _Open[F], finishers: ThreadPoolExecutor) -> None:
        if not item.fed or item.chunks:
            return
        self._engine.close_file(item.handle)
        del self._open[item.handle]
        self._finishing.append(finishers.submit(self._target.finish, item.ref, item.file))
        self._count(0, 1)
        while self._finishing and (len(self._finishing) > _MAX_OPEN or self._finishing[0].done()):
            self._finishing.popleft().result()

    def _count(self, size: int, files: int) -> None:
        self.progress.bytes += size
        self.progress.files += files
        self._on_progress(self.progress)


def _refs(tree: RemoteTree, select: Callable[[TreeFile], bool], target: Target[F]) -> Iterator[FileRef]:
    """The files in order; nodes are handed to the target as they are passed."""
    kept = _KeepingNodes(tree, target)
    for file in kept.files():
        if select(file):
            yield kept.ref(file)


class _KeepingNodes(RemoteTree, Generic[F]):
    """A tree that hands every node it reads to the target."""

    def __init__(self, tree: RemoteTree, target: Target[F]) -> None:
        super().__init__(tree.engine, tree.root, tree.nodes, tree.top)
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
