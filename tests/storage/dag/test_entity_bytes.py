"""entity-bytes: the least blocks that prove a range, against a walker that looks at every byte."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.storage.blocks.block import Block
from holdfast.storage.cid import CID, DAG_PB, IDENTITY, RAW
from holdfast.storage.dag import dagpb, hamt, unixfs
from holdfast.storage.dag.dagpb import PBLink, PBNode
from holdfast.storage.dag.entity_bytes import EntityBytes, bytes_order
from holdfast.storage.dag.unixfs import NodeType, UnixFSNode
from holdfast.storage.dag.walk import run
from holdfast.storage.errors import FormatError

from .blocks import Blocks, leaf


def order(root: CID, wanted: EntityBytes, blocks: Blocks, *, dups: bool = False) -> list[CID]:
    found: list[CID] = []

    def get(cid: CID) -> bytes:
        found.append(cid)
        return blocks[cid]

    run(bytes_order(root, wanted, dups=dups), get)
    return found


@dataclass
class Tree:
    """A file node: its own bytes, then its parts. A tree without parts is a leaf: raw, dag-pb or inline."""

    own: bytes
    parts: list[Tree] = field(default_factory=list)
    kind: str = "raw"

    @property
    def data(self) -> bytes:
        return self.own + b"".join(part.data for part in self.parts)

    def build(self, blocks: Blocks) -> CID:
        links, sizes = [], []
        for part in self.parts:
            links.append(PBLink(part.build(blocks), "", 7))  # sizes of links are lies, as they may be
            sizes.append(len(part.data))
        if not self.parts and self.kind == "raw":
            block = leaf(self.own)
        elif not self.parts and self.kind == "inline":
            return CID(1, RAW, bytes([IDENTITY, len(self.own)]) + self.own)
        else:
            about = UnixFSNode(NodeType.FILE, self.own or None, len(self.data), tuple(sizes))
            block = Block.encode(DAG_PB, dagpb.encode(PBNode(tuple(links), unixfs.encode(about))))
        blocks.add([block])
        return block.cid

    def needed(self, blocks: Blocks, start: int, end: int, at: int = 0) -> list[CID]:
        """By brute force: every node one of whose bytes is wanted, as often as it is met."""
        if not any(start <= byte < end for byte in range(at, at + len(self.data))):
            return []
        cid = self.build(blocks)
        found = [] if cid.hash_code == IDENTITY else [cid]
        at += len(self.own)
        for part in self.parts:
            found += part.needed(blocks, start, end, at)
            at += len(part.data)
        return found


leaves = st.builds(
    lambda text, kind: Tree(text, [], kind),
    st.sampled_from([b"", b"a", b"bb", b"ccc"]),
    st.sampled_from(["raw", "pb", "inline"]),
)
trees = st.recursive(
    leaves,
    lambda inner: st.builds(
        lambda own, parts: Tree(own, parts, "pb"),
        st.sampled_from([b"", b"own"]),
        st.lists(inner, min_size=1, max_size=4),
    ),
    max_leaves=12,
)
offsets = st.integers(-30, 30)


def expected_range(first: int, last: int | None, size: int) -> set[int]:
    """The specification's words, byte by byte."""
    low = size + first if first < 0 else first
    high = size - 1 if last is None else size + last if last < 0 else last
    return {byte for byte in range(size) if low <= byte <= high}


@given(trees, offsets, offsets | st.none(), st.booleans())
def test_exactly_the_blocks_that_prove_the_range_in_order(tree: Tree, first: int, last: int | None, dups: bool) -> None:
    blocks = Blocks()
    root = tree.build(blocks)
    wanted = sorted(expected_range(first, last, len(tree.data)))
    needed = tree.needed(blocks, wanted[0], wanted[-1] + 1) if wanted else []
    if not needed and root.hash_code != IDENTITY:
        needed = [root]  # outside: as dag-scope=block
    assert order(root, EntityBytes(first, last), blocks, dups=dups) == (needed if dups else list(dict.fromkeys(needed)))


@given(offsets, offsets | st.none(), st.integers(0, 30))
def test_the_range_inside_a_file_is_what_the_specification_says(first: int, last: int | None, size: int) -> None:
    start, end = EntityBytes(first, last).within(size)
    assert set(range(start, end)) == expected_range(first, last, size)


@pytest.mark.parametrize("text", ["0:*", "5:9", "-1024:*", "499:-1000", "-9:-3", "7:7", "-5:100"])
def test_every_form_is_read_and_written_again(text: str) -> None:
    assert str(EntityBytes.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", ":", "5", "5:", ":5", "*:5", "*:*", "a:b", "1:2:3", "1.5:2", "0x1:2", " 1:2", "+1:2", "1-2", "9:3", "-3:-9",
     "١:٢", "9" * 19 + ":*", "--1:5"],
)  # fmt: skip
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        EntityBytes.parse(text)


def test_what_is_no_file_is_answered_as_entity() -> None:
    blocks = Blocks()
    directory = blocks.directory(("a", leaf(b"a").cid))
    cbor = blocks.cbor({"a": leaf(b"a").cid})
    root, made = hamt.build([PBLink(leaf(b"%d" % n).cid, f"{n}", 1) for n in range(600)])
    blocks.add(made)
    assert order(directory, EntityBytes(0, 5), blocks) == [directory]
    assert order(cbor, EntityBytes(0, 5), blocks) == [cbor]
    found = order(root.cid, EntityBytes(5, 9), blocks)
    assert found[0] == root.cid
    assert set(found) == {block.cid for block in made}


def test_a_part_that_is_not_as_long_as_its_parent_says_ends_the_walk() -> None:
    blocks = Blocks()
    inner = blocks.file((leaf(b"abc").cid, 3))
    root = blocks.file((inner, 9))
    with pytest.raises(FormatError, match="its parent says"):
        order(root, EntityBytes(0, None), blocks)


def test_shared_nodes_cost_no_more_than_their_blocks() -> None:
    blocks = Blocks()
    cid, size = leaf(b"x").cid, 1
    blocks[cid] = b"x"
    for _ in range(6):
        cid, size = blocks.file(*[(cid, size)] * 1000), size * 1000
    assert len(order(cid, EntityBytes(0, None), blocks)) == 7
    assert len(order(cid, EntityBytes(1, -2), blocks)) == 7
    assert len(order(cid, EntityBytes(-1, None), blocks)) == 7
    with pytest.raises(FormatError, match="more than 100 blocks"):
        run(bytes_order(cid, EntityBytes(0, None), dups=True, max_blocks=100), blocks.get)
