"""`MirrorFolder`: a download target that becomes a complete provider: plain files, and the nodes beside them.

DEST/
  dataset.json, manifest/…, data/…, index/…     as published
  .holdfast/blocks/<cid>                        every node; leaves as well where they are no plain ranges of the file
  .holdfast/partial/                            while it is being fetched; gone at the end

Nothing is synced: kill -9 loses nothing, and after a power cut another `get` into the folder hashes what is there and
fetches what is not right. A sync of everything at the end cost a third of the time of a `get`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
from pathlib import Path

from ..blocks.atomic import write_atomic
from ..blocks.block import Block
from ..blocks.content_check import check_content
from ..blocks.hashing import hash_file
from ..blocks.memory import MemoryStore
from ..blocks.memory_file import MemoryFile
from ..blocks.stamp import is_still
from ..blocks.store import BlockStore
from ..blocks.verified_file import VerifiedFile, disk_error
from ..cid import CID, IDENTITY, RAW
from ..errors import ConfigError, FormatError, HoldfastError
from ..manifest import check_path
from ..sources.mirror import BLOCKS_FOLDER
from ..sources.source import FileRef
from .content_file import ContentFile
from .folder_nodes import FolderNodes
from .tree import TreeFile

_OURS = ".holdfast"
_LOCK = "lock"
_NOTHING = MemoryStore()


class MirrorFolder:
    """A `download.Target` on a folder. What is there already is hashed, and kept if it is right.

    `top`: the path below the root that becomes the folder itself.
    """

    def __init__(self, folder: Path, top: str = "") -> None:
        self.folder, self._top = folder, top
        self._partial = folder / _OURS / "partial"
        self._lineage = secrets.randbits(63)
        self._nodes: set[bytes] = set()
        self._lock_fd = -1  # held shared by every `get` into this folder

    def open_folder(self) -> MirrorFolder:
        """Create the folder. Raises `ConfigError` when it holds something else than an earlier `get`."""
        try:
            if self.folder.exists() and not self.folder.is_dir():
                raise ConfigError(f"{self.folder} is a file", hint="name a folder")
            if self.folder.exists() and any(self.folder.iterdir()) and not (self.folder / _OURS).is_dir():
                raise ConfigError(f"{self.folder} is not empty", hint="name a new or an empty folder")
            for folder in (self._partial, self.folder / BLOCKS_FOLDER):
                self._inside(folder)
            while not self._locked():  # another `get` ended, and tidied up, between two of our steps
                pass
        except OSError as error:
            raise disk_error(error, self.folder) from error
        return self

    def _locked(self) -> bool:
        path = self._partial / _LOCK
        self._partial.mkdir(parents=True, exist_ok=True)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        except FileNotFoundError:
            return False
        fcntl.flock(fd, fcntl.LOCK_SH)
        if not is_still(fd, path):
            os.close(fd)
            return False
        self._lock_fd = fd
        return True

    def claim(self, top: CID) -> None:
        """Say what will be fetched. Raises `ConfigError` when the folder holds a copy of something else.

        A raw block has no node to tell by.
        """
        place = self.folder / BLOCKS_FOLDER
        if top.codec == RAW or (place / str(top.v1())).is_file():
            return
        try:
            others = place.is_dir() and any(_is_cid(path.name) for path in place.iterdir())
        except OSError as error:
            raise disk_error(error, place) from error
        if others:
            raise ConfigError(
                f"{self.folder} holds a copy of something else than {top}",
                hint="name a new or an empty folder: two datasets in one would be mixed, and neither could be checked",
            )

    def close(self) -> None:
        """Drop the folder for partial files, unless something is left in it. Idempotent.

        What a killed `get` left half-written goes with it, if no other one fills this folder now.
        """
        fd, self._lock_fd = self._lock_fd, -1
        if fd < 0:
            return
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # marks without their file: a kill came right behind the renaming
            widows = [path for path in self._partial.glob("*.marks") if not path.with_suffix("").exists()]
            for path in [*self._partial.glob(".*.tmp"), *widows, self._partial / _LOCK]:
                path.unlink(missing_ok=True)
            self._partial.rmdir()
        except OSError:  # another one is here, or leaves for it to go on from
            return
        finally:
            os.close(fd)

    def keep_node(self, block: Block) -> None:
        """See `Target.keep_node`. Raw blocks are ranges of files; inline ones are in their CID."""
        if block.cid.multihash in self._nodes or block.cid.codec == RAW or block.cid.hash_code == IDENTITY:
            return
        self._nodes.add(block.cid.multihash)
        path = self.folder / BLOCKS_FOLDER / str(block.cid.v1())
        if path.is_symlink() or not _holds(path, block.data):
            write_atomic(path, block.data, durable=False, beside=self._partial)

    def content_size(self, file: TreeFile, path: str) -> int | None:
        """See `Target.content_size`. Raises as `has` does."""
        place = self._place(path, file.cid)
        try:
            return None if place.is_symlink() else check_content(place, file.cid, self._node)
        except (HoldfastError, OSError):
            return None

    def open_content(self, file: TreeFile, path: str) -> ContentFile:
        """See `Target.open_content`."""
        partial = self._partial / f"{_stem(file.cid, path)}.content"
        return ContentFile(self._place(path, file.cid), partial, self._node, self.keep_node)

    def nodes(self, others: BlockStore) -> FolderNodes:
        """The nodes that are here, then those of another store: what an earlier `get` kept is not fetched again."""
        return FolderNodes(self.folder / BLOCKS_FOLDER, others)

    def _node(self, cid: CID) -> bytes:
        return self.nodes(_NOTHING).node(cid)

    def _place(self, path: str, cid: CID) -> Path:
        path = path.removeprefix(self._top).lstrip("/")
        path = check_path(path) if path else str(cid)
        if path.split("/")[0] == _OURS:
            raise FormatError(f"{path}: a dataset has nothing to write in {_OURS}")
        self._inside((self.folder / path).parent)
        return self.folder / path

    def _inside(self, folder: Path) -> None:
        """No symlink on the way down from our folder: what it leads to is not ours to write."""
        for place in (folder, *folder.parents):
            if place == self.folder:
                return
            if place.is_symlink():
                raise ConfigError(f"{place} is a symlink, which is not followed", hint="remove it")

    def has(self, ref: FileRef) -> bool:
        """See `Target.has`. Raises `ConfigError` for a symlink in the way, `FormatError` for a name of ours."""
        path, layout = self._place(ref.path, ref.layout.cid), ref.layout
        try:
            if path.is_symlink() or not path.is_file() or path.stat().st_size != layout.size:
                return False
            return hash_file(path, layout.leaf_size).digests == layout.digests
        except (HoldfastError, OSError):
            return False

    def open(self, ref: FileRef) -> VerifiedFile | MemoryFile:
        """See `Target.open`. A file of one leaf is kept in memory: there is nothing of it to go on from.

        Equal files have one CID: the path tells their partial files apart.
        """
        if ref.layout.leaves == 1:
            return MemoryFile(ref.layout)
        stem = _stem(ref.layout.cid, ref.path)
        return VerifiedFile(self._partial / stem, self._partial / f"{stem}.marks", ref.layout).open(self._lineage)

    def finish(self, ref: FileRef, file: VerifiedFile | MemoryFile) -> None:
        """See `Target.finish`."""
        path = self._place(ref.path, ref.layout.cid)
        if isinstance(file, MemoryFile):
            write_atomic(path, file.content(), durable=False, beside=self._partial)
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file.path.replace(path)
            file.marks_path.unlink(missing_ok=True)
        except OSError as error:
            raise disk_error(error, path) from error
        finally:
            file.close()


def _stem(cid: CID, path: str) -> str:
    return f"{cid}-{hashlib.sha256(path.encode()).hexdigest()[:16]}"


def _is_cid(name: str) -> bool:
    try:
        return bool(CID.parse(name))
    except FormatError:
        return False


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.read_bytes() == data
    except OSError:
        return False
