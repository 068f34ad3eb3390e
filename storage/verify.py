"""`verify`: is every byte of a dataset what its root says? Of a copy on this disk, or of what sources serve."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from .blocks.block import Block, inline
from .blocks.content_check import check_content
from .blocks.hashing import hash_file
from .cid import CID, IDENTITY, RAW
from .dag import walk
from .dag.layout import FileLayout
from .errors import BlockMissingError, ConfigError, FormatError, HashMismatchError, HoldfastError
from .fetch.tree import RemoteTree, TreeFile
from .sources.mirror import BLOCKS_FOLDER

MAX_FINDINGS = 1000
OUR_FOLDER = BLOCKS_FOLDER.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not right: a path (or CID), and what is wrong with it."""

    path: str
    problem: str


@dataclass(frozen=True, slots=True)
class Verification:
    """The verdict on one root. `findings` holds the first 1,000."""

    root: CID
    files: int
    bytes: int
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether everything held."""
        return not self.findings


class _NullSink:
    """Hashes leaves and keeps nothing."""

    def __init__(self, layout: FileLayout) -> None:
        self._layout = layout

    def write(self, leaf: int, data: bytes | memoryview) -> None:
        """See `LeafSink.write`."""
        if hashlib.sha256(data).digest() != self._layout.leaf_digest(leaf):
            raise HashMismatchError(f"leaf {leaf} of {self._layout.cid.short()}")


def verify_sources(tree: RemoteTree, on_bytes: Callable[[int], None] = lambda _: None) -> Verification:
    """Read everything below the tree's root from its sources, and hash it.

    What cannot be had, or only wrong, is a finding. Raises `UnavailableError` when not even the root can be had.
    """
    files = total = 0
    findings: list[Finding] = []
    if tree.root.codec != RAW:
        tree.node(tree.root)  # not even the root: that is no finding, but nothing to verify
    for file in tree.files(on_link=lambda _path, _target: None):
        try:
            try:
                ref = tree.ref(file)
            except walk.NoLayoutError:
                total += _read_content(tree, file, on_bytes)
                files += 1
                continue
            handle = tree.engine.open_file(ref, _NullSink(ref.layout))
            try:
                for start in range(0, ref.layout.leaves, 256):
                    leaves = range(start, min(start + 256, ref.layout.leaves))
                    tree.engine.want(handle, leaves, 0.0)
                    tree.engine.wait(handle, leaves)
                    on_bytes(sum(ref.layout.leaf_length(leaf) for leaf in leaves))
            finally:
                tree.engine.close_file(handle)
            files += 1
            total += ref.layout.size
        except HoldfastError as error:
            if len(findings) < MAX_FINDINGS:
                findings.append(Finding(file.path, error.message))
    return Verification(tree.root, files, total, tuple(findings))


def _read_content(tree: RemoteTree, file: TreeFile, on_bytes: Callable[[int], None]) -> int:
    size = 0
    for data in tree.content(file):
        size += len(data)
        on_bytes(len(data))
    return size


class FolderCopy:
    """A folder that `get` made: plain files, and their nodes in `.holdfast/blocks`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._nodes = folder / BLOCKS_FOLDER

    def node(self, cid: CID) -> bytes:
        """A node, hashed. Raises `BlockMissingError` or `HashMismatchError`."""
        if own := inline(cid):
            return own.data
        try:
            return Block.verify(cid, (self._nodes / str(cid.v1())).read_bytes()).data
        except OSError as error:
            raise BlockMissingError(f"{BLOCKS_FOLDER}/{cid} cannot be read: {error.strerror}") from error

    def root(self) -> CID:
        """The one node that no other links to. Raises `ConfigError` when there is none, or several."""
        names = [path.name for path in self._nodes.glob("*")] if self._nodes.is_dir() else []
        try:
            cids = {CID.parse(name) for name in names}
        except FormatError as error:
            raise ConfigError(f"{self._nodes} holds something that is no block: {error.message}") from error
        linked: set[CID] = set()
        for cid in cids:
            try:
                linked.update(child.v1() for child in self._linked(cid))
            except HoldfastError:
                continue  # a rotten node: found again, and named, by the walk from the root
        tops = cids - linked
        if len(tops) != 1:
            raise ConfigError(
                f"{self.folder} is not one dataset: {len(tops)} roots in {BLOCKS_FOLDER}",
                hint="name a folder that `holdfast get` made, or give --root CID",
            )
        return tops.pop()

    def _linked(self, cid: CID) -> Iterator[CID]:
        """What a node links to, itself or through nodes inside of its links. Those get ever smaller: it ends."""
        stack = [cid]
        while stack:
            here = stack.pop()
            for child in walk.children(here.codec, self.node(here)):
                yield child
                if child.hash_code == IDENTITY:
                    stack.append(child)


def verify_folder(
    folder: Path, root: CID | None = None, on_bytes: Callable[[int], None] = lambda _: None
) -> Verification:
    """Hash every file of a copy against its nodes. `root`: what it should be; None: what its nodes say.

    Files that the root does not list are findings too: nothing vouches for them.

    Raises `ConfigError` when it is no copy at all.
    """
    copy = FolderCopy(folder)
    root = root or copy.root()
    files = total = 0
    findings: list[Finding] = []
    seen: set[str] = set()  # files, and folders whose node could not be read
    stack = [("", root, 0)]
    while stack:
        path, cid, tsize = stack.pop()
        try:
            kind = "raw" if cid.codec == RAW else walk.run(walk.resolve(cid, []), copy.node).kind
            if kind == "directory":
                entries = walk.run(walk.list_directory(cid), copy.node)
                stack.extend((f"{path}/{e.name}".lstrip("/"), e.cid, e.tsize or 0) for e in reversed(entries))
                continue
            seen.add(path or str(cid))  # a file that is itself the root goes by its CID
            if kind == "symlink":
                _check_link(folder / path, walk.run(walk.link_target(cid), copy.node))
                continue
            size = _check_file(folder / (path or str(cid)), cid, tsize, copy)
            files += 1
            total += size
            on_bytes(size)
        except HoldfastError as error:
            seen.add(path)
            if len(findings) < MAX_FINDINGS:
                findings.append(Finding(path or str(cid), error.message))
    if "" not in seen:
        others = islice(_others(folder, seen), MAX_FINDINGS - len(findings))
        findings.extend(Finding(name, "is not part of the dataset") for name in others)
    return Verification(root, files, total, tuple(findings))


def _others(folder: Path, seen: set[str]) -> Iterator[str]:
    """Files and links below `folder`, ours in `.holdfast` aside, that are neither in `seen` nor below it."""
    skipped = seen | {OUR_FOLDER}
    for place, folders, names in os.walk(folder):
        at = Path(place).relative_to(folder)
        inside = [name for name in folders if not (Path(place) / name).is_symlink()]
        links = set(folders) - set(inside)
        folders[:] = sorted(name for name in inside if str(at / name) not in skipped)
        for name in sorted(links.union(names)):
            if (path := str(at / name)) not in skipped:
                yield os.fsencode(path).decode(errors="replace")  # may be no UTF-8, and is printed


def _check_link(path: Path, target: str) -> None:
    """`get` makes no links, so that there may be none; one that somebody made has to be the dataset's."""
    if path.is_symlink():
        if os.fsencode(path.readlink()).decode(errors="replace") != target:
            raise HashMismatchError(f"is another symlink than the dataset's, which leads to {target[:200]!r}")
    elif path.exists():
        raise HashMismatchError("is no symlink, as the dataset has it")


def _check_file(path: Path, cid: CID, tsize: int, copy: FolderCopy) -> int:
    try:
        layout = walk.raw_layout(cid, tsize) if cid.codec == RAW else walk.run(walk.file_layout(cid), copy.node)
    except walk.NoLayoutError:
        try:
            return check_content(path, cid, copy.node)
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    _check_leaves(path, layout)
    return layout.size


def _check_leaves(path: Path, layout: FileLayout) -> None:
    found = hash_file(path, layout.leaf_size)
    if found.stamp.size != layout.size:
        raise HashMismatchError(f"has {found.stamp.size} bytes, expected {layout.size}")
    wrong = [
        leaf for leaf in range(layout.leaves) if found.digests[32 * leaf : 32 * leaf + 32] != layout.leaf_digest(leaf)
    ]
    if wrong:
        start, end = layout.leaf_range(wrong[0])
        raise HashMismatchError(
            f"{len(wrong)} of {layout.leaves} leaves are wrong, the first at bytes {start}-{end - 1}"
        )
