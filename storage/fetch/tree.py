"""`RemoteTree`: a UnixFS tree seen through an engine. Nodes are fetched, hashed and remembered; leaves are not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..blocks.block import Block
from ..blocks.memory_file import MemoryFile
from ..blocks.store import BlockStore
from ..cid import CID, DAG_PB, RAW
from ..dag import walk
from ..dag.layout import FileLayout
from ..errors import BlockMissingError, FormatError, HashMismatchError, UnsupportedError
from ..manifest import check_path
from ..sources.source import FileRef
from .engine import FetchEngine


@dataclass(frozen=True, slots=True)
class TreeFile:
    """A file below a root. `tsize` is what its link says: the size of a raw file, a bound for others."""

    path: str
    cid: CID
    tsize: int


class RemoteTree:
    """Directories and files below one root.

    `top` is the folder or file below it that `files` lists, the root itself if None; sources are asked for whole
    paths all the same, because a mirror knows no others.
    """

    def __init__(self, engine: FetchEngine, root: CID, nodes: BlockStore, top: TreeFile | None = None) -> None:
        self.engine, self.root, self.nodes = engine, root, nodes
        self.top = top or TreeFile("", root, 0)

    def node(self, cid: CID) -> bytes:
        """A block that is not a leaf, from `nodes` or fetched into it."""
        return self.block(cid).data

    def block(self, cid: CID) -> Block:
        """See `node`. A node that rotted on our disk is fetched again, and rewritten."""
        try:
            return self.nodes.get(cid)
        except (BlockMissingError, HashMismatchError):
            block = self.engine.block(cid, self.root)
            return self.nodes.put(cid, block.data)

    def directory(self, cid: CID) -> list[walk.DirEntry]:
        """The entries of a directory, sorted."""
        return walk.run(walk.list_directory(cid), self.node)

    def files(self, cid: CID | None = None, prefix: str = "") -> Iterator[TreeFile]:
        """Every file below `cid` (default: `top`), depth first. A top that is a file yields itself, path "".

        Raises `UnsupportedError` for symlinks and devices, `FormatError` for names that no folder can hold.
        """
        stack = [(prefix, cid, 0) if cid else (prefix, self.top.cid, self.top.tsize)]
        seen: set[CID] = set()
        while stack:
            path, at, tsize = stack.pop()
            if at.codec == RAW:
                yield TreeFile(path, at, tsize)
                continue
            if at.codec != DAG_PB:
                raise UnsupportedError(f"{path or at}: a block of codec 0x{at.codec:x} is neither file nor directory")
            resolved = walk.run(walk.resolve(at, []), self.node)
            if resolved.kind == "directory":
                if path.count("/") > 64 or (at in seen and len(seen) > 100_000):
                    raise FormatError(f"{path[:80]}…: directories are nested too deep")
                seen.add(at)
                entries = self.directory(at)
                names = [_child(path, entry.name) for entry in entries]
                stack.extend(
                    (name, entry.cid, entry.tsize or 0)
                    for name, entry in reversed(list(zip(names, entries, strict=True)))
                )
            elif resolved.kind in ("file", "raw"):
                yield TreeFile(path, at, tsize)
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
        """Where the leaves of a file lie."""
        if file.cid.codec == RAW:
            size = len(self.node(file.cid)) if file.cid == self.root else file.tsize
            layout = walk.raw_layout(file.cid, size)
        else:
            layout = walk.run(walk.file_layout(file.cid), self.node)
        return FileRef(self.root, "/".join(filter(None, (self.top.path, file.path))), layout)

    def read(self, file: TreeFile, limit: int) -> bytes:
        """A small file, whole. Raises `FormatError` when it is larger than `limit` bytes."""
        ref = self.ref(file)
        if ref.layout.size > limit:
            raise FormatError(f"{file.path} has {ref.layout.size} bytes, more than {limit}")
        sink = MemoryFile(ref.layout)
        fetch_all(self.engine, ref, sink)
        return sink.content()


def fetch_all(engine: FetchEngine, ref: FileRef, sink: MemoryFile) -> None:
    """Every leaf of a file, now."""
    handle = engine.open_file(ref, sink)
    try:
        leaves = range(ref.layout.leaves)
        engine.want(handle, leaves, 0.0)
        engine.wait(handle, leaves)
    finally:
        engine.close_file(handle)


def layout_of(tree: RemoteTree, path: str, cid: CID, size: int) -> FileRef:
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


__all__ = ["FileLayout", "RemoteTree", "TreeFile", "fetch_all", "layout_of"]
