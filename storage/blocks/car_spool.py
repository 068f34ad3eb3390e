"""`Spool`: the copy of a CAR while it is read: a CARv1 of header and sections, without a name of its own yet."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from ..cid import CID
from ..dag.car import encode_header, section_head
from ..errors import FormatError
from ..limits import MAX_CAR_SECTION_BYTES
from ..varint import read_uvarint

PART = ".part"
_HEAD_BYTES = 256  # more than the length of a section and a CID can have

Section = tuple[CID, int, int]  # offset and length of the data


class Spool:
    """Begin it with `create` or `go_on`; close it in any case. Every block that is added was hashed by the caller.

    Those that `go_on` takes up were hashed by another process, in another life of the disk: `is_sound` hashes them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sections: list[Section] = []
        self.size = 0
        self._heads = hashlib.sha256()
        self._unproven = 0  # sections, the first ones, whose data nobody has hashed since they were read back
        self._file: BinaryIO | None = None

    def create(self, roots: Sequence[CID]) -> None:
        """Begin an empty one, in place of whatever is there."""
        self._file = self.path.open("wb")
        self._write(encode_header(roots))

    def go_on(self, roots: Sequence[CID], size: int, heads: str) -> bool:
        """Take up what an earlier run wrote and synced: `size` bytes whose `heads` these were. What follows is cut off.

        Reads the header and the heads of the sections, not their data (see `is_sound`). False when that is not what is
        here.
        """
        try:
            file = self.path.open("r+b")
        except FileNotFoundError:
            return False
        self._file = file
        if not self._take_up(file.fileno(), encode_header(roots), size) or self.heads != heads:
            return False
        self._unproven = len(self.sections)
        if os.fstat(file.fileno()).st_size != size:
            file.truncate(size)
        file.seek(size)
        return True

    def _take_up(self, fd: int, header: bytes, size: int) -> bool:
        if os.fstat(fd).st_size < size or os.pread(fd, len(header), 0) != header:
            return False
        self._heads.update(header)
        self.size = len(header)
        try:
            while self.size < size:
                head = os.pread(fd, _HEAD_BYTES, self.size)
                length, start = read_uvarint(head, 0)
                cid, end = CID.read(head, start)
                at = self.size + end
                self.size += start + length
                if length > MAX_CAR_SECTION_BYTES or at > self.size:
                    return False
                self._heads.update(head[:end])
                self.sections.append((cid, at, self.size - at))
        except FormatError:
            return False
        return self.size == size

    def is_sound(self) -> bool:
        """Whether the data of all sections is what their CIDs say: reads what was taken up, once, in its order.

        No stamp could spare that: what a killed import wrote behind its last note has changed size and times anyway.
        """
        fd = self._opened().fileno()
        for cid, offset, length in self.sections[: self._unproven]:
            if not cid.matches(os.pread(fd, length, offset)):
                return False
        self._unproven = 0
        return True

    def add(self, cid: CID, data: bytes) -> None:
        """One more block."""
        self._write(section_head(cid, len(data)), data)
        self.sections.append((cid, self.size - len(data), len(data)))

    def _write(self, head: bytes, data: bytes = b"") -> None:
        file = self._opened()
        self._heads.update(head)
        file.write(head)
        file.write(data)
        self.size += len(head) + len(data)

    def sync(self) -> None:
        """Make all of it durable."""
        file = self._opened()
        file.flush()
        os.fsync(file.fileno())

    def _opened(self) -> BinaryIO:
        if self._file is None:
            raise RuntimeError(f"{self.path.name} is not open")
        return self._file

    @property
    def heads(self) -> str:
        """Digest of all bytes but the data of blocks: CIDs and lengths say which these are, for each was hashed."""
        return self._heads.hexdigest()

    def close(self) -> None:
        """Give the file back. Idempotent; what could not be written is no loss by then."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
        self._file = None

    def drop(self) -> None:
        """Remove what is still a spool, and not the file that it became."""
        self.close()
        if self.path.suffix == PART:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)
