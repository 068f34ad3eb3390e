"""`FileRow`: what the catalogue knows of a file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ..cid import CID
from ..limits import MAX_BLOCK_BYTES
from .stamp import Stamp

COLUMNS = "id, path, owned, cid, leaf_size, size, mtime_ns, ctime_ns, inode, hashed_at_ns, framing, indexed"


@dataclass(frozen=True, slots=True)
class FileRow:
    """A file that the store refers to, with its stamp of the last hashing. `place`: its path."""

    id: int
    place: str
    owned: bool
    cid: CID
    leaf_size: int
    stamp: Stamp
    hashed_at_ns: int
    framing: bytes = b""
    indexed: bool = True

    @property
    def path(self) -> Path:
        """Not for each request: a `Path` interns its parts, see `NodeStore`."""
        return Path(self.place)

    def trusted(self, now: Stamp) -> bool:
        """Whether the file is surely the one that was hashed. Nobody else writes into our own folder."""
        return now == self.stamp and (self.owned or self.stamp.settled(self.hashed_at_ns))


def as_bytes(value: object) -> bytes:
    """A blob of a row. Raises `ValueError` for anything else."""
    if not isinstance(value, bytes):
        raise ValueError(f"{value!r} should be bytes")
    return value


def file_row(row: tuple[object, ...], folder: Path) -> FileRow:
    """The `COLUMNS` of one row. Raises `ValueError` or `FormatError` for what makes no sense."""
    file_id, path, owned, cid, leaf_size, size, mtime_ns, ctime_ns, inode, hashed_at_ns, framing, indexed = row
    numbers = [int(str(value)) for value in (file_id, leaf_size, size, mtime_ns, ctime_ns, inode, hashed_at_ns)]
    stamp = Stamp(*numbers[2:6])
    if not 0 <= numbers[1] <= MAX_BLOCK_BYTES or stamp.size < 0 or b"\0" in as_bytes(path):
        raise ValueError(f"{path!r} of {stamp.size} bytes with leaves of {numbers[1]}")
    return FileRow(
        numbers[0],
        os.path.join(folder, os.fsdecode(as_bytes(path))),  # noqa: PTH118 - no `Path`: see `path`
        bool(owned),
        CID.from_bytes(as_bytes(cid)),
        numbers[1],
        stamp,
        numbers[6],
        as_bytes(framing),
        bool(indexed),
    )
