"""`NodeTree`: the directories and files of a UnixFS tree. Nodes are fetched, hashed and remembered; leaves are not."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from ..blocks.block import Block
from ..blocks.store import BlockStore
from ..cid import CID, DAG_PB, RAW
from ..dag import walk
from ..errors import BlockMissingError, FormatError, HashMismatchError, UnsupportedError
from ..manifest import check_path
from ..sources.source import FileRef, Place

_AHEAD_OF_FILE = 64  # inner nodes of one file: 64 of them are 64 GiB
_MAX_DEPTH = 64
# Thirty directories, each with the next one in it twice, are a tree of a billion: more visits than this are a bomb.
_VISITS, _VISITS_PER_ENTRY = 1_000, 100
# Nodes of the next entries: in trees of others, a small file is one. Few at first: all of them in flight would be a
# round trip that no leaf takes part in.
_FIRST_AHEAD, _AHEAD = 4, 16


@dataclass(frozen=True, slots=True)
class TreeFile:
    """A file below a root. `tsize` is what its link says: the size of a raw file, a bound for others."""

    path: str
    cid: CID
    tsize: int


class BlockFetcher(Protocol):
    """Whoever fetches single blocks: a `FetchEngine`, or one in another process."""

    def want_block(self, cid: CID, root: CID, place: Place | None = None, urgency: float = -1.0) -> int:
        """See `FetchEngine.want_block`."""

    def take_block(self, handle: int) -> Block:
        """See `FetchEngine.take_block`."""

    def close_file(self, handle: int) -> None:
        """See `FetchEngine.close_file`."""


class NodeTree(ABC):
    """Directories and files below one root.

    `top` is the folder or file below it that `files` lists, the root itself if None; sources are asked for whole
    paths all the same, because a mirror knows no others.
    """

    def __init__(self, blocks: BlockFetcher, root: CID, nodes: BlockStore, top: TreeFile | None = None) -> None:
        self.blocks, self.root, self.nodes = blocks, root, nodes
        self.top = top or TreeFile("", root, 0)
        self._asked: dict[CID, int] = {}  # nodes on their way: handles of the engine

    def node(self, cid: CID) -> bytes:
        """A block that is not a leaf, from `nodes` or fetched into it."""
        return self.block(cid).data

    def block(self, cid: CID) -> Block:
        """See `node`. A node that rotted on our disk is fetched again, and rewritten."""
        handle, block = self._asked.pop(cid, None), None
        with suppress(BlockMissingError, HashMismatchError):
            block = self.nodes.get(cid)
        if block is None:
            handle = self.blocks.want_block(cid, self.root) if handle is None else handle
            return self.nodes.put(cid, self.blocks.take_block(handle).data)
        if handle is not None:
            self.blocks.close_file(handle)
        return block

    def ask_ahead(self, cids: Iterable[CID]) -> None:
        """Nodes that will be wanted soon: one round trip for several. Give it few; `forget` what was not wanted."""
        for cid in cids:
            if cid.codec == DAG_PB and cid not in self._asked and not self.nodes.has(cid):
                self._asked[cid] = self.blocks.want_block(cid, self.root)

    def forget(self, cids: Iterable[CID] | None = None) -> None:
        """Drop what `ask_ahead` asked for and nobody wanted: of these, or all."""
        for cid in list(self._asked if cids is None else cids):
            handle = self._asked.pop(cid, None)
            if handle is not None:
                self.blocks.close_file(handle)

    def directory(self, cid: CID) -> list[walk.DirEntry]:
        """The entries of a directory, sorted."""
        return walk.run(walk.list_directory(cid), self.node)

    def files(
        self, cid: CID | None = None, prefix: str = "", on_link: Callable[[str, str], None] | None = None
    ) -> Iterator[TreeFile]:
        """Every file below `cid` (default: `top`), depth first. A top that is a file yields itself, path "".

        `on_link` is told path and target of each symlink; what a link leads to is nobody's business here. Raises
        `UnsupportedError` for devices, and for symlinks without `on_link`, `FormatError` for names that no folder
        can hold.
        """
        try:
            yield from self._files((prefix, cid, 0) if cid else (prefix, self.top.cid, self.top.tsize), on_link)
        finally:
            self.forget()

    def _files(self, start: tuple[str, CID, int], on_link: Callable[[str, str], None] | None) -> Iterator[TreeFile]:
        stack = [start]
        seen: set[CID] = set()
        visits = known = 0  # directories entered, and entries of different ones
        ahead = _FIRST_AHEAD
        while stack:
            path, at, tsize = stack.pop()
            if at.codec == RAW:
                yield TreeFile(path, at, tsize)
                continue
            if at.codec != DAG_PB:
                raise UnsupportedError(f"{path or at}: a block of codec 0x{at.codec:x} is neither file nor directory")
            self.ask_ahead(cid for _, cid, _ in islice(reversed(stack), ahead))
            resolved = walk.run(walk.resolve(at, []), self.node)
            if resolved.kind == "directory":
                visits += 1
                if path.count("/") > _MAX_DEPTH or visits > _VISITS + _VISITS_PER_ENTRY * known:
                    raise FormatError(
                        f"{path[:80]}…: directories are nested too deep, or the same ones are there over and over"
                    )
                entries = self.directory(at)
                known += 0 if at in seen else len(entries)
                seen.add(at)
                names = [_child(path, entry.name) for entry in entries]
                stack.extend(
                    (name, entry.cid, entry.tsize or 0)
                    for name, entry in reversed(list(zip(names, entries, strict=True)))
                )
            elif resolved.kind in ("file", "raw"):
                ahead = min(ahead + 1, _AHEAD)
                yield TreeFile(path, at, tsize)
            elif resolved.kind == "symlink" and on_link is not None:
                on_link(path, walk.run(walk.link_target(at), self.node))
            else:
                raise UnsupportedError(f"{path or at} is a {resolved.kind}, which this version does not fetch")

    def find(self, path: str) -> TreeFile:
        """The file at `path`. Raises `PathNotFoundError`."""
        parent, _, name = path.rpartition("/")
        resolved = walk.run(walk.resolve(self.root, parent.split("/") if parent else []), self.node)
        for entry in self.directory(resolved.cid):
            if entry.name == name:
                return TreeFile(path, entry.cid, entry.tsize or 0)
        raise walk.PathNotFoundError(f"{path} is not in {self.root.short()}", hint="`holdfast ls` shows what is")

    def ref(self, file: TreeFile) -> FileRef:
        """Where the leaves of a file lie. Raises `NoLayoutError` for a file that `ContentReader` has to read."""
        if file.cid.codec == RAW:
            size = len(self.node(file.cid)) if file.cid == self.root else file.tsize
            layout = walk.raw_layout(file.cid, size)
        else:
            inner = walk.inner_nodes(file.cid, self.node(file.cid))[:_AHEAD_OF_FILE]
            self.ask_ahead(inner)
            try:
                layout = walk.run(walk.file_layout(file.cid), self.node)
            finally:
                self.forget(inner)
        return FileRef(self.root, self.path_of(file), layout)

    def path_of(self, file: TreeFile) -> str:
        """The path of a file below the root, as a mirror has it."""
        return "/".join(filter(None, (self.top.path, file.path)))

    @abstractmethod
    def read(self, file: TreeFile, limit: int) -> bytes:
        """A small file, whole. Raises `FormatError` when it is larger than `limit` bytes."""


def layout_of(tree: NodeTree, path: str, cid: CID, size: int) -> FileRef:
    """A file of which the manifest says path, CID and size. Raises `FormatError` when the size does not agree."""
    ref = tree.ref(TreeFile(path, cid, size))
    if ref.layout.size != size:
        raise FormatError(f"{path} has {ref.layout.size} bytes, the manifest says {size}")
    return ref


def _child(path: str, name: str) -> str:
    child = f"{path}/{name}" if path else name
    try:
        return check_path(child)
    except ValueError as error:
        raise FormatError(f"{error}") from error
