"""A whole tree, fetched and kept: what `get` and a peer's pin share.

Files are fetched in the order of the tree, two in turn, with a bounded number of leaves asked for ahead. What
is complete is finished by threads of its own: creating and renaming small files takes longer than fetching them.
Where things go is the target's business; nothing is handed to it that was not hashed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from ..blocks.block import Block
from ..cid import CID
from ..dag.files import NoLayoutError
from ..errors import IntegrityError, UnavailableError
from ..limits import MIB
from ..sources.source import FileRef
from .content import Kept
from .engine import LeafSink
from .lies import name_lie
from .tree import RemoteTree, TreeFile

_AHEAD_BYTES = 512 * MIB  # wants, not memory: with 50 ms before each answer, 64 MiB are too few to keep a line busy
_CHUNK_BYTES = 4 * MIB
_LANES = 2  # files that are asked for in turn: two threads that write into one wait for its lock in the kernel
_MAX_OPEN = 64
_FINISHERS = 4
_MAX_LINKS = 1000  # named ones
_MAX_TARGET = 256  # characters of a target that are shown: whoever made the dataset wrote it


class Filling(LeafSink, Protocol):
    """A file on its way: `VerifiedFile`, or `MemoryFile` for a small one."""

    def missing(self, leaves: Iterable[int]) -> list[int]:
        """Those of `leaves` that are not here yet."""
        ...

    def close(self) -> None:
        """Release what is open. Idempotent."""
        ...


class ContentSink(Kept, Protocol):
    """A file without a `FileLayout`, on its way: written in order, once."""

    def write(self, data: bytes) -> None:
        """The next bytes of the file."""
        ...

    def finish(self) -> None:
        """All of it is there: make it visible."""
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

    def content_size(self, file: TreeFile, path: str) -> int | None:
        """Bytes of a file without a `FileLayout` if it is here already, and right; None if not.

        `path`: below the root.
        """
        ...

    def open_content(self, file: TreeFile, path: str) -> ContentSink:
        """A place for such a file."""
        ...


@dataclass(slots=True)
class Progress:
    """What a download has done so far; `total_bytes` grows while the tree is walked.

    `links`: the symlinks passed on the way, as "path → target". They are not made: where they lead is up to whoever
    wrote them.
    """

    files: int = 0
    bytes: int = 0
    total_bytes: int = 0
    links: list[str] = field(default_factory=list)


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
            kept = _KeepingNodes(tree, target)
            for file in kept.files(on_link=work.note_link):
                if not select(file):
                    continue
                try:
                    ref = kept.ref(file)
                except NoLayoutError:
                    work.add_content(kept, file)
                else:
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
        self._feeding: deque[tuple[_Open[F], Iterator[tuple[list[int], int]]]] = deque()
        self._ahead = self._asked = 0
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
        self._feeding.append((item, _chunks(missing, ref)))
        self._feed(_LANES, finishers)
        while len(self._open) > _MAX_OPEN and self._waiting:
            self._take(finishers)

    def _feed(self, lanes: int, finishers: ThreadPoolExecutor) -> None:
        """Ask for chunks of the files in turn, until fewer than `lanes` of these have any left."""
        while len(self._feeding) >= lanes:
            item, chunks = self._feeding.popleft()
            chunk = next(chunks, None)
            if chunk is None:
                item.fed = True
                self._finish_if_complete(item, finishers)
                continue
            leaves, size = chunk
            while self._waiting and self._ahead + size > _AHEAD_BYTES:
                self._take(finishers)
            self._asked += 1
            self._engine.want(item.handle, leaves, float(self._asked))
            self._waiting.append((item, leaves, size))
            item.chunks += 1
            self._ahead += size
            self._feeding.append((item, chunks))

    def add_content(self, tree: RemoteTree, file: TreeFile) -> None:
        """Fetch a file that has no layout, whole, while the leaves of others come."""
        path = tree.path_of(file)
        size = self._target.content_size(file, path)
        if size is not None:
            self.progress.total_bytes += size
            self._count(size, 1)
            return
        sink = self._target.open_content(file, path)
        reader = tree.content(file, sink)
        try:
            done = 0
            for data in reader:
                self.progress.total_bytes += 0 if done else reader.size or 0
                sink.write(data)
                done += len(data)
                self._count(len(data), 0)
            sink.finish()
            self._count(0, 1)
        finally:
            reader.close()
            sink.close()

    def note_link(self, path: str, target: str) -> None:
        """A symlink is not made; who asked for the download is told."""
        if len(self.progress.links) < _MAX_LINKS:
            words = f"{path} → {target[:_MAX_TARGET]}"
            self.progress.links.append("".join(char if char.isprintable() else "�" for char in words))

    def drain(self, finishers: ThreadPoolExecutor) -> None:
        """Wait until everything asked for is here and kept."""
        self._feed(1, finishers)
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
        try:
            self._engine.wait(item.handle, leaves)
        except (IntegrityError, UnavailableError) as error:
            failed = [leaf for leaf in leaves if (item.handle, leaf) in self._engine.planner.failed]
            raise name_lie(self._engine, item.ref, failed) or error from error
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
