"""CAR: blocks in a row, each behind its length and its CID. CARv1, and the CARv1 inside of a CARv2.

Specification: ipld.io/specs/transport/car/carv1. Reading is bounded, needs no seeking, and verifies each block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..blocks.block import Block
from ..cid import CID, IDENTITY
from ..errors import FormatError, HashMismatchError, UnsupportedError
from ..limits import MAX_CAR_HEADER_BYTES, MAX_CAR_SECTION_BYTES
from ..varint import uvarint
from . import carv2, dagcbor
from .car_input import CarInput, Readable

MAX_PADDING_BYTES = 64 << 30  # zeros behind the last section: the largest sector that Filecoin pads to
_INDEX_BYTES = 128  # of a CARv2 index, for a block: what is read over at the end


@dataclass(frozen=True, slots=True)
class CarBlock:
    """A verified block and the offset of its data in the stream."""

    block: Block
    data_offset: int


def encode_header(roots: Sequence[CID]) -> bytes:
    """The header with its length: dag-cbor `{roots, version: 1}`, keys in canonical order."""
    body = dagcbor.encode({"roots": list(roots), "version": 1})
    return uvarint(len(body)) + body


def section_head(cid: CID, size: int) -> bytes:
    """What precedes the `size` bytes of a block: the length of the section, and its CID."""
    name = bytes(cid)
    return uvarint(len(name) + size) + name


def encode_section(cid: CID, data: bytes) -> bytes:
    """One block with its CID and their length. The caller made or verified `data`.

    Identity CIDs do not belong into a CAR (trustless gateway specification).
    """
    return section_head(cid, len(data)) + data


def read_header(stream: Readable) -> tuple[CID, ...]:
    """Read the header of a CARv1 or CARv2; returns the roots. Raises `UnsupportedError` for other versions."""
    return CarReader(stream).roots


class CarReader:
    """Read a CAR from a stream, once. Nothing is read before `roots` or iteration asks for it.

    Each block is hashed before it is given out: `HashMismatchError` names the offset. Roots are what the
    writer says; nothing here checks that they are in the CAR, and a CARv1 cut between two sections is a valid
    one: whoever knows what should be in it checks that it is complete. Identity sections are checked and
    skipped, and so is padding with zeros behind the last section.
    """

    def __init__(self, stream: Readable) -> None:
        self._input = CarInput(stream)
        self._roots: tuple[CID, ...] | None = None
        self.version = 0  # known once the roots are
        self.sections_read = 0

    @property
    def at(self) -> int:
        """How far it has read, in bytes."""
        return self._input.at

    @property
    def roots(self) -> tuple[CID, ...]:
        """The roots of the header."""
        if self._roots is None:
            self.version, roots = _decode_header(self._header())
            if self.version == 2:
                wrapper = carv2.decode_header(self._input.exactly(carv2.HEADER_BYTES))
                self._input.skip_to(wrapper.data_offset)
                self._input.end = wrapper.data_end
                inner, roots = _decode_header(self._header())
                if inner != 1:
                    raise FormatError(f"the data of the CARv2 is a CAR of version {inner}")
            self._roots = roots
        return self._roots

    def go_on(self, stream: Readable, at: int) -> None:
        """Read on from `stream`, which is at byte `at` of the same CAR, between two sections. `roots` come first."""
        _ = self.roots
        self._input.go_on(stream, at)

    def _header(self) -> bytes:
        start = self._input.at
        length = self._input.length("the header", MAX_CAR_HEADER_BYTES)
        if not length:
            raise FormatError(f"the header at byte {start} of the CAR is empty")
        return self._input.exactly(length)

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
                break
            if length == 0:
                self._input.zeros(MAX_PADDING_BYTES)
                break
            body = self._input.exactly(length)
            try:
                cid, head = CID.read(body, 0)
                block = Block.verify(cid, body[head:])
            except (HashMismatchError, FormatError) as error:
                raise type(error)(f"CAR section at byte {start}: {error.message}") from error
            self.sections_read += 1
            if cid.hash_code != IDENTITY:
                yield CarBlock(block, self._input.at - length + head)
        if self.version == 2:
            self._input.drain(_INDEX_BYTES * (self.sections_read + 8192))


def _decode_header(data: bytes) -> tuple[int, tuple[CID, ...]]:
    """Version and roots. A header has no other keys; that of a CARv2 has the version alone."""
    try:
        header = dagcbor.decode(data)
    except FormatError as error:
        raise FormatError(f"CAR header: {error.message}") from error
    if not isinstance(header, dict):
        raise FormatError("CAR header: it is no map")
    if other := header.keys() - {"roots", "version"}:
        raise FormatError(f"CAR header: unknown key {min(other)[:32]!r}")
    version, roots = header.get("version"), header.get("roots")
    if not isinstance(version, int) or isinstance(version, bool):
        raise FormatError("CAR header: no version")
    if version == 2 and "roots" not in header:
        return 2, ()
    if version != 1:
        raise UnsupportedError(f"CAR version {version}: versions 1 and 2 are read")
    if not isinstance(roots, list):
        raise FormatError("CAR header: no roots")
    found = tuple(root for root in roots if isinstance(root, CID))
    if len(found) != len(roots):
        raise FormatError("CAR header: a root is not a CID")
    return 1, found


__all__ = [
    "CarBlock",
    "CarReader",
    "Readable",
    "encode_header",
    "encode_section",
    "read_header",
    "section_head",
]
