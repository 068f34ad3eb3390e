"""Resolve paths and list directories, basic and HAMT, with verified blocks only.

Specification: ipfs/specs, src/unixfs.md, "Path resolution". Symlinks are named, never followed. Paths also lead
through dag-cbor: a segment is a key of a map, or the index of a list item in decimal digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from ..cid import CID, DAG_CBOR, DAG_PB, IDENTITY, RAW
from ..errors import FormatError, UnsupportedError
from ..limits import MAX_PATH_BYTES
from . import dagcbor, dagpb, hamt, unixfs
from .dagcbor import Value
from .dagpb import PBNode
from .names import name_bytes
from .steps import Steps, load, load_node
from .unixfs import NodeType, UnixFSNode

Kind = Literal["file", "directory", "symlink", "raw", "other"]
_KINDS: dict[NodeType, Kind] = {
    NodeType.RAW: "file",
    NodeType.FILE: "file",
    NodeType.DIRECTORY: "directory",
    NodeType.HAMT: "directory",
    NodeType.SYMLINK: "symlink",
}
MAX_ENTRIES = 10_000_000


class PathNotFoundError(FormatError):
    """No entry of this name. Every block on the way was verified, so no source can have one."""

    kind = "path"
    exit_code = 2


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a path leads to.

    `trail` holds the blocks that prove it, root first: directories, HAMT shards, dag-cbor blocks, and the target's
    own root block where it is dag-pb or the path ends inside it. Identity CIDs are not in it. `roots` is the root and
    what each segment led to, where that was another block. `inner`: the path ends at a value inside the dag-cbor
    block `cid`, which has these links; None if it ends at the block itself.
    """

    cid: CID
    kind: Kind
    trail: tuple[CID, ...]
    roots: tuple[CID, ...] = ()
    inner: tuple[CID, ...] | None = None


@dataclass(frozen=True, slots=True)
class DirEntry:
    """An entry of a directory; `tsize` is what its writer claims."""

    name: str
    cid: CID
    tsize: int | None


def resolve(root: CID, path: Sequence[str]) -> Steps[Resolved]:
    """Follow `path` from `root`. Raises `PathNotFoundError`; `UnsupportedError` beyond a symlink."""
    if sum(len(segment) + 1 for segment in path) > MAX_PATH_BYTES + 1:
        raise PathNotFoundError(f"the path has more than {MAX_PATH_BYTES} bytes")
    trail: list[CID] = []
    roots, cid = [root], root
    rest = list(reversed(path))
    while rest:
        where = "/".join([root.short(), *path[: len(path) - len(rest)]])
        if cid.codec == DAG_CBOR:
            value = dagcbor.decode((yield from load(cid)))
            _pass(trail, cid)
            found = _follow(value, rest, where)
            if not isinstance(found, CID):
                return Resolved(cid, "other", tuple(trail), tuple(roots), tuple(dagcbor.links_of(found)))
        else:
            found = yield from _entry(cid, rest.pop(), where, trail)
        cid = found
        roots.append(cid)
    if cid.codec == RAW:
        return Resolved(cid, "raw", tuple(trail), tuple(roots))
    if cid.codec != DAG_PB:
        return Resolved(cid, "other", tuple(trail), tuple(roots))
    target = dagpb.decode((yield from load(cid)))
    _pass(trail, cid)
    kind = None if target.data is None else unixfs.decode(target.data).type
    return Resolved(cid, _KINDS.get(kind, "other") if kind is not None else "other", tuple(trail), tuple(roots))


def _follow(value: Value, rest: list[str], where: str) -> Value:
    """Take segments off the end of `rest` as long as they lead on inside `value`: a link, or where they end."""
    while rest and not isinstance(value, CID):
        segment = _checked(rest.pop())
        if isinstance(value, dict) and segment in value:
            value = value[segment]
        elif isinstance(value, list) and (index := _index(segment)) is not None and index < len(value):
            value = value[index]
        else:
            raise PathNotFoundError(f"{where} has no {segment!r}")
        where = f"{where}/{segment}"
    return value


def _entry(cid: CID, segment: str, where: str, trail: list[CID]) -> Steps[CID]:
    """The entry `segment` of a UnixFS directory; the blocks read go to `trail`."""
    name = _checked(segment).encode()
    if cid.codec == RAW:
        raise PathNotFoundError(f"{where} is a file, so it has no {segment!r}")
    node, about = yield from load_node(cid)
    _pass(trail, cid)
    if about.type is NodeType.SYMLINK:
        raise UnsupportedError(f"{where} is a symlink, which holdfast does not follow")
    if about.type is NodeType.DIRECTORY:
        found = _find(node, segment, where)
    elif about.type is NodeType.HAMT:
        found = yield from _find_in_hamt(node, about, name, trail)
    else:
        raise PathNotFoundError(f"{where} is a file, so it has no {segment!r}")
    if found is None:
        raise PathNotFoundError(f"{where} has no {segment!r}")
    return found


def _checked(segment: str) -> str:
    try:
        name_bytes(segment)
    except FormatError as error:
        raise PathNotFoundError(error.message) from error
    return segment


def _index(segment: str) -> int | None:
    """The index that a segment spells: decimal, without leading zeros, so that each item has one path."""
    short = len(segment) < 10 and segment.isascii() and segment.isdigit()
    return int(segment) if short and str(int(segment)) == segment else None


def list_directory(cid: CID, *, max_entries: int = MAX_ENTRIES) -> Steps[list[DirEntry]]:
    """The entries of a directory, sorted bytewise by name; walks all shards of a HAMT.

    Raises `FormatError` for names that occur twice or that no file may have, and above `max_entries`.
    """
    entries: list[DirEntry] = []
    seen = {cid}  # shards; one that comes twice cannot hold names that belong into both slots
    stack: list[tuple[CID, bytes]] = [(cid, b"")]
    while stack:
        here, path = stack.pop()
        node, about = yield from load_node(here)
        if about.type is NodeType.HAMT:
            for slot in hamt.read_shard(node, about, path):
                if slot.name:
                    entries.append(DirEntry(slot.name, slot.link.cid, slot.link.tsize))
                    continue
                if slot.link.cid in seen:
                    raise FormatError(f"the HAMT {cid.short()} contains the shard {slot.link.cid.short()} twice")
                seen.add(slot.link.cid)
                stack.append((slot.link.cid, path + bytes([slot.index])))
        elif about.type is NodeType.DIRECTORY and not path:
            entries += [DirEntry(link.name or "", link.cid, link.tsize) for link in node.links]
        else:
            raise FormatError(f"{here.short()} is a UnixFS {about.type.name.lower()}, not a directory")
        if len(entries) + len(stack) > max_entries:  # a shard on the stack has an entry or is malformed
            raise FormatError(f"the directory {cid.short()} has more than {max_entries} entries")
    keyed = sorted((name_bytes(entry.name), at) for at, entry in enumerate(entries))
    for (name, _), (following, _) in pairwise(keyed):
        if name == following:
            raise FormatError(f"the directory {cid.short()} has two entries called {name.decode()!r}")
    return [entries[at] for _, at in keyed]


def _pass(trail: list[CID], cid: CID) -> None:
    if cid.hash_code != IDENTITY:
        trail.append(cid)


def _find(node: PBNode, segment: str, where: str) -> CID | None:
    found = [link.cid for link in node.links if link.name == segment]
    if len(found) > 1:
        raise FormatError(f"{where} has two entries called {segment!r}")
    return found[0] if found else None


def _find_in_hamt(node: PBNode, about: UnixFSNode, name: bytes, trail: list[CID]) -> Steps[CID | None]:
    path = b""
    while True:  # ends: read_shard refuses the ninth level
        slot = hamt.find(hamt.read_shard(node, about, path), name, len(path))
        if slot is None:
            return None
        if slot.name:
            return slot.link.cid
        path += bytes([slot.index])
        node, about = yield from load_node(slot.link.cid)
        if about.type is not NodeType.HAMT:
            raise FormatError(f"{slot.link.cid.short()} is not a HAMT shard, where one should be")
        _pass(trail, slot.link.cid)
