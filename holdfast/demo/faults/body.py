"""Bodies in pieces: ranges of files, bytes, and zeros, so that a lie about a large file costs no memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class FileRange:
    """Bytes [start, start + length) of a file."""

    path: Path
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Zeros:
    """So many zero bytes."""

    length: int


Piece = FileRange | Zeros | bytes
Body = tuple[Piece, ...]


def size(body: Iterable[Piece]) -> int:
    """Bytes of a body."""
    return sum(_length(piece) for piece in body)


def part(body: Iterable[Piece], start: int, end: int) -> Body:
    """The bytes [start, end) of a body, as far as it goes."""
    found: list[Piece] = []
    at = 0
    for piece in body:
        length = _length(piece)
        low, high = max(start - at, 0), min(end - at, length)
        if low < high:
            found.append(_cut(piece, low, high))
        at += length
    return tuple(found)


def flip(body: Body, at: int) -> Body:
    """The same body with one bit of byte `at` flipped."""
    byte = b"".join(read(piece) for piece in part(body, at, at + 1))
    return (*part(body, 0, at), bytes([byte[0] ^ 1]), *part(body, at + 1, size(body))) if byte else body


def read(piece: Piece) -> bytes:
    """A piece as bytes."""
    if isinstance(piece, FileRange):
        with piece.path.open("rb") as file:
            file.seek(piece.start)
            return file.read(piece.length)
    return bytes(piece.length) if isinstance(piece, Zeros) else piece


def _length(piece: Piece) -> int:
    return len(piece) if isinstance(piece, bytes) else piece.length


def _cut(piece: Piece, low: int, high: int) -> Piece:
    if isinstance(piece, FileRange):
        return FileRange(piece.path, piece.start + low, high - low)
    return Zeros(high - low) if isinstance(piece, Zeros) else piece[low:high]
