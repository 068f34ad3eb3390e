"""dag-pb: the codec of blocks that link to blocks.

Specification: ipld/specs, codecs/dag-pb ("Format" and "Strictness"). Decoding is strict: unknown, repeated
or misplaced fields, and varints that are not minimal, are errors; links keep the order that they have on
the wire.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..cid import CID
from ..errors import FormatError
from ..limits import MAX_BLOCK_BYTES
from ..varint import read_uvarint
from .protobuf import bytes_field, varint_field

# Tags (field number << 3 | wire type); each fits one byte.
_LINKS, _DATA = 0x12, 0x0A
_HASH, _NAME, _TSIZE = 0x0A, 0x12, 0x18

MAX_LINKS = 1 << 16  # 2 MiB hold fewer sha2-256 links; shorter hashes would be a bomb of objects


@dataclass(frozen=True, slots=True)
class PBLink:
    """A link: where to, under which name, and the cumulative size that its writer claims (never trusted)."""

    cid: CID
    name: str | None = None
    tsize: int | None = None


@dataclass(frozen=True, slots=True)
class PBNode:
    """A node: links in their order on the wire, and data. No data and empty data are different blocks."""

    links: tuple[PBLink, ...] = ()
    data: bytes | None = None


def encode(node: PBNode) -> bytes:
    """The block of `node`: links before data. The caller has sorted the links of a directory by name."""
    parts = [bytes_field(2, _encode_link(link)) for link in node.links]
    if node.data is not None:
        parts.append(bytes_field(1, node.data))
    return b"".join(parts)


def decode(data: bytes | memoryview) -> PBNode:
    """Read a block. Raises `FormatError`; does not check where links lead, their sizes or order."""
    if len(data) > MAX_BLOCK_BYTES:
        raise FormatError(f"a dag-pb block of {len(data)} bytes (at most {MAX_BLOCK_BYTES})")
    data = bytes(data)
    links: list[PBLink] = []
    body: bytes | None = None
    links_ended = False  # Links are one list: Data may stand before or behind it, not inside
    at, end = 0, len(data)
    while at < end:
        tag = data[at]
        start, stop = _span(data, at + 1, end)
        if tag == _LINKS:
            if links_ended:
                raise FormatError("dag-pb: Data lies between Links")
            if len(links) == MAX_LINKS:
                raise FormatError(f"dag-pb: more than {MAX_LINKS} links")
            links.append(_decode_link(data, start, stop))
        elif tag == _DATA:
            if body is not None:
                raise FormatError("dag-pb: Data is there twice")
            body = data[start:stop]
            links_ended = bool(links)
        else:
            raise FormatError(f"dag-pb: unknown field tag 0x{tag:02x} in a node")
        at = stop
    return PBNode(tuple(links), body)


def _encode_link(link: PBLink) -> bytes:
    out = bytes_field(1, bytes(link.cid))
    if link.name is not None:
        out += bytes_field(2, link.name.encode())
    if link.tsize is not None:
        out += varint_field(3, link.tsize)
    return out


def _decode_link(data: bytes, at: int, end: int) -> PBLink:
    if at == end or data[at] != _HASH:
        raise FormatError("dag-pb: a link does not begin with its Hash")
    start, at = _span(data, at + 1, end)
    cid = CID.from_bytes(data[start:at])
    name: str | None = None
    tsize: int | None = None
    if at < end and data[at] == _NAME:
        start, at = _span(data, at + 1, end)
        try:
            name = data[start:at].decode()
        except UnicodeDecodeError as error:
            raise FormatError("dag-pb: the name of a link is not UTF-8") from error
    if at < end and data[at] == _TSIZE:
        tsize, at = read_uvarint(data, at + 1)
    if at < end:
        raise FormatError(f"dag-pb: field tag 0x{data[at]:02x} is unknown, repeated or misplaced in a link")
    if at > end:
        raise FormatError("dag-pb: a link ends early")
    return PBLink(cid, name, tsize)


def _span(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Start and stop of the length-delimited value whose length is written at `at`."""
    if at < end and data[at] < 128:  # nearly all lengths fit one byte
        length, at = data[at], at + 1
    else:
        length, at = read_uvarint(data, at)
    if length > end - at:
        raise FormatError(f"dag-pb: a field ends early ({length} bytes announced, {max(end - at, 0)} left)")
    return at, at + length
