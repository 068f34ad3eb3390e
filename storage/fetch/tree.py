"""`RemoteTree`: a UnixFS tree seen through an engine of this process: its nodes, and its files whole."""

from __future__ import annotations

from ..blocks.memory_file import MemoryFile
from ..blocks.store import BlockStore
from ..cid import CID
from ..dag import walk
from ..errors import FormatError
from ..sources.source import FileRef
from .content import ContentReader, Kept
from .engine import FetchEngine
from .node_tree import NodeTree, TreeFile, layout_of


class RemoteTree(NodeTree):
    """See `NodeTree`."""

    def __init__(self, engine: FetchEngine, root: CID, nodes: BlockStore, top: TreeFile | None = None) -> None:
        super().__init__(engine, root, nodes, top)
        self.engine = engine

    def content(self, file: TreeFile, kept: Kept | None = None) -> ContentReader:
        """A reader of any file, block by block; slower than `ref` and leaves."""
        return ContentReader(self.engine, self.nodes, self.root, file.cid, self.path_of(file), file.tsize, kept)

    def read(self, file: TreeFile, limit: int) -> bytes:
        """A small file, whole. Raises `FormatError` when it is larger than `limit` bytes."""
        try:
            ref = self.ref(file)
        except walk.NoLayoutError:
            return self._read_content(file, limit)
        if ref.layout.size > limit:
            raise FormatError(f"{file.path} has {ref.layout.size} bytes, more than {limit}")
        sink = MemoryFile(ref.layout)
        fetch_all(self.engine, ref, sink)
        return sink.content()

    def _read_content(self, file: TreeFile, limit: int) -> bytes:
        reader, data = self.content(file), bytearray()
        for part in reader:
            data += part
            if max(reader.size or 0, len(data)) > limit:
                raise FormatError(f"{file.path} has {reader.size} bytes, more than {limit}")
        return bytes(data)


def fetch_all(engine: FetchEngine, ref: FileRef, sink: MemoryFile) -> None:
    """Every leaf of a file, now."""
    handle = engine.open_file(ref, sink)
    try:
        leaves = range(ref.layout.leaves)
        engine.want(handle, leaves, 0.0)
        engine.wait(handle, leaves)
    finally:
        engine.close_file(handle)


__all__ = ["RemoteTree", "TreeFile", "fetch_all", "layout_of"]
