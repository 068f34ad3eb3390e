"""`Dataset`: one version of a dataset, seen through an engine: its head, its manifest, its files."""

from __future__ import annotations

from collections.abc import Iterator

from .cid import CID
from .errors import ConfigError, FormatError
from .fetch.node_tree import NodeTree, TreeFile, layout_of
from .limits import MAX_HEAD_BYTES, MAX_MANIFEST_PAGE_BYTES
from .manifest import (
    HEAD_PATH,
    Head,
    IndexFile,
    Partition,
    Shard,
    ShardPage,
    decode_head,
    decode_page,
    page_path,
)
from .sources.source import FileRef


class Dataset:
    """Typed, verified views of a published root. Construction does no IO; `open` reads the head."""

    def __init__(self, tree: NodeTree) -> None:
        self.tree = tree
        self._head: Head | None = None
        self._pages: dict[int, ShardPage] = {}
        self._page_files: dict[str, TreeFile] = {}

    @property
    def root(self) -> CID:
        """The version's CID."""
        return self.tree.root

    def open(self) -> Dataset:
        """Fetch and check the head.

        Raises `FormatError` when this root is no dataset, and what fetching raises.
        """
        entries = {entry.name: entry for entry in self.tree.directory(self.root)}
        if HEAD_PATH not in entries or "manifest" not in entries:
            raise FormatError(
                f"{self.root.short()} has no {HEAD_PATH}: it is not a holdfast dataset",
                hint="`holdfast get` fetches any folder; training needs one that `holdfast publish` made",
            )
        head = entries[HEAD_PATH]
        self.tree.ask_ahead([entries["manifest"].cid])  # on its way while the head is read: one round trip for both
        self._head = decode_head(self.tree.read(TreeFile(HEAD_PATH, head.cid, head.tsize or 0), MAX_HEAD_BYTES))
        if len(self._head.pages) != -(-self._head.shards // 4096):
            raise FormatError(f"{HEAD_PATH}: {len(self._head.pages)} pages for {self._head.shards} shards")
        self._page_files = {
            f"manifest/{entry.name}": TreeFile(f"manifest/{entry.name}", entry.cid, entry.tsize or 0)
            for entry in self.tree.directory(entries["manifest"].cid)
        }
        return self

    @property
    def head(self) -> Head:
        """`dataset.json`."""
        if self._head is None:
            raise RuntimeError("open() the dataset first")
        return self._head

    def page(self, number: int) -> ShardPage:
        """The shards of one manifest page."""
        if number not in self._pages:
            file = self._page_files.get(page_path(number))
            if file is None:
                raise FormatError(f"{page_path(number)} is not in {self.root.short()}")
            self._pages[number] = decode_page(self.tree.read(file, MAX_MANIFEST_PAGE_BYTES), number, self.head)
        return self._pages[number]

    def shards(self, partition: str | None = None) -> Iterator[Shard]:
        """Every shard, in order; of one partition if named."""
        if partition is not None:
            self.partition(partition)
        for number in range(len(self.head.pages)):
            for shard in self.page(number):
                if partition is None or shard.partition == partition:
                    yield shard

    def partition(self, name: str | None) -> Partition:
        """A partition by name; None is the whole dataset. Raises `ConfigError` with the names there are."""
        if name is None:
            return Partition(name="", first_sample=0, samples=self.head.samples)
        for partition in self.head.partitions:
            if partition.name == name:
                return partition
        names = ", ".join(partition.name for partition in self.head.partitions) or "none"
        raise ConfigError(f"there is no partition {name!r}", hint=f"partitions of this dataset: {names}")

    def shard_file(self, shard: Shard) -> FileRef:
        """Where the leaves of a shard lie."""
        return layout_of(self.tree, shard.path, CID.parse(shard.cid), shard.bytes)

    def index_file(self, index: IndexFile) -> FileRef:
        """Where the leaves of a shard's index lie."""
        return layout_of(self.tree, index.path, CID.parse(index.cid), index.bytes)
