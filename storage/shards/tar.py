"""Tar shards by the WebDataset convention: consecutive members of one key are one sample.

Names are data: nothing here touches the file system. Reads ustar, pax (`path`, `size`) and GNU long names, as tar
programs and webdataset's `ShardWriter` write them. A header walk costs 3 µs a member, `tarfile` 50.

Only regular files are data. Links, devices and sparse files are named to `on_skipped(name, reason)`, by those who
write an index and those who read by it alike; directories are passed over in silence, for nothing is in them.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..errors import FormatError

BLOCK = 512
_MAX_EXTENSION_BYTES = 1 << 20  # of one pax header or long name
_KEY = re.compile(r"^((?:.*/|)[^.]+)[.]([^/]*)$", re.DOTALL)
_TIME = re.compile(rb"([0-9]{1,2}) mtime=[0-9.]*\n")
_EXTENSIONS = {b"x", b"g", b"L", b"K"}
_REGULAR = {b"0", b"\0", b"7"}
_NOT_DATA = {
    b"1": "a hard link", b"2": "a symbolic link", b"3": "a character device", b"4": "a block device",
    b"5": "", b"6": "a named pipe",
}  # fmt: skip  # a directory has no reason: it is not named
_SPARSE = "a sparse member"
_MAX_DIGITS = 20  # of a decimal number: `int` refuses 4,300, and no size has more than these
RESERVED = frozenset({"__key__", "__index__"})  # a loader's own keys in a sample


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file: its name, where its first header (extensions included) and its data start, its size."""

    name: str
    header: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class SampleSpan:
    """The bytes [start, end) of one sample, its key, and the extensions of its members in order."""

    key: str
    start: int
    end: int
    extensions: tuple[str, ...] = ()


Read = Callable[[int, int], bytes | memoryview]
OnSkipped = Callable[[str, str], None]


def _ignore(_name: str, _reason: str) -> None:
    pass


def split_name(name: str) -> tuple[str, str] | None:
    """Key and extension by webdataset's rule: cut at the first dot of the last segment. None: no extension."""
    start = name.rfind("/") + 1
    dot = name.find(".", start)
    if dot > start:
        return name[:dot], name[dot + 1 :]
    match = _KEY.match(name)
    return (match[1], match[2]) if match else None


def members(read: Read, size: int, on_skipped: OnSkipped = _ignore) -> Iterator[Member]:
    """The regular members of a tar of `size` bytes; `read(start, end)` gives its bytes.

    Raises `FormatError` for a bad checksum or number, a size that leaves the archive, an unknown type, or an archive
    that ends early.
    """
    at, first, long_name, long_size, sparse = 0, -1, None, None, False
    while at + BLOCK <= size:
        head = bytes(read(at, at + BLOCK))
        if not head.strip(b"\0"):
            return
        _check_sum(head, at)
        kind, length = head[156:157], _number(head[124:136], at)
        first = at if first < 0 else first
        body = at + BLOCK
        if kind in _EXTENSIONS:
            if length > _MAX_EXTENSION_BYTES or body + length > size:
                raise FormatError(f"a tar extension header at byte {at} has {length} bytes")
            data = bytes(read(body, body + length))
            if kind == b"L":
                long_name = _text(data.rstrip(b"\0"))
            elif kind == b"x":
                fields = _pax(data, at)
                long_name = fields.get("GNU.sparse.name") or fields.get("path", long_name)
                long_size = _decimal(fields["size"], at) if fields.get("size") else long_size
                sparse = sparse or any(key.startswith("GNU.sparse.") for key in fields)
        else:
            length = length if long_size is None else long_size
            name = long_name or _name(head)
            if kind in _NOT_DATA:  # nothing follows their header, whatever size it says
                length = 0
                if _NOT_DATA[kind]:
                    on_skipped(name, _NOT_DATA[kind])
            elif kind == b"S":
                body = _after_sparse_map(read, head, body, size)
            elif kind not in _REGULAR:
                raise FormatError(f"a tar member at byte {at} has the unknown type {kind!r}")
            if body + length > size:
                raise FormatError(f"a tar member at byte {at} ends {body + length - size} bytes behind the archive")
            if kind == b"S" or (sparse and kind in _REGULAR):  # their data are a map, and what lies between the holes
                on_skipped(name, _SPARSE)
            elif kind in _REGULAR:
                yield Member(name, first, body, length)
            first, long_name, long_size, sparse = -1, None, None, False
        at = body + -(-length // BLOCK) * BLOCK
    if at < size or first >= 0:
        raise FormatError(f"the tar ends early, at byte {size}")


def samples(read: Read, size: int, on_skipped: OnSkipped = _ignore) -> Iterator[SampleSpan]:
    """The samples of a tar, in order. What can be no part of one is named to `on_skipped`.

    Raises `FormatError` as `members` does, and for a sample with two members of one extension.
    """
    key, start, end = "", -1, 0
    found: list[str] = []
    for member, parts in _parts(read, size, on_skipped):
        if start >= 0 and parts[0] != key:
            yield SampleSpan(key, start, end, tuple(found))
            start = -1
        if start < 0:
            key, start, found = parts[0], member.header, []
        if parts[1] in found:
            raise FormatError(f"member {member.name!r} comes twice in sample {key!r}")
        found.append(parts[1])
        end = member.offset + -(-member.size // BLOCK) * BLOCK
    if start >= 0:
        yield SampleSpan(key, start, min(end, size), tuple(found))


def read_sample(span: memoryview) -> tuple[str, dict[str, memoryview]]:
    """Key and extension → the bytes of the one sample in `span`: views of it. Raises as `find_members` does."""
    key, found = find_members(lambda start, end: span[start:end].tobytes(), len(span))
    return key, {extension: span[start:end] for extension, (start, end) in found.items()}


def find_members(read: Callable[[int, int], bytes], size: int) -> tuple[str, dict[str, tuple[int, int]]]:
    """Key of the one sample in `size` bytes, and extension → where its bytes start and end. Reads headers only.

    Raises `FormatError` when there is none, or an extension comes twice.
    """
    found: dict[str, tuple[int, int]] = {}
    key = None
    for (own, extension), start, end in _plain_parts(read, size) or _all_parts(read, size):
        if key is None:
            key = own
        if own != key or extension in found:
            raise FormatError(f"member {own}.{extension!r} does not belong to sample {key!r}, or is there twice")
        found[extension] = start, end
    if key is None:
        raise FormatError("there is no sample in this part of the tar")
    return key, found


_Part = tuple[tuple[str, str], int, int]  # key and extension, and where the data start and end


def _all_parts(read: Read, size: int) -> Iterator[_Part]:
    for member, parts in _parts(read, size):
        yield parts, member.offset, member.offset + member.size


def _plain_parts(read: Callable[[int, int], bytes], size: int) -> list[_Part] | None:
    """What `_all_parts` yields, at a third of its price; None where a member is anything but a regular file of a short
    name in a sample, alone or behind a pax header with a time and nothing else, or where the walk would raise.
    """
    found, at, timed = list[_Part](), 0, False
    while at < size:
        head = read(at, min(at + BLOCK, size))
        if len(head) < BLOCK or not _sums_up(head):
            return None
        digits = head[124:136].rstrip(b"\0 ")
        if digits.translate(None, b"01234567") or not digits:
            return None
        start, length = at + BLOCK, int(digits, 8)
        if start + length > size:
            return None
        kind, timed = head[156], head[156] == 0x78
        if timed:  # webdataset's `ShardWriter` puts one before each member
            if length > 64 or not (time := _TIME.fullmatch(read(start, start + length))) or int(time[1]) != length:
                return None
        else:
            parts = split_name(_text(head[:100].partition(b"\0")[0]))
            if kind != 0x30 or head[345] or not head[0] or parts is None or parts[1] in RESERVED:
                return None
            found.append((parts, start, start + length))
        at = start + -(-length // BLOCK) * BLOCK
    return found if at == size and not timed else None


def _parts(read: Read, size: int, on_skipped: OnSkipped = _ignore) -> Iterator[tuple[Member, tuple[str, str]]]:
    """The members that are part of a sample, with key and extension: the one rule for writers and readers."""
    for member in members(read, size, on_skipped):
        parts = split_name(member.name)
        if parts is None:
            on_skipped(member.name, "a member whose name has no extension")
        elif parts[1] in RESERVED:
            on_skipped(member.name, f"{parts[1]} is a key of holdfast's own")
        else:
            yield member, parts


def _after_sparse_map(read: Read, head: bytes, body: int, size: int) -> int:
    """Where the data of an old GNU sparse member start: behind the blocks that continue its map."""
    more = head[482]
    while more:
        if body + BLOCK > size:
            raise FormatError(f"the tar ends early, at byte {size}")
        more = bytes(read(body, body + BLOCK))[504]
        body += BLOCK
    return body


def _check_sum(head: bytes, at: int) -> None:
    _number(head[148:156], at)
    if not _sums_up(head):
        raise FormatError(f"the tar header at byte {at} has a bad checksum")


def _sums_up(head: bytes) -> bool:
    """Whether the checksum is right. The sum of some bytes is the low half of their Adler-32, less 1, 20 times faster
    than `sum`; modulo 65,521, which 256 bytes do not reach.
    """
    field = head[148:156]
    digits = field.partition(b"\0")[0].strip()
    if field[0] & 0x80 or digits.translate(None, b"01234567"):
        return False
    expected = (int(digits, 8) if digits else 0) + sum(field) - 8 * 32
    found = (zlib.adler32(head[:256]) & 0xFFFF) + (zlib.adler32(head[256:]) & 0xFFFF) - 2
    return found == expected


def _number(field: bytes, at: int) -> int:
    if field[0] & 0x80:  # GNU base-256
        return int.from_bytes(field, "big") & ~(0x80 << 8 * (len(field) - 1))
    text = field.partition(b"\0")[0].strip()
    if text.translate(None, b"01234567"):  # `int` would take signs and underscores, and a walk could go backwards
        raise FormatError(f"the tar header at byte {at} has a bad number")
    return int(text, 8) if text else 0


def _name(head: bytes) -> str:
    name = head[:100].partition(b"\0")[0]
    if head[345] and head[257:263] == b"ustar\0":
        return _text(head[345:500].partition(b"\0")[0] + b"/" + name)
    return _text(name)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _decimal(text: str, at: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):  # "²".isdigit() too, and `int` raises
        raise FormatError(f"the pax header at byte {at} has a bad number")
    return int(text)


def _pax(data: bytes, at: int) -> dict[str, str]:
    fields: dict[str, str] = {}
    start = 0
    while start < len(data):
        digits = data[start : start + _MAX_DIGITS + 1].partition(b" ")[0]
        length = _decimal(_text(digits), at)
        if not len(digits) + 1 < length <= len(data) - start:
            raise FormatError(f"the pax header at byte {at} is malformed")
        key, _, value = data[start + len(digits) + 1 : start + length].removesuffix(b"\n").partition(b"=")
        fields[_text(key)] = _text(value)
        start += length
    return fields
