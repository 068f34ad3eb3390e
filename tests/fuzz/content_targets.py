"""Parsers of content-addressed data: CIDs, codecs, DAGs and CARs."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from fuzz import seeds
from fuzz.target import target
from holdfast.storage.cid import CID, DAG_PB, RAW
from holdfast.storage.dag import dagcbor, dagpb, hamt, protobuf, unixfs, walk
from holdfast.storage.dag.car import CarReader
from holdfast.storage.dag.entity_bytes import EntityBytes, bytes_order
from holdfast.storage.dag.layout import FileLayout
from holdfast.storage.errors import BlockMissingError, HoldfastError
from holdfast.storage.uri import DatasetUri
from holdfast.storage.varint import read_uvarint, uvarint

# -- bytes of CIDs, varints and codecs


@target(lambda: [uvarint(n) for n in (0, 127, 128, 1 << 40, (1 << 63) - 1)])
def varint(data: bytes) -> object:
    value, end = read_uvarint(data, 0)
    assert uvarint(value) == data[:end]
    return value


@target(seeds.cids)
def cid_binary(data: bytes) -> object:
    cid, end = CID.read(data, 0)
    assert bytes(cid) == data[:end]
    assert CID.parse(str(cid)) == cid
    return cid


@target(seeds.cid_texts)
def cid_text(data: bytes) -> object:
    cid = CID.parse(data.decode("utf-8", "surrogateescape"))
    assert CID.parse(str(cid)) == cid
    cid.matches(b"x")
    return cid.short()


@target(seeds.uris)
def uri(data: bytes) -> object:
    found = DatasetUri.parse(data.decode("utf-8", "surrogateescape"))
    return str(found)


@target(seeds.nodes)
def protobuf_fields(data: bytes) -> object:
    return list(protobuf.fields(data))


@target(lambda: seeds.vectors("dag-pb") + seeds.nodes())
def dag_pb(data: bytes) -> object:
    node = dagpb.decode(data)
    assert dagpb.decode(dagpb.encode(node)) == node
    return node


@target(seeds.unixfs_data)
def unixfs_data(data: bytes) -> object:
    about = unixfs.decode(data)
    assert unixfs.decode(unixfs.encode(about)) == about
    return about


@target(lambda: seeds.vectors("dag-cbor"), factor=2000)
def dag_cbor(data: bytes) -> object:
    value = dagcbor.decode(data)
    assert dagcbor.encode(value) == data
    return dagcbor.links_of(value)


@target(seeds.nodes)
def hamt_shard(data: bytes) -> object:
    node = dagpb.decode(data)
    return hamt.read_shard(node, unixfs.decode(node.data or b""))


# -- walks over blocks that name each other


def _blocks(data: bytes) -> tuple[dict[bytes, bytes], CID]:
    found, last, at = {}, b"", 0
    while at + 2 <= len(data):
        length = int.from_bytes(data[at : at + 2], "big")
        last = data[at + 2 : at + 2 + length]
        found[CID.of(RAW, last).multihash] = last
        at += 2 + length
    return found, CID.of(DAG_PB, last)


def _walked(steps: Any, data: Callable[[CID], bytes], limit: int = 5000) -> int:
    """A walk that yields as it goes, up to `limit` blocks."""
    count = 0
    cid = next(steps, None)
    while cid is not None and count < limit:
        count += 1
        try:
            cid = steps.send(b"" if cid.codec == RAW else data(cid))
        except StopIteration:
            break
    steps.close()
    return count


@target(seeds.dags, factor=20_000)
def walks(data: bytes) -> object:
    """Directory, path, file layout, content and CAR order of the last block: each may fail in its own way."""
    known, root = _blocks(data)

    def get(cid: CID) -> bytes:
        if cid.multihash not in known:
            raise BlockMissingError("not in the input")
        return known[cid.multihash]

    done: list[object] = []
    for step in (
        lambda: walk.run(walk.list_directory(root, max_entries=2000), get),
        lambda: walk.run(walk.resolve(root, ("a", "b")), get),
        lambda: walk.run(walk.link_target(root), get),
        lambda: _layout(walk.run(walk.file_layout(root, max_leaves=5000), get)),
        lambda: _read_all(walk.ContentWalk(root, max_parts=2000), get),
        lambda: _walked(walk.dag_order(root, "all"), get),
        lambda: _walked(walk.dag_order(root, "entity"), get),
        lambda: _walked(bytes_order(root, EntityBytes(3, 90)), get),
    ):
        try:
            done.append(step())
        except HoldfastError:
            continue
    return done


def _layout(layout: FileLayout) -> object:
    assert layout.leaves <= 5000
    assert sum(layout.leaf_length(leaf) for leaf in range(layout.leaves)) == layout.size
    return layout


def _read_all(content: walk.ContentWalk, get: Callable[[CID], bytes]) -> int:
    total = 0
    while (part := content.next()) is not None:
        total += len(content.take(get(part.cid)))
    return total


@target(seeds.cars)
def car(data: bytes) -> object:
    reader = CarReader(io.BytesIO(data))
    return [block.cid for block in reader], reader.roots


class _OneByOne(io.BytesIO):
    """A pipe: fewer bytes than were asked for."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(size or 0, 3) if size and size > 0 else size)


@target(seeds.cars)
def car_from_a_pipe(data: bytes) -> object:
    def outcome(stream: io.BytesIO) -> object:
        reader = CarReader(stream)
        found: list[object] = []
        try:
            found += [section.data_offset for section in reader.sections()]
        except HoldfastError as error:
            found.append(str(error))
        return found

    assert outcome(io.BytesIO(data)) == outcome(_OneByOne(data))
    return None
