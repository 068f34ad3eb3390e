"""Blocks in a dictionary, and what tests build of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from holdfast.storage.blocks.block import Block
from holdfast.storage.cid import CID, DAG_CBOR, DAG_PB, RAW
from holdfast.storage.dag import dagcbor, dagpb, unixfs
from holdfast.storage.dag.build import Entry, build_file
from holdfast.storage.dag.dagcbor import Value
from holdfast.storage.dag.dagpb import PBLink, PBNode
from holdfast.storage.dag.layout import FileLayout
from holdfast.storage.dag.unixfs import NodeType, UnixFSNode


class Blocks(dict[CID, bytes]):
    """A store that counts what it is asked for."""

    def __init__(self, blocks: Iterable[Block] = ()) -> None:
        super().__init__()
        self.asked: list[CID] = []
        self.add(blocks)

    def add(self, blocks: Iterable[Block]) -> None:
        for block in blocks:
            self[block.cid] = block.data

    def node(self, about: UnixFSNode | None, *links: PBLink) -> CID:
        """Add a dag-pb block."""
        data = dagpb.encode(PBNode(links, None if about is None else unixfs.encode(about)))
        block = Block.encode(DAG_PB, data)
        self[block.cid] = data
        return block.cid

    def file(self, *children: tuple[CID, int], filesize: int | None = None) -> CID:
        """Add a file node over `children` and their sizes."""
        sizes = tuple(size for _, size in children)
        about = UnixFSNode(NodeType.FILE, None, sum(sizes) if filesize is None else filesize, sizes)
        return self.node(about, *(PBLink(cid, "", size) for cid, size in children))

    def directory(self, *entries: tuple[str, CID]) -> CID:
        """Add a directory node, as given: neither sorted nor checked."""
        return self.node(UnixFSNode(NodeType.DIRECTORY), *(PBLink(cid, name, 1) for name, cid in entries))

    def cbor(self, value: Value) -> CID:
        """Add a dag-cbor block."""
        block = Block.encode(DAG_CBOR, dagcbor.encode(value))
        self[block.cid] = block.data
        return block.cid

    def get(self, cid: CID) -> bytes:  # type: ignore[override]
        self.asked.append(cid)
        return self[cid]


def leaf(data: bytes) -> Block:
    return Block.encode(RAW, data)


def entry(data: bytes) -> Entry:
    return Entry(CID.of(RAW, data), len(data))


def keystream(seed: str, size: int, chunk: int = 1 << 20) -> Iterator[bytes]:
    """The deterministic bytes of Kubo's tests: ChaCha20 under sha256(seed), zero nonce."""
    cipher = Cipher(algorithms.ChaCha20(hashlib.sha256(seed.encode()).digest(), bytes(16)), None).encryptor()
    zeros = bytes(chunk)
    while size:
        step = min(size, chunk)
        yield cipher.update(zeros[:step])
        size -= step


def split(data: bytes, leaf_size: int) -> list[bytes]:
    return [data[at : at + leaf_size] for at in range(0, len(data), leaf_size)] or [b""]


def add_file(blocks: Blocks, data: bytes, leaf_size: int) -> tuple[FileLayout, Entry]:
    """Build a file, leaves and all, into `blocks`."""
    leaves = [leaf(part) for part in split(data, leaf_size)]
    layout, target, nodes = build_file(len(data), leaf_size, b"".join(block.cid.digest for block in leaves))
    blocks.add([*leaves, *nodes])
    return layout, target
