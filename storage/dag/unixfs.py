"""UnixFS: what a dag-pb node says about files and directories, in its Data.

Specification: ipfs/specs, src/unixfs.md, "dag-pb node". Unknown fields are skipped, as protobuf asks of
readers; repeated single fields are errors. Fractions of a second of `mtime` are read over.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from ..errors import FormatError, UnsupportedError
from ..limits import MAX_BLOCK_BYTES
from ..varint import read_uvarint
from .protobuf import BYTES, VARINT, bytes_field, fields, varint_field

MURMUR3_X64_64 = 0x22  # the only hash of HAMT directories


class NodeType(IntEnum):
    """Data.DataType."""

    RAW = 0
    DIRECTORY = 1
    FILE = 2
    METADATA = 3
    SYMLINK = 4
    HAMT = 5


@dataclass(frozen=True, slots=True)
class UnixFSNode:
    """One UnixFS Data message. Absent fields are None; no `data` and empty data are different bytes."""

    type: NodeType
    data: bytes | None = None
    filesize: int | None = None
    blocksizes: tuple[int, ...] = ()
    hash_type: int | None = None
    fanout: int | None = None
    mode: int | None = None
    mtime: int | None = None


_TYPE, _DATA, _FILESIZE, _BLOCKSIZES, _HASH_TYPE, _FANOUT, _MODE, _MTIME = range(1, 9)
_SECONDS = 1
_KNOWN = frozenset(int(kind) for kind in NodeType)
_WIRE = {
    _TYPE: VARINT,
    _DATA: BYTES,
    _FILESIZE: VARINT,
    _HASH_TYPE: VARINT,
    _FANOUT: VARINT,
    _MODE: VARINT,
    _MTIME: BYTES,
}


def encode(node: UnixFSNode) -> bytes:
    """The Data bytes of `node`; blocksizes unpacked, as every writer does (proto2)."""
    parts = [varint_field(_TYPE, node.type)]
    if node.data is not None:
        parts.append(bytes_field(_DATA, node.data))
    if node.filesize is not None:
        parts.append(varint_field(_FILESIZE, node.filesize))
    parts += [varint_field(_BLOCKSIZES, size) for size in node.blocksizes]
    for number, value in ((_HASH_TYPE, node.hash_type), (_FANOUT, node.fanout), (_MODE, node.mode)):
        if value is not None:
            parts.append(varint_field(number, value))
    if node.mtime is not None:
        parts.append(bytes_field(_MTIME, varint_field(_SECONDS, node.mtime)))
    return b"".join(parts)


def decode(data: bytes) -> UnixFSNode:
    """Read Data bytes. Raises `FormatError`, or `UnsupportedError` for an unknown type of node."""
    if len(data) > MAX_BLOCK_BYTES:
        raise FormatError(f"UnixFS data of {len(data)} bytes (at most {MAX_BLOCK_BYTES})")
    found: dict[int, int | bytes] = {}
    sizes: list[int] = []
    for number, wire, value in fields(bytes(data)):
        if number == _BLOCKSIZES and wire in (VARINT, BYTES):
            sizes += [value] if isinstance(value, int) else _packed(value)
        elif number in _WIRE:
            if wire != _WIRE[number]:
                raise FormatError(f"UnixFS: field {number} has the wire type {wire}")
            if number in found:
                raise FormatError(f"UnixFS: field {number} is there twice")
            found[number] = value
    kind, filesize = _integer(found, _TYPE), _integer(found, _FILESIZE)
    if kind is None:
        raise FormatError("UnixFS: no Type")
    if kind not in _KNOWN:
        raise UnsupportedError(f"UnixFS: nodes of type {kind} are not known")
    numbers = (filesize, _integer(found, _HASH_TYPE), _integer(found, _FANOUT), _integer(found, _MODE))
    if any(size < 0 for size in sizes) or any(number is not None and number < 0 for number in numbers):
        raise FormatError("UnixFS: a size, mode, hash or fanout of 2**63 or more")
    body, when = found.get(_DATA), found.get(_MTIME)
    return UnixFSNode(
        NodeType(kind),
        body if isinstance(body, bytes) else None,
        filesize,
        tuple(sizes),
        *numbers[1:],
        _seconds(when) if isinstance(when, bytes) else None,
    )


def _integer(found: dict[int, int | bytes], number: int) -> int | None:
    value = found.get(number)
    return value if isinstance(value, int) else None


def _packed(data: bytes) -> list[int]:
    sizes, at = [], 0
    while at < len(data):
        size, at = read_uvarint(data, at)
        sizes.append(size)
    return sizes


def _seconds(data: bytes) -> int:
    """`UnixTime.Seconds`, which is required."""
    seconds = [value for number, wire, value in fields(data) if number == _SECONDS and wire == VARINT]
    if len(seconds) != 1 or not isinstance(seconds[0], int):
        raise FormatError("UnixFS: mtime has no Seconds")
    return seconds[0]
