"""`MirrorFolder`: a download target that becomes a complete provider: plain files, and the nodes beside them.

DEST/
  dataset.json, manifest/…, data/…, index/…     as published
  .holdfast/blocks/<cid>                        every node
  .holdfast/partial/                            while it is being fetched; gone at the end
"""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

from ..blocks.atomic import write_atomic
from ..blocks.block import Block
from ..blocks.hashing import hash_file
from ..blocks.verified_file import VerifiedFile, disk_error
from ..cid import RAW
from ..errors import ConfigError, HoldfastError
from ..manifest import check_path
from ..sources.mirror import BLOCKS_FOLDER
from ..sources.source import FileRef


class MirrorFolder:
    """A `download.Target` on a folder. What is there already is hashed, and kept if it is right."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._partial = folder / ".holdfast" / "partial"
        self._lineage = secrets.randbits(63)
        self._nodes: set[bytes] = set()

    def open_folder(self) -> MirrorFolder:
        """Create the folder. Raises `ConfigError` when it holds something else than an earlier `get`."""
        try:
            if self.folder.exists() and not self.folder.is_dir():
                raise ConfigError(f"{self.folder} is a file", hint="name a folder")
            if self.folder.exists() and any(self.folder.iterdir()) and not (self.folder / ".holdfast").is_dir():
                raise ConfigError(f"{self.folder} is not empty", hint="name a new or an empty folder")
            self._partial.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error(error, self.folder) from error
        return self

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
        if not path.exists():
            write_atomic(path, block.data, durable=False)

    def _place(self, ref: FileRef) -> Path:
        return self.folder / (check_path(ref.path) if ref.path else str(ref.layout.cid))

    def has(self, ref: FileRef) -> bool:
        """See `Target.has`."""
        path, layout = self._place(ref), ref.layout
        try:
            if path.is_symlink() or not path.is_file() or path.stat().st_size != layout.size:
                return False
            return hash_file(path, layout.leaf_size).digests == layout.digests
        except (HoldfastError, OSError):
            return False

    def open(self, ref: FileRef) -> VerifiedFile:
        """See `Target.open`. Equal files have one CID: the path tells them apart."""
        stem = f"{ref.layout.cid}-{hashlib.sha256(ref.path.encode()).hexdigest()[:16]}"
        return VerifiedFile(self._partial / stem, self._partial / f"{stem}.marks", ref.layout).open(self._lineage)

    def finish(self, ref: FileRef, file: VerifiedFile) -> None:
        """See `Target.finish`."""
        path = self._place(ref)
        try:
            file.sync()
            path.parent.mkdir(parents=True, exist_ok=True)
            file.path.replace(path)
            file.marks_path.unlink(missing_ok=True)
        except OSError as error:
            raise disk_error(error, path) from error
        finally:
            file.close()
