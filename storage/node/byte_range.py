"""`ByteRange`: one part of a file, as a request's Range header asks for it (RFC 9110 §14)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .refused import RefusedError

_RANGE = re.compile(r"bytes=\s*(\d{0,19})-(\d{0,19})\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes [start, end) of `size`. `partial`: answered with 206."""

    start: int
    end: int
    size: int
    partial: bool

    @property
    def length(self) -> int:
        """How many bytes."""
        return self.end - self.start

    @property
    def status(self) -> int:
        """200 or 206."""
        return 206 if self.partial else 200

    def headers(self) -> dict[str, str]:
        """Length, place, and that ranges may be asked for."""
        found = {"Accept-Ranges": "bytes", "Content-Length": str(self.length)}
        if self.partial:
            found["Content-Range"] = f"bytes {self.start}-{self.end - 1}/{self.size}"
        return found


class UnsatisfiableError(RefusedError):
    """The range lies behind the end (416)."""

    def __init__(self, size: int) -> None:
        super().__init__(416, f"there are {size} bytes")
        self.size = size


def read_range(header: str | None, size: int, *, etag: str, if_range: str | None = None) -> ByteRange:
    """The part asked for. Several ranges, or what is no range, mean the whole: the RFC allows to ignore them."""
    whole = ByteRange(0, size, size, partial=False)
    match = _RANGE.fullmatch(header or "")
    if match is None or match[0] == "bytes=-" or (if_range is not None and if_range != etag):
        return whole
    first, last = match[1], match[2]
    if not first and not last:
        return whole
    if not first:
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return whole
    if start >= size or start >= end:
        raise UnsatisfiableError(size)
    return ByteRange(start, end, size, partial=True)
