"""Sorted arrays that say in which files a leaf lies: 48 bytes a leaf, mapped into memory, searched by halving.

A *segment* (see `leaf_segment`) is written once, by a publish, pin or import, and never changed; many small ones are
merged into one.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import StoreError
from .atomic import write_atomic
from .leaf_segment import (
    ENTRY_BYTES,
    HEAD,
    REFERENCE_DTYPE,
    LeafRef,
    Segment,
    Table,
    decode_damaged,
    encode,
    is_damaged,
)
from .stamp import RACY_NS
from .verified_file import disk_error

LOG = logging.getLogger("holdfast.blocks")

_SMALL = 1 << 20  # leaves: segments of fewer are merged, up to about so many (48 MiB in memory)
_MANY = 32  # small segments, before they are merged as one more is added: a look-up asks each

__all__ = ["REFERENCE_DTYPE", "LeafIndex", "LeafRef"]


class LeafIndex:
    """All segments of a repository. Segments that another process adds are seen at the next miss."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._segments: dict[str, Segment] = {}
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
        if sum(size < HEAD.size + ENTRY_BYTES * _SMALL for size in self.segment_bytes()) > _MANY:
            self.compact()

    def segment_bytes(self) -> list[int]:
        """The sizes of all segments."""
        sizes = []
        for path in self.folder.glob("*.leaves"):
            with suppress(FileNotFoundError):  # merged meanwhile
                sizes.append(path.stat().st_size)
        return sizes

    def _write(self, keys: npt.NDArray[np.bytes_], references: npt.NDArray[np.void]) -> None:
        name, data = encode(keys, references)
        write_atomic(self.folder / name, data)

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
                    keys, references = Segment(path).table()
                except StoreError as error:
                    LOG.warning("%s; it is set aside", error.message)
                    _set_aside(path)
                    continue
                dead = _dead(references, alive)
                if len(keys) >= _SMALL and not dead.any():
                    continue
                if _is_damaged(path):  # a copy of it would have a digest of its own, and look right
                    LOG.warning("%s has changed since it was written; `holdfast repo verify` mends it", path)
                    continue
                batch.append((path, (keys[~dead], references[~dead])))
                size += len(keys) - int(dead.sum())
                if size >= _SMALL:
                    self._merge(batch)
                    batch, size = [], 0
            if len(batch) > 1 or alive is not None:
                self._merge(batch)

    def read_damaged(self, path: Path) -> Table | None:
        """What can be told of a damaged segment; None when that is nothing, or it is not here any more."""
        try:
            return decode_damaged(path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise disk_error(error, path) from error

    def replace(self, path: Path, table: Table) -> bool:
        """Write `table` in the place of a damaged segment, and set that aside. False if somebody did so before us."""
        with self._compacting(wait=True):
            if not path.exists():
                return False
            if len(table[0]):
                self._write(*table)
            _set_aside(path)
            return True

    def damaged(self) -> list[Path]:
        """Segments that are not what was written. All of them are read."""
        found = []
        for path in sorted(self.folder.glob("*.leaves")):
            with suppress(FileNotFoundError):  # merged meanwhile
                if _is_damaged(path):
                    found.append(path)
        return found

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
        return Segment(path).table()

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
        names = self._whole_list()
        if names == self._segments.keys():
            return
        found: dict[str, Segment] = {}
        try:
            for name in sorted(names):
                try:
                    found[name] = self._segments.get(name) or Segment(self.folder / name)
                except StoreError as error:  # its files are found as not indexed, and can be published or pinned again
                    LOG.warning("%s; it is passed over", error.message)
        except FileNotFoundError:  # merged since we listed them: what it is merged into is there
            self._seen_mtime_ns = -1
            self._refresh()
            return
        self._segments = found

    def _whole_list(self) -> set[str]:
        """The segments, listed until two lists agree.

        A folder is not listed at one moment: while others are merged, a list may lack the new one, which came behind
        it, and the old ones, which went before it. Leaves would seem to be missing that are here all the time.
        """
        names = self._list()
        while (again := self._list()) != names:
            names = again
        return names

    def _list(self) -> set[str]:
        return {path.name for path in self.folder.glob("*.leaves")}


def _is_damaged(path: Path) -> bool:
    try:
        return is_damaged(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise disk_error(error, path) from error


def _set_aside(path: Path) -> None:
    """As `*.broken`, with the time of now: a gc removes what was set aside long ago."""
    try:
        os.utime(path)
        path.replace(path.with_suffix(".broken"))
    except OSError as error:
        raise disk_error(error, path) from error


def _dead(references: npt.NDArray[np.void], alive: Container[int] | None) -> npt.NDArray[np.bool_]:
    if alive is None:
        return np.zeros(len(references), dtype=bool)
    files = np.unique(references["file"])
    gone = np.array([file for file in files.tolist() if file not in alive], dtype=np.uint32)
    return np.isin(references["file"], gone)


def _search(segments: dict[str, Segment], digest: bytes) -> list[LeafRef]:
    return [ref for segment in segments.values() for ref in segment.find(digest)]
