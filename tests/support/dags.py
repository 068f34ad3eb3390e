"""Small DAGs put into a store, and a plain recursive walker over them: the oracle for CARs."""

from __future__ import annotations

import io
from collections.abc import Sequence

from holdfast.storage.blocks.block import Block
from holdfast.storage.blocks.store import BlockStore
from holdfast.storage.cid import CID, DAG_CBOR, DAG_PB, IDENTITY, RAW
from holdfast.storage.dag import dagcbor, dagpb, unixfs
from holdfast.storage.dag.car import CarReader
from holdfast.storage.dag.dagcbor import Value
from holdfast.storage.dag.dagpb import PBLink, PBNode
from holdfast.storage.dag.unixfs import NodeType, UnixFSNode


class Dag:
    """Puts blocks into `store`; each method returns the CID."""

    def __init__(self, store: BlockStore) -> None:
        self.store = store

    def raw(self, data: bytes) -> CID:
        return self._put(RAW, data)

    def cbor(self, value: Value) -> CID:
        return self._put(DAG_CBOR, dagcbor.encode(value))

    def file(self, *parts: tuple[CID, int], own: bytes = b"") -> CID:
        sizes = tuple(size for _, size in parts)
        about = UnixFSNode(NodeType.FILE, own or None, len(own) + sum(sizes), sizes)
        links = tuple(PBLink(cid, "", size) for cid, size in parts)
        return self._put(DAG_PB, dagpb.encode(PBNode(links, unixfs.encode(about))))

    def directory(self, **entries: CID) -> CID:
        links = tuple(PBLink(cid, name, 1) for name, cid in sorted(entries.items()))
        return self._put(DAG_PB, dagpb.encode(PBNode(links, unixfs.encode(UnixFSNode(NodeType.DIRECTORY)))))

    def _put(self, codec: int, data: bytes) -> CID:
        block = Block.encode(codec, data)
        self.store.put(block.cid, block.data)
        return block.cid

    def walk(self, cid: CID) -> list[CID]:
        """Every block, depth first, whenever it is met."""
        inline = cid.hash_code == IDENTITY
        data = cid.digest if inline else self.store.get(cid).data
        below: list[CID] = []
        if cid.codec == DAG_PB:
            below = [link.cid for link in dagpb.decode(data).links]
        elif cid.codec == DAG_CBOR:
            below = _links(dagcbor.decode(data))
        return ([] if inline else [cid]) + [found for child in below for found in self.walk(child)]


def once(cids: Sequence[CID]) -> list[CID]:
    """Each the first time."""
    return list(dict.fromkeys(cids))


def car_cids(body: bytes) -> list[CID]:
    """The verified blocks of a CAR, in order."""
    return [block.cid for block in CarReader(io.BytesIO(body))]


def inline(data: bytes, codec: int = RAW) -> CID:
    return CID(1, codec, bytes([IDENTITY, len(data)]) + data)


def _links(value: Value) -> list[CID]:
    if isinstance(value, CID):
        return [value]
    items = value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
    return [cid for item in items for cid in _links(item)]
