"""`CarInput`: a stream that knows where it is, reads all of what was asked for, and never beyond its end."""

from __future__ import annotations

from typing import Protocol

from ..errors import FormatError
from ..varint import MAX_VARINT_BYTES, read_uvarint

_CHUNK_BYTES = 1 << 18


class Readable(Protocol):
    """What a CAR is read from. `read(n)` may return less than `n` bytes, and none at the end only."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes."""
        ...


class CarInput:
    """`end`: where the data of a CARv2 ends, once that is known."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self.at = 0
        self.end: int | None = None

    def go_on(self, stream: Readable, at: int) -> None:
        """Read on from another stream, which is at byte `at`."""
        self._stream, self.at = stream, at

    def length(self, what: str, limit: int, *, end_is_fine: bool = False) -> int | None:
        """The length before `what`, which may be 0; None at the end of the stream if that may be here."""
        start, raw = self.at, b""
        if self.at == self.end and end_is_fine:
            return None
        while len(raw) < MAX_VARINT_BYTES:
            byte = b"" if self.at == self.end else self._stream.read(1)
            if not byte:
                if end_is_fine and not raw and self.end is None:
                    return None
                raise FormatError(f"the CAR ends at byte {self.at}, inside the length of {what}")
            self.at += 1
            raw += byte
            if byte[0] < 128:
                break
        try:
            value, _ = read_uvarint(raw, 0)
        except FormatError as error:
            raise FormatError(f"the length of {what} at byte {start} of the CAR: {error.message}") from error
        if value > limit:
            raise FormatError(f"{what} at byte {start} of the CAR has {value} bytes (at most {limit})")
        if self.end is not None and value > self.end - self.at:
            raise FormatError(f"{what} at byte {start} of the CAR has {value} bytes, but its data ends at {self.end}")
        return value

    def exactly(self, size: int) -> bytes:
        """The next `size` bytes. Raises `FormatError` with the byte at which the stream ends before."""
        data = self._stream.read(size)
        if 0 < len(data) < size:
            parts, got = [data], len(data)
            while got < size and (data := self._stream.read(size - got)):
                parts.append(data)
                got += len(data)
            data = b"".join(parts)
        self.at += len(data)
        if len(data) != size:
            raise FormatError(f"the CAR ends at byte {self.at}, {size - len(data)} bytes short")
        return data

    def skip_to(self, place: int) -> None:
        """Read and drop what lies before `place`."""
        while self.at < place:
            self.exactly(min(place - self.at, _CHUNK_BYTES))

    def zeros(self, limit: int) -> None:
        """Padding up to the end. Raises `FormatError` for a byte that is not zero, or more than `limit` bytes."""
        start = self.at
        while self.end is None or self.at < self.end:
            size = _CHUNK_BYTES if self.end is None else min(_CHUNK_BYTES, self.end - self.at)
            data = self._stream.read(size)
            if not data:
                if self.end is None:
                    return
                raise FormatError(f"the CAR ends at byte {self.at}, {self.end - self.at} bytes short")
            if data.count(0) != len(data):
                at = self.at + len(data) - len(data.lstrip(b"\0"))
                raise FormatError(f"a section at byte {start - 1} of the CAR is empty, and more follows at byte {at}")
            self.at += len(data)
            if self.at - start > limit:
                raise FormatError(f"more than {limit} zero bytes follow the CAR at byte {start - 1}")

    def drain(self, limit: int) -> None:
        """Read on to the end of the stream, or `limit` bytes: who writes into a pipe should not find it broken."""
        while limit > 0 and (data := self._stream.read(_CHUNK_BYTES)):
            limit -= len(data)
