"""`DiskStore`: a repository. Blocks are ranges of files (the user's or its own), or small files of their own.

    REPO/
      format        "holdfast-repo 1"
      catalog.db    files with their stamps, names, pins (SQLite)
      nodes/        blocks that are not leaves, one file each
      leaves/       sorted arrays: leaf → file, offset, length
      files/        files that the repository owns: packed shards, pinned files, imported CARs
      leases/       who is putting something together: see `lease`
      sweep.lock    see `sweep_lock`
      import.lock   see `car_resume`
      packing/      pieces for Filecoin that a pack has finished, until it has made all

A block may have several locations; each is tried until one hashes right. A file whose stamp differs from that of
its last hashing is read, hashed and, if it is not what it was, named in a `FileChangedError`: never served.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from ..cid import CID, SHA2_256_PREFIX
from ..dag.layout import FileLayout
from ..errors import BlockMissingError, ConfigError, FileChangedError, HashMismatchError, StoreError
from ..limits import MAX_BLOCK_BYTES
from .atomic import write_atomic
from .block import Block
from .catalog import Catalog, FileRow
from .hashing import HashedFile
from .leaf_index import REFERENCE_DTYPE, LeafIndex, LeafRef
from .nodes import NodeStore
from .stamp import Stamp
from .sweep_lock import SweepLock
from .verified_file import disk_error

FORMAT = "holdfast-repo 1\n"
_MAX_OPEN_FILES = 128
_MAX_OFFSET = 1 << 63  # more than a file can have: a rotten leaf index says so


class OpenFile:
    """A descriptor on one of the store's files, and whether its stamp is that of the last hashing."""

    def __init__(self, row: FileRow) -> None:
        self.row = row
        self.fd = os.open(row.place, os.O_RDONLY | os.O_CLOEXEC)

    def trusted(self) -> bool:
        """Compare the stamp now: call before bytes leave unhashed, and again after."""
        return self.row.trusted(Stamp.of(self.fd))

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.fd)


class DiskStore:
    """A `BlockStore` in a folder. Safe from any thread, and beside other processes on the same folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.catalog = Catalog(folder / "catalog.db")
        self.sweep = SweepLock(folder / "sweep.lock")
        self.nodes = NodeStore(folder / "nodes", self.sweep)
        self.leaves = LeafIndex(folder / "leaves")
        self.files_folder = folder / "files"
        self._open_files: OrderedDict[int, OpenFile] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, *, create: bool = True) -> DiskStore:
        """Open, or create in an absent or empty folder.

        Raises `ConfigError` when there is none, or when the folder holds something else.
        """
        marker = self.folder / "format"
        try:
            if marker.exists():
                found = marker.read_bytes()[:64].decode(errors="replace")
                if found != FORMAT:
                    raise ConfigError(
                        f"{self.folder} was written by a newer holdfast ({found.strip()!r})",
                        hint="upgrade holdfast",
                    )
            elif not create:
                raise ConfigError(f"no repository at {self.folder}", hint="name one with --repo, or publish first")
            elif self.folder.exists() and any(not path.name.startswith(".format.") for path in self.folder.iterdir()):
                raise ConfigError(
                    f"{self.folder} is not a repository, and not empty",
                    hint="name an empty folder with --repo",
                )
            else:
                write_atomic(marker, FORMAT.encode())  # first: a kill right behind it leaves a repository
            for folder in (self.nodes.folder, self.leaves.folder, self.files_folder):
                folder.mkdir(exist_ok=True)
        except OSError as error:
            raise disk_error(error, self.folder) from error
        self.catalog.open()
        return self

    def close(self) -> None:
        """Close every file. Idempotent."""
        with self._lock:
            for file in self._open_files.values():
                file.close()
            self._open_files.clear()
        self.catalog.close()

    def __enter__(self) -> DiskStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- blocks

    def get(self, cid: CID) -> Block:
        """See `BlockStore.get`."""
        rotten: HashMismatchError | None = None
        if self.nodes.has(cid):
            try:
                return self.nodes.get(cid)
            except HashMismatchError as error:  # a file may hold it too
                rotten = error
        changed: Path | None = None
        for row, offset, length in self._locations(cid):
            try:
                data = self._read(row, offset, length)
            except OSError:
                data = b""
            if cid.matches(data):
                return Block(cid, data)
            changed = row.path
        if changed is not None:
            raise FileChangedError(
                f"{changed} is no longer the file that was published: block {cid.short()} is not served from it",
                hint=f"restore {changed}, or publish its folder again",
            )
        raise rotten or BlockMissingError(f"block {cid.short()} is not in {self.folder}")

    def peek(self, cid: CID) -> bytes | None:
        """The bytes of a leaf out of a file whose stamp is that of its last hashing: not hashed now.

        For whoever hands them to somebody who hashes them. None when there is none: `get` reads and hashes.
        """
        for row, offset, length in self._locations(cid):
            try:
                data = self._read(row, offset, length, trusted=True)
            except OSError:
                continue
            if len(data) == length:
                return data
        return None

    def has(self, cid: CID) -> bool:
        """See `BlockStore.has`."""
        return self.nodes.has(cid) or any(True for _ in self._locations(cid))

    def put(self, cid: CID, data: bytes) -> Block:
        """See `BlockStore.put`."""
        return self.nodes.put(cid, data)

    def cids(self) -> Iterator[CID]:
        """See `BlockStore.cids`."""
        return self.nodes.cids()

    def _locations(self, cid: CID) -> Iterator[tuple[FileRow, int, int]]:
        if cid.multihash[:2] != SHA2_256_PREFIX:
            return
        tried: set[LeafRef] = set()
        for find in (self.leaves.find, self.leaves.find_anew):
            for ref in find(cid.multihash[2:]):
                row = self.catalog.file(ref.file)
                if row is not None and ref.length <= MAX_BLOCK_BYTES and ref.offset < _MAX_OFFSET and ref not in tried:
                    yield row, ref.offset, ref.length
                tried.add(ref)
            if not tried:  # `find` has looked at the disk already
                return

    def _read(self, row: FileRow, offset: int, length: int, *, trusted: bool = False) -> bytes:
        """`trusted`: b"" unless the stamp is that of the last hashing."""
        with self._lock:
            file = self._open_files.get(row.id)
            if file is not None and file.row != row:
                self._open_files.pop(row.id).close()
                file = None
            if file is None:
                file = self._open_files[row.id] = OpenFile(row)
                if len(self._open_files) > _MAX_OPEN_FILES:
                    self._open_files.popitem(last=False)[1].close()
            self._open_files.move_to_end(row.id)
            if os.fstat(file.fd).st_nlink == 0:  # replaced by rename: look at what has the name now
                self._open_files.pop(row.id).close()
                file = self._open_files[row.id] = OpenFile(row)
            if trusted and not file.trusted():
                return b""
            fd = os.dup(file.fd)  # another thread may close the cached one meanwhile
        try:
            return os.pread(fd, length, offset)
        finally:
            os.close(fd)

    # -- whole files

    def open_file(self, cid: CID) -> OpenFile | None:
        """A file whose whole content is `cid` and whose stamp is that of its last hashing; close it after use.

        None when there is none: its blocks may still be served one by one, hashed.
        """
        for row in self.catalog.files_of(cid):
            try:
                file = OpenFile(row)
            except OSError:
                continue
            if file.trusted():
                return file
            file.close()
        return None

    def open_block(self, cid: CID) -> tuple[OpenFile, int, int] | None:
        """A file that holds this leaf, hashed now, and surely will while its stamp stays; its offset and length.

        Close the file after use. The hash is for the leaf index, which may be rotten too: sendfile looks at nothing.
        None when there is none: `get` reads and hashes, wherever the block is.
        """
        for row, offset, length in self._locations(cid):
            try:
                file = OpenFile(row)
            except OSError:
                continue
            if file.trusted() and cid.matches(os.pread(file.fd, length, offset)):
                return file, offset, length
            file.close()
        return None

    def adopt(self, file: HashedFile, layout: FileLayout, nodes: Sequence[Block], *, owned: bool) -> None:
        """Refer to one hashed file; see `adopt_all`."""
        self.adopt_all([(file, layout, nodes)], owned=owned)

    def adopt_all(self, files: Sequence[tuple[HashedFile, FileLayout, Sequence[Block]]], *, owned: bool) -> None:
        """Refer to files that were hashed, writing one index segment: the files stay where they are.

        `nodes` are the inner blocks of each. Blocks are visible only when all of this is on disk.
        """
        digests: list[bytes] = []
        references: list[npt.NDArray[np.void]] = []
        for _, _, nodes in files:
            for block in nodes:
                self.nodes.put(block.cid, block.data)
        known = [(file, layout.cid, layout.leaf_size) for file, layout, _ in files]
        ids = self.catalog.add_files(known, owned=owned)
        anew = self.catalog.not_indexed()
        for row_id, (_, layout, _) in zip(ids, files, strict=True):
            if row_id not in anew and self._indexed(row_id, layout):
                continue
            rows = np.zeros(layout.leaves, dtype=REFERENCE_DTYPE)
            rows["file"] = row_id
            rows["offset"] = np.arange(layout.leaves, dtype=np.uint64) * np.uint64(layout.leaf_size)
            rows["length"] = layout.leaf_size
            rows["length"][-1] = layout.leaf_length(layout.leaves - 1)
            digests.append(layout.digests)
            references.append(rows)
        if digests:
            self.leaves.add(b"".join(digests), np.concatenate(references))
        self.catalog.set_indexed(ids)

    def _indexed(self, file_id: int, layout: FileLayout) -> bool:
        """Whether a segment says so of the first and last leaf: segments are written whole, one file in one.

        A segment of the disk, now: one that we still have mapped may be set aside by now.
        """
        last = layout.leaves - 1
        wanted = {(0, 0), (last, last * layout.leaf_size)}
        return all(
            any(ref.file == file_id and ref.offset == offset for ref in self.leaves.find_anew(layout.leaf_digest(leaf)))
            for leaf, offset in wanted
        )

    def adopt_car(self, path: Path, root: CID, sections: Sequence[tuple[CID, int, int]]) -> None:
        """Refer to the blocks of an owned CAR, each (cid, offset, length), read and hashed by the caller just now."""
        known = [section for section in sections if section[0].multihash[:2] == SHA2_256_PREFIX]
        with path.open("rb") as file:
            framing = car_framing(file, [(offset, length) for _, offset, length in known])
            hashed = HashedFile(path, Stamp.of(file.fileno()), 0, 0, b"")
        row_id = self.catalog.add_file(hashed, root, owned=True, leaf_size=0, framing=framing)
        rows = np.zeros(len(known), dtype=REFERENCE_DTYPE)
        rows["file"] = row_id
        rows["offset"] = [offset for _, offset, _ in known]
        rows["length"] = [length for _, _, length in known]
        self.leaves.add(b"".join(cid.multihash[2:] for cid, _, _ in known), rows)
        self.catalog.set_indexed([row_id])

    def new_file(self, suffix: str = "") -> Path:
        """A fresh path in the repository's own folder; the file is not created."""
        return self.files_folder / f"{secrets.token_hex(10)}{suffix}"

    def used_bytes(self) -> int:
        """Bytes of the files that this repository owns (the user's own files do not count)."""
        return sum(int(str(size)) for (size,) in self.catalog.rows("SELECT size FROM files WHERE owned = 1"))


def car_framing(file: BinaryIO, blocks: Iterable[tuple[int, int]]) -> bytes:
    """The sha2-256 digest of all bytes of a CAR that lie outside of `blocks`, each (offset, length)."""
    digest = hashlib.sha256()
    at, end = 0, os.fstat(file.fileno()).st_size
    for start, length in [*sorted(blocks), (end, 0)]:
        file.seek(at)
        while at < start and (data := file.read(min(start - at, MAX_BLOCK_BYTES))):
            digest.update(data)
            at += len(data)
        at = max(at, start + length)
    return digest.digest()


def reader(store: DiskStore) -> Callable[[CID], bytes]:
    """`store.get` as the plain function that `dag.walk.run` drives."""
    return lambda cid: store.get(cid).data


__all__ = ["DiskStore", "OpenFile", "StoreError", "reader"]
