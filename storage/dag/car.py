"""CARv1: blocks in a row, each behind its length and its CID.

Specification: ipld.io/specs/transport/car/carv1. Reading is bounded and verifies each block; the header is
the one place where dag-cbor is read, by just enough code for it. CARv2 is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..blocks.block import Block
from ..cid import CID, IDENTITY
from ..errors import FormatError, HashMismatchError, UnsupportedError
from ..limits import MAX_CAR_HEADER_BYTES, MAX_CAR_SECTION_BYTES
from ..varint import MAX_VARINT_BYTES, read_uvarint, uvarint

_UINT, _BYTES, _TEXT, _ARRAY, _MAP, _TAG = 0, 2, 3, 4, 5, 6  # major types of CBOR
_CID_TAG = 42


class Readable(Protocol):
    """What a CAR is read from. `read(n)` may return less than `n` bytes, and none at the end only."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes."""
        ...


@dataclass(frozen=True, slots=True)
class CarBlock:
    """A verified block and the offset of its data in the CAR."""

    block: Block
    data_offset: int


def encode_header(roots: Sequence[CID]) -> bytes:
    """The header with its length: dag-cbor `{roots, version: 1}`, keys in canonical order."""
    body = _head(_MAP, 2) + _text("roots") + _head(_ARRAY, len(roots))
    for root in roots:
        link = b"\0" + bytes(root)  # the multibase prefix of binary
        body += _head(_TAG, _CID_TAG) + _head(_BYTES, len(link)) + link
    body += _text("version") + _head(_UINT, 1)
    return uvarint(len(body)) + body


def encode_section(cid: CID, data: bytes) -> bytes:
    """One block with its CID and their length. The caller made or verified `data`.

    Identity CIDs do not belong into a CAR (trustless gateway specification).
    """
    name = bytes(cid)
    return uvarint(len(name) + len(data)) + name + data


def read_header(stream: Readable) -> tuple[CID, ...]:
    """Read the header; returns the roots. Raises `UnsupportedError` for CARv2 and other versions."""
    return _Input(stream).header()


class CarReader:
    """Read a CARv1 from a stream, once. Nothing is read before `roots` or iteration asks for it.

    Each block is hashed before it is given out: `HashMismatchError` names the offset. Roots are what the
    writer says; nothing here checks that they are in the CAR, and a CAR cut between two sections is a valid
    one: whoever knows what should be in it checks that it is complete. Identity sections are checked and
    skipped.
    """

    def __init__(self, stream: Readable) -> None:
        self._input = _Input(stream)
        self._roots: tuple[CID, ...] | None = None

    @property
    def roots(self) -> tuple[CID, ...]:
        """The roots of the header."""
        if self._roots is None:
            self._roots = self._input.header()
        return self._roots

    def __iter__(self) -> Iterator[Block]:
        for section in self.sections():
            yield section.block

    def sections(self) -> Iterator[CarBlock]:
        """The blocks with the offsets of their data."""
        _ = self.roots
        while True:
            start = self._input.at
            length = self._input.length("a section", MAX_CAR_SECTION_BYTES, end_is_fine=True)
            if length is None:
                return
            body = self._input.exactly(length)
            cid, head = CID.read(body, 0)
            try:
                block = Block.verify(cid, body[head:])
            except HashMismatchError as error:
                raise HashMismatchError(f"CAR section at byte {start}: {error.message}") from error
            if cid.hash_code != IDENTITY:
                yield CarBlock(block, self._input.at - length + head)


class _Input:
    """A stream that knows where it is and reads all of what was asked for."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self.at = 0

    def header(self) -> tuple[CID, ...]:
        length = self.length("the header", MAX_CAR_HEADER_BYTES)
        return _decode_header(self.exactly(length or 0))

    def length(self, what: str, limit: int, *, end_is_fine: bool = False) -> int | None:
        """The length before `what`; None at the end of the stream if that may be here."""
        start, raw = self.at, b""
        while len(raw) < MAX_VARINT_BYTES:
            byte = self._stream.read(1)
            if not byte:
                if end_is_fine and not raw:
                    return None
                raise FormatError(f"the CAR ends at byte {self.at}, inside the length of {what}")
            self.at += 1
            raw += byte
            if byte[0] < 128:
                break
        value, _ = read_uvarint(raw, 0)
        if value == 0:
            raise FormatError(f"{what} at byte {start} of the CAR is empty")
        if value > limit:
            raise FormatError(f"{what} at byte {start} of the CAR has {value} bytes (at most {limit})")
        return value

    def exactly(self, size: int) -> bytes:
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


def _decode_header(data: bytes) -> tuple[CID, ...]:
    """Strict dag-cbor (ipld/specs, codecs/dag-cbor): canonical lengths and key order, nothing behind."""
    roots: list[CID] | None = None
    version: int | None = None
    pairs, at = _expect(data, 0, _MAP)
    last = ""
    for _ in range(pairs):
        length, at = _expect(data, at, _TEXT)
        key = data[at : at + length].decode("ascii", "replace")
        at += length
        if (len(key), key) <= (len(last), last):
            raise FormatError("CAR header: keys are repeated or out of order")
        last = key
        if key == "version":
            version, at = _expect(data, at, _UINT)
        elif key == "roots":
            roots, at = _read_roots(data, at)
        else:
            raise FormatError(f"CAR header: unknown key {key[:32]!r}")
    if at != len(data):
        raise FormatError(f"CAR header: {len(data) - at} bytes follow it")
    if version is None:
        raise FormatError("CAR header: no version")
    if version != 1:
        raise UnsupportedError(f"CAR version {version}: only CARv1 is read")
    if roots is None:
        raise FormatError("CAR header: no roots")
    return tuple(roots)


def _read_roots(data: bytes, at: int) -> tuple[list[CID], int]:
    count, at = _expect(data, at, _ARRAY)
    roots = []
    for _ in range(count):
        tag, at = _expect(data, at, _TAG)
        length, at = _expect(data, at, _BYTES)
        if tag != _CID_TAG or data[at : at + 1] != b"\0":
            raise FormatError("CAR header: a root is not a CID")
        roots.append(CID.from_bytes(data[at + 1 : at + length]))
        at += length
    return roots, at


def _expect(data: bytes, at: int, major: int) -> tuple[int, int]:
    """The argument of a CBOR head of type `major`, in its shortest form, and the offset behind it."""
    if at >= len(data):
        raise FormatError("CAR header: it ends early")
    kind, value = data[at] >> 5, data[at] & 31
    if kind != major or value > 27:
        raise FormatError(f"CAR header: byte 0x{data[at]:02x} at {at} is not expected")
    size = 0 if value < 24 else 1 << value - 24
    end = at + 1 + size
    if size:
        value = int.from_bytes(data[at + 1 : end], "big")
    if end > len(data) or (major in (_TEXT, _BYTES) and value > len(data) - end):
        raise FormatError("CAR header: it ends early")
    if _head(major, value) != data[at:end]:
        raise FormatError(f"CAR header: the number at byte {at} is not in its shortest form")
    return value, end


def _head(major: int, value: int) -> bytes:
    if value < 24:
        return bytes([major << 5 | value])
    size = next(size for size in range(4) if value < 1 << (8 << size))
    return bytes([major << 5 | 24 + size]) + value.to_bytes(1 << size, "big")


def _text(value: str) -> bytes:
    return _head(_TEXT, len(value)) + value.encode()
