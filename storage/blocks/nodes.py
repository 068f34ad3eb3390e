"""Node blocks as files named by multihash: what a dataset has besides ranges of its files. Small and few.

One node of up to 1,024 links describes a shard of up to 1 GiB, so a terabyte has some thousands of them.
"""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

from ..cid import CID, RAW
from ..errors import BlockMissingError
from .atomic import sync_file, sync_folder, write_atomic
from .block import Block, inline
from .sweep_lock import SweepLock
from .verified_file import disk_error

_MANY = 512  # files: above, syncing each takes longer than syncing everything


class NodeStore:
    """A `BlockStore` of one file per block. `sweep`: where a `gc` may remove blocks meanwhile."""

    def __init__(self, folder: Path, sweep: SweepLock | None = None) -> None:
        self.folder = folder
        self._sweep = sweep
        self._unsynced: set[Path] = set()
        self._lock = threading.Lock()

    def _place(self, cid: CID) -> str:
        """Not a `Path`: it interns each name, and years of that are holes of 2 MB in every thread's memory."""
        name = base64.b32encode(cid.multihash).decode().lower().rstrip("=")
        return os.path.join(self.folder, name[-2:], name)  # noqa: PTH118

    def get(self, cid: CID) -> Block:
        """See `BlockStore.get`."""
        if own := inline(cid):
            return own
        place = self._place(cid)
        try:
            with open(place, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            raise BlockMissingError(f"block {cid.short()} is not here") from None
        except OSError as error:
            raise disk_error(error, Path(place)) from error
        return Block.verify(cid, data)

    def has(self, cid: CID) -> bool:
        """See `BlockStore.has`."""
        return os.path.exists(self._place(cid)) or inline(cid) is not None  # noqa: PTH110

    def put(self, cid: CID, data: bytes) -> Block:
        """See `BlockStore.put`. Not synced one by one, see `sync`: the name commits to the content, `get` hashes."""
        block = Block.verify(cid, data)
        if inline(cid):
            return block
        path = Path(self._place(cid))
        with self._stamping():
            if _holds(path, data):
                os.utime(path)
            else:  # absent, or rotten: a name outlives its unsynced content in a power cut
                write_atomic(path, data, durable=False)
        with self._lock:
            self._unsynced.add(path)  # also one that was here: who wrote it may have been killed before it synced
        return block

    def sync(self) -> None:
        """Make every block that was put through this object durable: before a root is acknowledged, once for all.

        A few files are synced one by one; for many, the file system as a whole is. Raises `StoreError`.
        """
        with self._lock:
            paths, self._unsynced = self._unsynced, set()
        try:
            if len(paths) > _MANY:
                os.sync()
                return
            for path in paths:
                with suppress(FileNotFoundError):  # a gc took it: nobody relies on it
                    sync_file(path)
            for folder in {path.parent for path in paths} | ({self.folder} if paths else set()):
                with suppress(FileNotFoundError):
                    sync_folder(folder)
        except OSError as error:
            with self._lock:
                self._unsynced |= paths
            raise disk_error(error, self.folder) from error

    def keep(self, cid: CID) -> bool:
        """Whether it is here; if so, it is stamped as relied on (see `lease`)."""
        try:
            with self._stamping():
                os.utime(self._place(cid))
        except FileNotFoundError:
            return False
        except OSError as error:
            raise disk_error(error, Path(self._place(cid))) from error
        return True

    def _stamping(self) -> AbstractContextManager[None]:
        return self._sweep.shared() if self._sweep else nullcontext()

    def sizes(self) -> list[int]:
        """The bytes of each block."""
        found = []
        for path in self.folder.glob("??/*"):
            with suppress(FileNotFoundError):  # a gc took it
                found.append(path.stat().st_size)
        return found

    @staticmethod
    def multihash(path: Path) -> bytes:
        """What a block file's name says. Raises `ValueError` for a file that is none of ours."""
        return base64.b32decode(path.name.upper() + "=" * (-len(path.name) % 8))

    def cids(self) -> Iterator[CID]:
        """See `BlockStore.cids`."""
        for path in sorted(self.folder.glob("??/*")):
            if not path.name.startswith("."):
                yield CID(1, RAW, self.multihash(path))


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.read_bytes() == data
    except OSError:
        return False
