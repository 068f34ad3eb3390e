"""T5: blocks and CARs that match their hash and are made to break a reader: malformed, contradictory, deep, wide.

Each ends in a typed error, in bounded time and memory, and leaves nothing but blocks that are what they are called.
"""

import hashlib
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.demo.faults.server import FaultServer
from holdfast.storage.blocks.car_file import import_car
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.blocks.memory import MemoryStore
from holdfast.storage.cid import CID, DAG_CBOR, DAG_PB, RAW
from holdfast.storage.dag import dagcbor, dagpb, unixfs
from holdfast.storage.dag.car import encode_header, encode_section
from holdfast.storage.dag.dagpb import PBLink, PBNode
from holdfast.storage.dag.unixfs import NodeType, UnixFSNode
from holdfast.storage.errors import HoldfastError
from holdfast.storage.varint import uvarint
from support.dags import Dag
from support.disk import check_copy, files_of
from support.victim import PEAK_BYTES, Victim

TYPED = {"FormatError", "UnsupportedError", "IntegrityError", "HashMismatchError", "ConfigError", "NoLayoutError",
         "UnavailableError"}  # fmt: skip
LEAF = b"leaf of the bomb"


class Bombs(Dag):
    """Blocks in memory, and the bombs made of them."""

    def __init__(self) -> None:
        self.blocks = MemoryStore()
        super().__init__(self.blocks)

    def junk(self, data: bytes, codec: int = DAG_PB) -> CID:
        return self._put(codec, data)

    def chain(self, depth: int, width: int, bottom: CID) -> CID:
        for _ in range(depth):
            bottom = self.directory(**{f"d{n}": bottom for n in range(width)})
        return bottom

    def file_bomb(self, depth: int, width: int) -> CID:
        cid, size = self.raw(LEAF), len(LEAF)
        for _ in range(depth):
            cid, size = self.file(*[(cid, size)] * width), size * width
        return cid

    def hamt_bomb(self, depth: int) -> CID:
        cid = self.raw(LEAF)
        for level in range(depth):
            about = UnixFSNode(NodeType.HAMT, b"\xff" * 32, hash_type=0x22, fanout=256)
            names = [f"{slot:02X}" + ("" if level else "x") for slot in range(256)]
            links = tuple(PBLink(cid, name, 1) for name in names)
            cid = self.junk(dagpb.encode(PBNode(links, unixfs.encode(about))))
        return cid

    def link(self, cid: CID, about: UnixFSNode | None = None, name: str = "x") -> CID:
        data = unixfs.encode(about or UnixFSNode(NodeType.DIRECTORY))
        return self.junk(dagpb.encode(PBNode((PBLink(cid, name, 1),), data)))


def _sized(bombs: Bombs, filesize: int, *sizes: int) -> CID:
    about = UnixFSNode(NodeType.FILE, filesize=filesize, blocksizes=sizes)
    return bombs.link(bombs.raw(LEAF), about, "")


def _hamt(fanout: int) -> UnixFSNode:
    return UnixFSNode(NodeType.HAMT, b"", hash_type=0x22, fanout=fanout)


ROOTS: dict[str, Callable[[Bombs], CID]] = {
    "noise": lambda b: b.junk(random.Random(1).randbytes(500)),
    "nothing": lambda b: b.junk(b""),
    "an unknown field": lambda b: b.junk(b"\x7a\x01x"),
    "a length beyond the end": lambda b: b.junk(b"\x12\xff\xff\xff\xff\x7f"),
    "a varint of eleven bytes": lambda b: b.junk(b"\x12" + b"\xff" * 10 + b"\x01"),
    "65,537 links": lambda b: b.junk((b"\x12\x18\x0a\x16" + b"\x01\x70\x12\x14" + bytes(18)) * 65537),
    "no UnixFS": lambda b: b.junk(dagpb.encode(PBNode((PBLink(b.raw(LEAF), "x", 1),)))),
    "a UnixFS type that nobody knows": lambda b: b.junk(dagpb.encode(PBNode((), b"\x08\x63"))),
    "directories 300 deep": lambda b: b.chain(300, 1, b.raw(LEAF)),
    "2^16 empty directories": lambda b: b.chain(16, 2, b.directory()),
    "2^40 files": lambda b: b.chain(40, 2, b.junk(b"\x0a\x02\x08\x63")),
    "a file of 2^40 parts": lambda b: b.directory(f=b.file_bomb(40, 2)),
    "a file of 1000^4 parts": lambda b: b.directory(f=b.file_bomb(4, 1000)),
    "a HAMT of 256^4 shards": lambda b: b.hamt_bomb(4),
    "a HAMT whose names are in wrong slots": lambda b: b.hamt_bomb(1),
    "a HAMT of fanout 2^60": lambda b: b.link(b.raw(LEAF), _hamt(1 << 60)),
    "a HAMT of fanout 0": lambda b: b.link(b.raw(LEAF), _hamt(0)),
    "a file that says an exabyte": lambda b: b.directory(f=_sized(b, 1 << 60, 1 << 60)),
    "a file whose sizes do not add up": lambda b: b.directory(f=_sized(b, 5, 16)),
    "a file with more sizes than parts": lambda b: b.directory(f=_sized(b, 32, 16, 16)),
    "a file with a part that is not as long": lambda b: b.directory(f=_sized(b, 17, 17)),
    "a part of a codec that nobody knows": lambda b: b.link(CID(1, 0x1234, CID.of(RAW, LEAF).multihash)),
    "a part of a hash that nobody knows": lambda b: b.link(CID(1, RAW, b"\x16\x20" + bytes(32))),
    "a digest of 20 bytes of sha2-256": lambda b: b.link(CID(1, RAW, b"\x12\x14" + hashlib.sha256(LEAF).digest()[:20])),
    "a directory in an identity CID in itself": lambda b: b.link(CID(1, DAG_PB, b"\x00\x04\x0a\x02\x08\x01")),
    "dag-cbor 10,000 deep": lambda b: b.junk(b"\x81" * 10_000, DAG_CBOR),
    "dag-cbor as a directory": lambda b: b.cbor({"x": b.raw(LEAF)}),
}  # fmt: skip


@pytest.mark.parametrize("bomb", ROOTS)
def test_a_tree_that_is_a_bomb_ends_in_a_typed_error(victim: Victim, tmp_path: Path, bomb: str) -> None:
    bombs = Bombs()
    root = ROOTS[bomb](bombs)
    place = tmp_path / "origin/.holdfast/blocks"
    place.mkdir(parents=True)
    for block in bombs.blocks.cids():
        data = bombs.blocks.get(block).data
        for codec in (RAW, DAG_PB, DAG_CBOR):
            (place / str(CID(1, codec, block.multihash))).write_bytes(data)
    (tmp_path / "origin/f").write_bytes(LEAF)
    before = files_of(tmp_path)
    with FaultServer(tmp_path / "origin") as server:
        outcome = victim.get(root, tmp_path / "dest", [server.url], deadline_s=1)
        asked = server.stats().requests
    assert outcome.error in TYPED or (outcome.error == "" and "identity" in bomb) or bomb == "nothing", outcome
    assert outcome.seconds < 60
    assert outcome.peak_bytes < PEAK_BYTES + (64 << 20), "a tree of many links is held while it is walked"
    assert asked < 1000
    assert {name: data for name, data in files_of(tmp_path).items() if not name.startswith("dest/")} == before
    if (tmp_path / "dest").exists() and outcome.error:
        check_copy(tmp_path / "dest", {}, complete=False)


def _car(*sections: bytes, roots: tuple[CID, ...] = (CID.of(RAW, LEAF),)) -> bytes:
    return encode_header(roots) + b"".join(sections)


GOOD = encode_section(CID.of(RAW, LEAF), LEAF)
HEADER = dagcbor.encode({"roots": [CID.of(RAW, LEAF)], "version": 1})
CARS = {
    "nothing": b"",
    "an empty header": b"\0",
    "a header of a gigabyte": uvarint(1 << 30) + HEADER,
    "a header cut": uvarint(len(HEADER)) + HEADER[:-3],
    "a header of version 3": uvarint(len(HEADER)) + HEADER[:-1] + b"\x03",
    "no roots": _car(GOOD, roots=()),
    "a varint of eleven bytes": _car(b"\xff" * 10 + b"\x01"),
    "a section of 2 GiB": _car(uvarint(2 << 30) + b"x"),
    "a section cut": _car(GOOD[:-1]),
    "a section shorter than its CID": _car(uvarint(5) + bytes(5)),
    "an empty section, and more": _car(b"\0" + GOOD),
    "other bytes than the CID says": _car(GOOD[:-1] + b"!"),
    "a good block, then other bytes": _car(GOOD, GOOD[:-1] + b"!"),
    "a hash that nobody knows": _car(uvarint(40) + b"\x01\x55\x16\x20" + bytes(36)),
    "CID version 9": _car(uvarint(40) + b"\x09" + bytes(39)),
    "an identity CID of 200 bytes": _car(uvarint(300) + b"\x01\x55\x00\xc8\x01" + bytes(295)),
    "a CARv2 that points behind itself": b"\x0a\xa1gversion\x02" + bytes(16) + (1 << 40).to_bytes(8, "little") * 3,
    "a CARv2 that was never finished": b"\x0a\xa1gversion\x02" + bytes(40),
    "noise": random.Random(3).randbytes(4000),
}


@pytest.mark.parametrize("attack", CARS)
def test_a_malformed_car_leaves_nothing_in_the_repository(tmp_path: Path, attack: str) -> None:
    car = tmp_path / "x.car"
    car.write_bytes(CARS[attack])
    with DiskStore(tmp_path / "repo").open() as store:
        with pytest.raises(HoldfastError):
            import_car(store, car)
        assert not store.has(CID.of(RAW, LEAF))
    assert not [path for path in (tmp_path / "repo/files").rglob("*") if path.is_file()]


def test_blocks_that_nobody_asked_for_and_blocks_twice_change_nothing(tmp_path: Path) -> None:
    other = encode_section(CID.of(RAW, b"other"), b"other")
    (tmp_path / "x.car").write_bytes(_car(GOOD, other, GOOD, other, bytes(100)))
    with DiskStore(tmp_path / "repo").open() as store:
        done = import_car(store, tmp_path / "x.car")
        assert (done.blocks, done.missing) == (4, None)
        assert store.get(CID.of(RAW, LEAF)).data == LEAF
