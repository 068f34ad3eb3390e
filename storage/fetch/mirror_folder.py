"""`MirrorFolder`: a download target that becomes a complete provider: plain files, and the nodes beside them.

DEST/
  dataset.json, manifest/…, data/…, index/…     as published
  .holdfast/blocks/<cid>                        every node
  .holdfast/partial/                            while it is being fetched; gone at the end

Nothing is synced: kill -9 loses nothing, and after a power cut another `get` into the folder hashes what is there and
fetches what is not right. A sync of everything at the end cost a third of the time of a `get`.
"""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

from ..blocks.atomic import write_atomic
from ..blocks.block import Block
from ..blocks.hashing import hash_file
from ..blocks.memory_file import MemoryFile
from ..blocks.verified_file import VerifiedFile, disk_error
from ..cid import CID, RAW
from ..errors import ConfigError, FormatError, HoldfastError
from ..manifest import check_path
from ..sources.mirror import BLOCKS_FOLDER
from ..sources.source import FileRef

_OURS = ".holdfast"


class MirrorFolder:
    """A `download.Target` on a folder. What is there already is hashed, and kept if it is right.

    `top`: the path below the root that becomes the folder itself.
    """

    def __init__(self, folder: Path, top: str = "") -> None:
        self.folder, self._top = folder, top
        self._partial = folder / _OURS / "partial"
        self._lineage = secrets.randbits(63)
        self._nodes: set[bytes] = set()

    def open_folder(self) -> MirrorFolder:
        """Create the folder. Raises `ConfigError` when it holds something else than an earlier `get`."""
        try:
            if self.folder.exists() and not self.folder.is_dir():
                raise ConfigError(f"{self.folder} is a file", hint="name a folder")
            if self.folder.exists() and any(self.folder.iterdir()) and not (self.folder / _OURS).is_dir():
                raise ConfigError(f"{self.folder} is not empty", hint="name a new or an empty folder")
            for folder in (self._partial, self.folder / BLOCKS_FOLDER):
                self._inside(folder)
            self._partial.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error(error, self.folder) from error
        return self

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
        """Drop the folder for partial files, unless something is left in it."""
        try:
            self._partial.rmdir()
        except OSError:
            return

    def keep_node(self, block: Block) -> None:
        """See `Target.keep_node`. Raw blocks are files, not nodes."""
        if block.cid.multihash in self._nodes or block.cid.codec == RAW:
            return
        self._nodes.add(block.cid.multihash)
        path = self.folder / BLOCKS_FOLDER / str(block.cid.v1())
        if path.is_symlink() or not _holds(path, block.data):
            write_atomic(path, block.data, durable=False)

    def _place(self, ref: FileRef) -> Path:
        path = ref.path.removeprefix(self._top).lstrip("/")
        path = check_path(path) if path else str(ref.layout.cid)
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
        path, layout = self._place(ref), ref.layout
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
        stem = f"{ref.layout.cid}-{hashlib.sha256(ref.path.encode()).hexdigest()[:16]}"
        return VerifiedFile(self._partial / stem, self._partial / f"{stem}.marks", ref.layout).open(self._lineage)

    def finish(self, ref: FileRef, file: VerifiedFile | MemoryFile) -> None:
        """See `Target.finish`."""
        path = self._place(ref)
        if isinstance(file, MemoryFile):
            write_atomic(path, file.content(), durable=False)
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file.path.replace(path)
            file.marks_path.unlink(missing_ok=True)
        except OSError as error:
            raise disk_error(error, path) from error
        finally:
            file.close()


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
