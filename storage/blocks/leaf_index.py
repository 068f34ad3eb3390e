"""Sorted arrays that say in which files a leaf lies: 48 bytes a leaf, mapped into memory, searched by halving.

A *segment* is written once, by a publish, pin or import, and never changed; many small ones are merged into one.
Layout (little-endian): `hf-leaf1`, u64 count, then `count` digests of 32 bytes in ascending order, then `count`
references (u32 file id, u32 length in bytes, u64 offset in bytes) in the same order. Equal digests lie side by side:
several locations of one block.
"""

from __future__ import annotations

import bisect
import fcntl
import logging
import mmap
import os
import secrets
import struct
import threading
import time
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import StoreError
from .atomic import write_atomic
from .stamp import RACY_NS
from .verified_file import disk_error

LOG = logging.getLogger("holdfast.blocks")
_MAGIC = b"hf-leaf1"
_HEAD = struct.Struct("<8sQ")
_REFERENCE = struct.Struct("<IIQ")
REFERENCE_DTYPE = np.dtype([("file", "<u4"), ("length", "<u4"), ("offset", "<u8")])

_SMALL = 1 << 20  # leaves: segments of fewer are merged, up to about so many (48 MiB in memory)
_MANY = 32  # small segments, before they are merged as one more is added: a look-up asks each

Table = tuple[npt.NDArray[np.bytes_], npt.NDArray[np.void]]


@dataclass(frozen=True, slots=True)
class LeafRef:
    """One location: file id in the catalog, offset and length in bytes."""

    file: int
    offset: int
    length: int


class _Segment(Sequence[bytes]):
    """A mapped segment, as the sorted sequence of its digests."""

    def __init__(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
            magic, self._count = _HEAD.unpack_from(self._map)
        except FileNotFoundError:  # merged into another one meanwhile
            raise
        except (OSError, ValueError, struct.error):  # unreadable, empty, or shorter than its head
            magic, self._count, self._map = b"", 0, mmap.mmap(-1, 1)
        if magic != _MAGIC or len(self._map) != _HEAD.size + 48 * self._count:
            raise StoreError(f"{path} is not a leaf index", hint="publish or pin the dataset again")

    def __len__(self) -> int:
        return int(self._count)

    def __getitem__(self, index: int) -> bytes:  # type: ignore[override]
        start = _HEAD.size + 32 * index
        return self._map[start : start + 32]

    def table(self) -> Table:
        """Digests and references as arrays over the mapped file."""
        at = _HEAD.size + 32 * self._count
        keys = np.frombuffer(self._map, dtype="S32", count=self._count, offset=_HEAD.size)
        return keys, np.frombuffer(self._map, dtype=REFERENCE_DTYPE, count=self._count, offset=at)

    def find(self, digest: bytes) -> Iterator[LeafRef]:
        index = bisect.bisect_left(self, digest)
        while index < self._count and self[index] == digest:
            at = _HEAD.size + 32 * self._count + _REFERENCE.size * index
            file, length, offset = _REFERENCE.unpack_from(self._map, at)
            yield LeafRef(file, offset, length)
            index += 1


class LeafIndex:
    """All segments of a repository. Segments that another process adds are seen at the next miss."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._segments: dict[str, _Segment] = {}
        self._seen_mtime_ns = -1
        self._lock = threading.Lock()

    def add(self, digests: bytes, references: npt.NDArray[np.void]) -> None:
        """Write one segment: `digests` (32 bytes each, any order), references (`REFERENCE_DTYPE`) in that order."""
        if not digests:
            return
        keys = np.frombuffer(digests, dtype="S32")
        if len(keys) != len(references):
            raise ValueError(f"{len(keys)} digests but {len(references)} references")
        self._write(keys, references)
        if sum(size < _HEAD.size + 48 * _SMALL for size in self.segment_bytes()) > _MANY:
            self.compact()

    def segment_bytes(self) -> list[int]:
        """The sizes of all segments."""
        sizes = []
        for path in self.folder.glob("*.leaves"):
            with suppress(FileNotFoundError):  # merged meanwhile
                sizes.append(path.stat().st_size)
        return sizes

    def _write(self, keys: npt.NDArray[np.bytes_], references: npt.NDArray[np.void]) -> None:
        rank = np.lexsort((references["offset"], references["file"], keys))
        body = np.ascontiguousarray(keys[rank]).tobytes() + references[rank].tobytes()
        write_atomic(self.folder / f"{secrets.token_hex(8)}.leaves", _HEAD.pack(_MAGIC, len(keys)) + body)

    def compact(self, alive: Container[int] | None = None, *, wait: bool = False) -> None:
        """Merge small segments. `alive`: the ids of files; leaves of others are left out, also of large segments.

        What is merged is removed only when the merged one is on disk: a crash between leaves it there twice. Other
        threads and processes go on reading; while another one compacts, this does nothing, unless `wait`.
        """
        with self._compacting(wait=wait) as mine:
            if not mine:
                return
            batch: list[tuple[Path, Table]] = []
            size = 0
            for path in sorted(self.folder.glob("*.leaves")):
                try:
                    keys, references = _Segment(path).table()
                except StoreError as error:
                    LOG.warning("%s; it is set aside", error.message)
                    path.replace(path.with_suffix(".broken"))
                    continue
                dead = _dead(references, alive)
                if len(keys) >= _SMALL and not dead.any():
                    continue
                batch.append((path, (keys[~dead], references[~dead])))
                size += len(keys) - int(dead.sum())
                if size >= _SMALL:
                    self._merge(batch)
                    batch, size = [], 0
            if len(batch) > 1 or alive is not None:
                self._merge(batch)

    def _merge(self, batch: list[tuple[Path, Table]]) -> None:
        if not batch:
            return
        keys = np.concatenate([keys for _, (keys, _) in batch])
        references = np.concatenate([references for _, (_, references) in batch])
        if len(keys):
            rank = np.lexsort((references["offset"], references["file"], keys))
            keys, references = keys[rank], references[rank]
            again = np.zeros(len(keys), dtype=bool)
            again[1:] = (keys[1:] == keys[:-1]) & (references[1:] == references[:-1])
            self._write(keys[~again], references[~again])
        for path, _ in batch:
            path.unlink(missing_ok=True)

    @contextmanager
    def _compacting(self, *, wait: bool) -> Iterator[bool]:
        path = self.folder / "compact.lock"
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise disk_error(error, path) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            yield True
        except BlockingIOError:
            yield False
        finally:
            os.close(fd)

    def table(self, path: Path) -> Table:
        """The digests (S32) and references (`REFERENCE_DTYPE`) of one segment. Raises `StoreError` for a broken one."""
        return _Segment(path).table()

    def find(self, digest: bytes) -> list[LeafRef]:
        """Every known location of the leaf; empty when there is none."""
        looked_in = self._segments
        if refs := _search(looked_in, digest):
            return refs
        with self._lock:
            self._refresh()
        # another thread may have refreshed since we looked
        return [] if self._segments is looked_in else _search(self._segments, digest)

    def find_anew(self, digest: bytes) -> list[LeafRef]:
        """`find`, after a look at the disk: for when none of the known locations was any good."""
        with self._lock:
            self._refresh()
        return _search(self._segments, digest)

    def _refresh(self) -> None:
        """Look at the folder again if it changed since it was last read."""
        try:
            mtime_ns = self.folder.stat().st_mtime_ns
        except FileNotFoundError:
            return
        if mtime_ns == self._seen_mtime_ns:
            return
        # a segment added within the same tick would leave the folder's time as it is: look again next time
        self._seen_mtime_ns = mtime_ns if mtime_ns < time.time_ns() - RACY_NS else -1
        names = {path.name for path in self.folder.glob("*.leaves")}
        if names == self._segments.keys():
            return
        found: dict[str, _Segment] = {}
        try:
            for name in sorted(names):
                try:
                    found[name] = self._segments.get(name) or _Segment(self.folder / name)
                except StoreError as error:  # its files are found as not indexed, and can be published or pinned again
                    LOG.warning("%s; it is passed over", error.message)
        except FileNotFoundError:  # merged since we listed them: what it is merged into is there
            self._seen_mtime_ns = -1
            self._refresh()
            return
        self._segments = found


def _dead(references: npt.NDArray[np.void], alive: Container[int] | None) -> npt.NDArray[np.bool_]:
    if alive is None:
        return np.zeros(len(references), dtype=bool)
    files = np.unique(references["file"])
    gone = np.array([file for file in files.tolist() if file not in alive], dtype=np.uint32)
    return np.isin(references["file"], gone)


def _search(segments: dict[str, _Segment], digest: bytes) -> list[LeafRef]:
    return [ref for segment in segments.values() for ref in segment.find(digest)]
